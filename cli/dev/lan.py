"""The wires of a dev cluster: one namespace with a bridge, one namespace a node, one wire to the host.

Nothing of it touches the host's own network but one link, `orch-lanN`, through which the host reaches the nodes.
"""

import contextlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cli.dev import sweep
from cli.dev.cluster import RUN_ROOT, DevCluster, DevNode

BRIDGE = "lan"
_NETNS = Path("/run/netns")
_NETNS_IS_OURS = RUN_ROOT / "netns-is-ours"


def lay(cluster: DevCluster) -> None:
    """Make the LAN and all nodes' namespaces. Raises RuntimeError with the words of `ip`."""
    if not sweep.is_mounted(_NETNS):
        _NETNS_IS_OURS.touch()
    _ip(
        f"netns add {cluster.lan}",
        f"link add {cluster.host_link} type veth peer name host netns {cluster.lan}",
        f"address add {cluster.host_address}/24 dev {cluster.host_link}",
        f"link set {cluster.host_link} up",
    )
    _ip(
        "link set lo up",
        f"link add {BRIDGE} address {cluster.control_mac} type bridge",
        f"link set host master {BRIDGE} up",
        f"address add {cluster.control_address}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        netns=cluster.lan,
    )
    for segment in range(2, cluster.segments + 1):
        _join_segment(cluster, segment)
    for node in cluster.all_nodes:
        connect(cluster, node)


def connect(cluster: DevCluster, node: DevNode) -> None:
    """Make one node's namespace and its wire to the LAN."""
    port = _port_of(node)
    _ip(f"netns add {node.netns}")
    _ip(
        f"link add {port} type veth peer name eth0 netns {node.netns}",
        f"link set {port} master {_bridge(node.segment)} up",
        netns=cluster.lan,
    )
    _ip(
        "link set lo up",
        f"address add {node.address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {cluster.router(node.segment)}",
        netns=node.netns,
    )
    if cluster.segments > 1 and node.segment == 1:
        others = (f"{cluster.segment(each)}.0/24" for each in range(2, cluster.segments + 1))
        _ip(*(f"route add {each} via {cluster.control_address}" for each in others), netns=node.netns)


def disconnect(cluster: DevCluster, node: DevNode) -> None:
    """Take one node's namespace and wire away; what is not there is fine."""
    # The namespace itself goes only when its last process has; the wire must not wait for that.
    _try("ip", "-n", cluster.lan, "link", "delete", _port_of(node))
    _try("ip", "netns", "delete", node.netns)


def remove(cluster: DevCluster) -> None:
    """Take everything away; what is not there is fine."""
    _try("ip", "link", "delete", cluster.host_link)
    for name in [cluster.lan, *(node.netns for node in cluster.all_nodes)]:
        _try("ip", "netns", "delete", name)


def remove_netns_mount() -> None:
    """`ip netns add` mounts /run/netns: if it did so for us, and nobody uses it now, that is taken back."""
    if not _NETNS_IS_OURS.exists():
        return
    _NETNS_IS_OURS.unlink()
    if not any(_NETNS.iterdir()):
        _try("umount", str(_NETNS))
        with contextlib.suppress(OSError):
            _NETNS.rmdir()


def is_laid(netns: str) -> bool:
    """Whether the namespace exists."""
    listing = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return any(line.split()[0] == netns for line in listing.stdout.splitlines() if line)


def _join_segment(cluster: DevCluster, segment: int) -> None:
    """A link of its own, which the LAN's namespace routes to. It knows nodes, and no addresses of tasks."""
    prefix = cluster.segment(segment)
    enter = ["nsenter", f"--net={cluster.lan_path}"]
    subprocess.run([*enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    if segment == 2:
        _ip(f"route add default via {cluster.host_address}", netns=cluster.lan)
    _ip(
        f"link add {_bridge(segment)} type bridge",
        f"address add {prefix}.2/24 dev {_bridge(segment)}",
        f"link set {_bridge(segment)} up",
        netns=cluster.lan,
    )
    _ip(f"route add {prefix}.0/24 via {cluster.control_address} dev {cluster.host_link}")


def _bridge(segment: int) -> str:
    return BRIDGE if segment == 1 else f"{BRIDGE}{segment}"


def _port_of(node: DevNode) -> str:
    return f"port-{node.name.removeprefix('node-')}"


def _try(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)


def _ip(*commands: str, netns: str | None = None) -> None:
    where: Iterable[str] = ("-n", netns) if netns else ()
    done = subprocess.run(
        ["ip", *where, "-batch", "-"], input="\n".join(commands), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"ip could not wire the dev cluster: {done.stderr.strip()}")
