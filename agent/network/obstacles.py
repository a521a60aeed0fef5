"""What of the host stands in the way of the network: firewalls that drop forwarded packets, and nft that is gone.

A packet that one table lets pass may be dropped by another, so that no rule of ours overcomes a host's firewall: it
is found, named, and whoever runs the host is told what to do. Blocking.
"""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from agent.network import nfnetlink
from agent.network.services import messages
from agent.network.topology import BRIDGE

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT_SECONDS = 10
_FORWARD, _DROP = 2, 0
_FAMILIES = {1: "inet", 2: "ip"}


@dataclass(frozen=True, slots=True)
class Table:
    """One of somebody else's with rules for what is forwarded."""

    name: str
    """With its family: ip filter."""
    chain: str
    """The one that the kernel calls."""
    drops: bool
    """What no rule decides."""
    others: frozenset[str]
    """All its chains."""
    knows_us: bool = False
    """A rule of it names our bridge: whoever wrote that has thought of us."""


_DROPS = "the host's firewall drops what is forwarded"


def look() -> tuple[str, ...]:
    """A sentence for each, with what to do."""
    found = [*_firewalls()]
    if shutil.which("nft", path=_PATH) is None:
        found.append(
            "the program nft is gone: virtual addresses and published ports stay as they are, but cannot be set up "
            "anew: install the package nftables"
        )
    return tuple(found)


def drops_forwarded(sentences: Iterable[str]) -> bool:
    """Whether one of them says that a firewall of the host keeps packets from and to tasks."""
    return any(each.startswith(_DROPS) for each in sentences)


def sentence(table: Table) -> str:
    """Why forwarded packets are dropped, and what helps; empty where they are not."""
    if table.knows_us:
        return ""
    if table.name.endswith(" firewalld"):
        return _dropped(
            "firewalld has no zone for it",
            f"firewall-cmd --permanent --zone=trusted --add-interface={BRIDGE} && firewall-cmd --reload",
        )
    if not table.drops:
        return ""
    whose = f"chain {table.chain} of table {table.name} has policy drop"
    if any(each.startswith("ufw-") for each in table.others):
        return _dropped(f"ufw: {whose}", f"ufw route allow in on {BRIDGE} && ufw route allow out on {BRIDGE}")
    if any(each.startswith("DOCKER") for each in table.others):
        return _dropped(
            f"Docker: {whose}",
            f"iptables -I DOCKER-USER -i {BRIDGE} -j ACCEPT && iptables -I DOCKER-USER -o {BRIDGE} -j ACCEPT",
        )
    family, name = table.name.split(" ", 1)
    if table.chain == "FORWARD":
        return _dropped(
            whose, f"iptables -I FORWARD -i {BRIDGE} -j ACCEPT && iptables -I FORWARD -o {BRIDGE} -j ACCEPT"
        )
    rule = f"nft insert rule {family} {name} {table.chain}"
    return _dropped(whose, f"{rule} iifname {BRIDGE} accept && {rule} oifname {BRIDGE} accept")


def _dropped(why: str, remedy: str) -> str:
    return f"{_DROPS} to and from tasks ({why}): let {BRIDGE} pass: `{remedy}`"


def _firewalls() -> Iterator[str]:
    with nfnetlink.Socket() as conversation:
        bodies = conversation.dump(messages.ask_chains(family=0))
    yield from filter(None, map(sentence, _tables(bodies)))
    yield from filter(None, map(sentence, _legacy()))


def _tables(bodies: Iterable[bytes]) -> Iterator[Table]:
    chains: dict[str, set[str]] = {}
    forward: dict[str, tuple[str, bool]] = {}
    for body in bodies:
        family, found = _FAMILIES.get(body[0], ""), messages.attributes(body[4:])
        table, name = (found[kind][:-1].decode() for kind in (1, 3))
        if not family or table.startswith("orch"):
            continue
        chains.setdefault(f"{family} {table}", set()).add(name)
        hook = messages.attributes(found.get(4, b""))
        if hook.get(1) == _FORWARD.to_bytes(4, "big"):
            drops = found.get(5) == _DROP.to_bytes(4, "big")
            before = forward.get(f"{family} {table}")
            if before is None or drops:
                forward[f"{family} {table}"] = (name, drops)
    for each, (chain, drops) in forward.items():
        found_here = Table(each, chain, drops, frozenset(chains[each]))
        if sentence(found_here):
            listing = _output("nft", "-t", "list", "table", *each.split(" ", 1))
            found_here = replace(found_here, knows_us=f'"{BRIDGE}"' in listing)
        yield found_here


def _legacy() -> Iterator[Table]:
    """The older tables, which nft does not see."""
    if not _LEGACY_TABLES.exists() or "filter" not in _LEGACY_TABLES.read_text(encoding="ascii").split():
        return
    listing = _output("iptables-legacy", "-S") or _output("iptables", "-S")
    lines = [line.split() for line in listing.splitlines()]
    names = frozenset(words[1] for words in lines if words[0] in {"-N", "-P"})
    yield Table(
        "ip filter",
        "FORWARD",
        ["-P", "FORWARD", "DROP"] in lines,
        names,
        knows_us=any(BRIDGE in words and "ACCEPT" in words for words in lines),
    )


def _output(program: str, *arguments: str) -> str:
    found = shutil.which(program, path=_PATH)
    if found is None:
        return ""
    try:
        done = subprocess.run(
            [found, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout
