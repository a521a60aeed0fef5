"""What the findings of a `net check` mean: sentences that name the cause and what to do. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LOSS_PERCENT = 5
"""One packet of twenty may be lost by accident."""
_BETWEEN = ("nodes", "containers", "size", "tcp")


@dataclass(slots=True)
class Diagnosis:
    """Sentences. Warnings are of what need not be wrong."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def diagnose(
    places: Iterable[Any], results: Iterable[Any], away: Mapping[str, str], slow_seconds: float
) -> Diagnosis:
    """`away`: nodes that did not take part, and why."""
    found = Diagnosis()
    found.problems += [
        f"{why}. Look whether its agent runs: orchctl get nodes, orchctl events node/{node}"
        for node, why in sorted(away.items())
    ]
    by_node = {place.node: place for place in places}
    found.problems += [
        f"{node}: {problem}" for node, place in sorted(by_node.items()) for problem in place.problems
    ]
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for each in results:
        if each.what in _BETWEEN:
            pairs.setdefault((getattr(each, "from"), each.to), {})[each.what] = each
        else:
            _add(found, _of_service(each))
    for (source, target), tried in sorted(pairs.items()):
        if source in by_node and target in by_node:
            found.problems += _of_pair(by_node[source], by_node[target], tried, slow_seconds)
    return found


def _of_pair(source: Any, target: Any, tried: Mapping[str, Any], slow_seconds: float) -> Iterator[str]:
    """The first cause is told, not all that follows from it."""
    where = f"{source.node} → {target.node}"
    nodes, inside, size, tcp = (tried.get(each) for each in _BETWEEN)
    nodes_reach = nodes is not None and nodes.received > 0
    if nodes is not None and not nodes_reach and (inside is None or not inside.received):
        yield (
            f"{where}: the nodes do not reach each other ({source.node_address} → {target.node_address}): the network "
            "between them is down, or a firewall drops everything"
        )
        return
    if inside is not None and not inside.received:
        yield _tunnel(where, source, target, inside)
        return
    lossy = [
        each for each in (nodes, inside) if each is not None and each.received and _lost(each) > LOSS_PERCENT
    ]
    if lossy:
        worst = max(lossy, key=_lost)
        of = "between the nodes themselves" if nodes in lossy else "between containers, not between the nodes"
        yield (
            f"{where}: {_lost(worst):.0f} % of the packets are lost ({of}): look at cables, switches and the load "
            f"of the link of {source.node} and {target.node}"
        )
    slowest = max(
        (each.median for each in (nodes, inside) if each is not None and each.received), default=0.0
    )
    if slowest > slow_seconds:
        yield (
            f"{where}: an answer takes {slowest * 1000:.0f} ms, more than {slow_seconds * 1000:.0f} ms: the network "
            "between the nodes is slow or far (--slow says from when on)"
        )
    full = min(source.mtu, target.mtu)
    if size is not None and size.bytes < full and not lossy:
        yield _too_large(where, source, full, size.bytes)
    elif tcp is not None and tcp.error and not lossy:
        yield f"{where}: small packets pass, but a TCP connection between containers fails: {tcp.error}"


def _tunnel(where: str, source: Any, target: Any, inside: Any) -> str:
    if inside.way == "vxlan":
        return (
            f"{where}: containers do not reach each other, though the nodes do: UDP port 4789 (VXLAN) is blocked "
            f"between {source.node_address} and {target.node_address}. Open it in both directions in every firewall "
            "on the way"
        )
    return (
        f"{where}: containers do not reach each other, though the nodes do ({inside.error}): something drops packets "
        f"that {target.node} is to pass on. Look at the firewall of {target.node} (nft list ruleset, chain forward), "
        "at the switch between them (it may drop addresses that it did not give: start agents with "
        "--network-mode vxlan), and at rp_filter"
    )


def _too_large(where: str, source: Any, full: int, passed: int) -> str:
    known = f"; of {passed} bytes they do" if passed else ""
    return (
        f"{where}: packets of {full} bytes between containers do not arrive, small ones do{known}: something on the "
        f"way has a smaller MTU than the link of {source.node} ({source.node_mtu}). Set the MTU of the nodes' links "
        "to the smallest on the way (ip link set DEVICE mtu …) and restart orch-agent, or mend what is smaller"
    )


def _of_service(each: Any) -> tuple[str, bool]:
    """A sentence, and whether it is only a warning."""
    node = getattr(each, "from")
    if not each.error:
        return "", False
    match each.what:
        case "dns":
            return (
                f"{node}: orch-dns does not answer containers ({each.to}: {each.error}): look at the agent's log and "
                "at what else listens on port 53 there"
            ), False
        case "outside":
            return (
                f"{node}: names outside the cluster are not answered ({each.to}: {each.error}): look at the resolvers "
                "in the node's /etc/resolv.conf"
            ), True
        case "virtual":
            return (
                f"{node}: the virtual address of {each.to} is not reached from a container ({each.error}): "
                f"orchctl describe service {each.to.split('.')[0]} shows who is behind it; if other nodes reach it, "
                f"look at the packet rules of {node} (nft list table ip orch)"
            ), False
        case _:
            return (
                f"{node}: the published port {each.to} is not reached ({each.error}): a firewall of the node drops "
                "it, or another program has the port"
            ), False


def _add(found: Diagnosis, said: tuple[str, bool]) -> None:
    sentence, is_warning = said
    if sentence:
        (found.warnings if is_warning else found.problems).append(sentence)


def _lost(each: Any) -> float:
    """Per cent. Of nodes, the two large packets do not count: they tell of size."""
    sent = min(each.sent, 20) if each.what == "nodes" else each.sent
    return max(0.0, 100.0 * (sent - min(each.received, sent)) / sent) if sent else 0.0
