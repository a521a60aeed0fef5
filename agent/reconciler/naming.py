"""How a task is called and whom it asks for names: its /etc/hosts, /etc/resolv.conf and /etc/hostname (pure).

As in Docker, the node's own search domains and options are the task's too, after those of the cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DOMAIN = "orch"
MOST_SEARCHED = 6
"""Older C libraries look at no more."""
HOST_GATEWAY = "host-gateway"
_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class Naming:
    """What there is to know of one task."""

    hostname: str
    full_name: str
    """Which leads to the task from everywhere: 3.web.default.orch."""
    namespace: str
    addresses: tuple[str, ...]
    nameserver: str
    """The node on the task's link."""
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    """Name → address, or `host-gateway` for the node's."""
    search: tuple[str, ...] = ()
    """In place of the node's search domains; empty: those."""
    options: tuple[str, ...] = ()
    """In place of the node's options; empty: those."""


@dataclass(frozen=True, slots=True)
class HostResolving:
    """What the node's own resolv.conf says beside its servers."""

    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def read(resolv_conf: str) -> HostResolving:
    """Of several search lines the last one counts, as in libc; options add up."""
    search: Sequence[str] = ()
    options: list[str] = []
    for line in resolv_conf.splitlines():
        word, *rest = line.split() or [""]
        if word in ("search", "domain"):
            search = rest
        elif word == "options":
            options += rest
    return HostResolving(tuple(each for each in search if each != "."), tuple(options))


def texts(naming: Naming, host: HostResolving) -> dict[str, str]:
    """The files by their names in /etc."""
    return {
        "hosts": hosts(naming),
        "resolv.conf": resolv_conf(naming, host),
        "hostname": naming.hostname + "\n",
    }


def hosts(naming: Naming) -> str:
    """As Docker writes it; the full name stands first, so that `hostname -f` says what others can look up."""
    own = dict.fromkeys((naming.full_name, naming.hostname))
    lines = [f"{address}\t{' '.join(own)}" for address in naming.addresses]
    lines += [
        f"{naming.nameserver if address == HOST_GATEWAY else address}\t{name}"
        for name, address in naming.extra_hosts.items()
    ]
    return _HOSTS + "".join(f"{line}\n" for line in lines)


def resolv_conf(naming: Naming, host: HostResolving) -> str:
    """Names of the task's own namespace come first, then whole names of the cluster, then the node's."""
    others = naming.search or host.search
    search = dict.fromkeys(
        (f"{naming.namespace}.{DOMAIN}", DOMAIN, *(each for each in others if each != "."))
    )
    options = naming.options or host.options
    lines = [f"nameserver {naming.nameserver}", f"search {' '.join(list(search)[:MOST_SEARCHED])}"]
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)
