"""What the findings of a network's check mean: sentences that name the cause and what to do. Pure.

The control plane asks it of all nodes' findings (`orchctl net check`), an agent of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LOSS_PERCENT = 5
"""One packet of twenty may be lost by accident."""
MOST_NAMED = 3
"""Of many that fail in one way."""
_BETWEEN = ("nodes", "containers", "size", "tcp")
_NAMES = ("dns", "outside")


class Cause(StrEnum):
    """Why packets between two nodes do not pass as they should."""

    APART = "apart"
    TUNNEL = "tunnel"
    FORWARDING = "forwarding"
    LOSS = "loss"
    DELAY = "delay"
    SIZE = "size"
    TCP = "tcp"


_CUT = {Cause.APART, Cause.TUNNEL, Cause.FORWARDING}


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
    found.problems += [why for _, why in sorted(away.items())]
    by_node = {place.node: place for place in places}
    found.problems += [
        f"{node}: {problem}" for node, place in sorted(by_node.items()) for problem in place.problems
    ]
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    services: dict[tuple[str, str, str], list[str]] = {}
    for each in results:
        source = getattr(each, "from")
        if each.what in _BETWEEN:
            pairs.setdefault((source, each.to), {})[each.what] = each
        elif each.what in _NAMES:
            _add(found, _of_name(each))
        elif each.error:
            services.setdefault((source, each.what, each.error), []).append(each.to)
    causes = {
        (source, target): dict(of_pair(by_node[source], by_node[target], tried, slow_seconds))
        for (source, target), tried in sorted(pairs.items())
        if source in by_node and target in by_node
    }
    shut = frozenset(place.node for place in by_node.values() if place.is_full or place.drops_forwarded)
    found.problems += _both_ways(causes, shut)
    if services and (shut or any(_CUT & each.keys() for each in causes.values())):
        count = sum(map(len, services.values()))
        which = (
            "virtual address or published port fails"
            if count == 1
            else "virtual addresses and published ports fail"
        )
        found.problems.append(f"{count} {which}, too: see to the above first")
    else:
        found.problems += [_of_services(*key, names) for key, names in sorted(services.items())]
    return found


def _both_ways(causes: Mapping[tuple[str, str], Mapping[Cause, str]], shut: frozenset[str]) -> Iterator[str]:
    """What is so in both directions is said once. `shut`: nodes that are known to let nothing through."""
    for (source, target), found in causes.items():
        back = causes.get((target, source), {})
        if shut & {source, target}:
            continue  # it follows from that
        for cause, sentence in found.items():
            if cause not in back:
                yield f"{source} → {target}: {sentence}"
            elif source < target:
                yield f"{source} ↔ {target}: {sentence}"


def of_pair(
    source: Any, target: Any, tried: Mapping[str, Any], slow_seconds: float
) -> Iterator[tuple[Cause, str]]:
    """The first cause is told, not all that follows from it. `tried`: results by what was tried."""
    nodes, inside, size, tcp = (tried.get(each) for each in _BETWEEN)
    if inside is not None and not inside.received:
        if nodes is None or nodes.received:
            yield _cut(source, target, inside)
        else:
            yield (
                Cause.APART,
                (
                    f"the nodes do not reach each other ({source.node_address} and {target.node_address}): the network "
                    "between them is down, or a firewall drops everything"
                ),
            )
        return
    lossy = [
        each for each in (nodes, inside) if each is not None and each.received and _lost(each) > LOSS_PERCENT
    ]
    if lossy:
        worst = max(lossy, key=_lost)
        of = "between the nodes themselves" if nodes in lossy else "between containers, not between the nodes"
        yield (
            Cause.LOSS,
            (
                f"{_lost(worst):.0f} % of the packets are lost ({of}): look at cables, switches and the load of the "
                f"links of {source.node} and {target.node}"
            ),
        )
    slowest = max(
        (each.median for each in (nodes, inside) if each is not None and each.received), default=0.0
    )
    if slowest > slow_seconds:
        yield (
            Cause.DELAY,
            (
                f"an answer takes {slowest * 1000:.0f} ms, more than {slow_seconds * 1000:.0f} ms: the network between "
                "the nodes is slow or far (--slow says from when on that is told)"
            ),
        )
    full = min(source.mtu, target.mtu)
    if size is not None and size.bytes < full and not lossy:
        yield Cause.SIZE, _too_large(source, full, size.bytes)
    elif tcp is not None and tcp.error and not lossy:
        yield Cause.TCP, f"small packets pass, but a TCP connection between containers fails: {tcp.error}"


def _cut(source: Any, target: Any, inside: Any) -> tuple[Cause, str]:
    if inside.way == "vxlan":
        return Cause.TUNNEL, (
            "containers do not reach each other, though the nodes do: UDP port 4789 (VXLAN) is blocked between "
            f"{source.node_address} and {target.node_address}: open it both ways in every firewall on the way; "
            "or a firewall of one of them drops what is forwarded (nft list ruleset: a chain of the hook forward)"
        )
    return Cause.FORWARDING, (
        f"containers do not reach each other, though the nodes do ({inside.error}): one of the nodes does not pass "
        "packets on. Look at their firewalls (nft list ruleset: a chain of the hook forward that drops), at the "
        "switch between them (it may drop addresses that it did not give: start agents with --network-mode vxlan), "
        "and at rp_filter"
    )


def _too_large(source: Any, full: int, passed: int) -> str:
    known = f", of {passed} bytes they do" if passed else ""
    return (
        f"packets of {full} bytes between containers do not arrive, small ones do{known}: something on the way has a "
        f"smaller MTU than the links of the nodes ({source.node_mtu}). Set the MTU of the nodes' links to the smallest "
        "on the way (ip link set DEVICE mtu …) and restart orch-agent, or mend what is smaller"
    )


def _of_name(each: Any) -> tuple[str, bool]:
    """A sentence, and whether it is only a warning."""
    node = getattr(each, "from")
    if not each.error:
        return "", False
    if each.what == "dns":
        return (
            f"{node}: orch-dns does not answer containers ({each.to}: {each.error}): look at the agent's log and "
            "at what else listens on port 53 there"
        ), False
    return (
        f"{node}: names outside the cluster are not answered ({each.to}: {each.error}): look at the resolvers "
        "in the node's /etc/resolv.conf"
    ), True


def _of_services(node: str, what: str, error: str, names: list[str]) -> str:
    """All that fail in the same way are one sentence."""
    more = f" (and {len(names) - MOST_NAMED} more)" if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED]) + more
    is_one = len(names) == 1
    are = "is" if is_one else "are"
    if what == "virtual":
        addresses = "address" if is_one else "addresses"
        return (
            f"{node}: the virtual {addresses} of {named} {are} not reached from a container ({error}): "
            f"orchctl describe service {names[0].split('.')[0]} shows who is behind it; if other nodes reach it, "
            f"look at the packet rules of {node} (nft list table ip orch)"
        )
    ports = "port" if is_one else "ports"
    return (
        f"{node}: the published {ports} {named} {are} not reached ({error}): a firewall of the node drops "
        "it, or another program has the port"
    )


def _add(found: Diagnosis, said: tuple[str, bool]) -> None:
    sentence, is_warning = said
    if sentence:
        (found.warnings if is_warning else found.problems).append(sentence)


def _lost(each: Any) -> float:
    """Per cent. Of nodes, the two large packets do not count: they tell of size."""
    sent = min(each.sent, 20) if each.what == "nodes" else each.sent
    return max(0.0, 100.0 * (sent - min(each.received, sent)) / sent) if sent else 0.0
