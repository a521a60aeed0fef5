"""What a dev cluster is made of: its names, addresses and directories. All derived from its name and index."""

import json
from dataclasses import dataclass
from pathlib import Path

STATE_ROOT = Path("/var/lib/orch-dev")
RUN_ROOT = Path("/run/orch-dev")
LONGEST_NAME = 40
"""A namespace in the network is a file `orch-NAME-node-99`; sockets below /run have short paths."""

MOST_CLUSTERS = 200
MOST_NODES = 100
MOST_SEGMENTS = 8
SESSION_PORT = 7420
JOIN_PORT = 7421
REGISTRY_PORT = 5000


@dataclass(frozen=True, slots=True)
class DevNode:
    """One node: `node-1` in cluster `dev` has namespace `orch-dev-node-1` and address 10.99.INDEX.11.

    Segment 2 has the addresses 10.100.INDEX.*, and so on; all nodes of a segment share a link.
    """

    cluster: str
    name: str
    netns: str
    address: str
    segment: int
    state: Path
    run: Path
    cgroup: str

    @property
    def netns_path(self) -> Path:
        return Path("/run/netns") / self.netns


@dataclass(frozen=True, slots=True)
class DevCluster:
    """A cluster whose nodes hang on one bridge, in a namespace that also holds the control plane.

    Where there are more segments than one, each has a bridge of its own and the namespace is the router between.
    """

    name: str
    index: int
    nodes: int
    has_registry: bool = False
    segments: int = 1
    network_mode: str = "auto"

    @property
    def lan(self) -> str:
        """The namespace with the bridge, the control plane and the registry."""
        return f"orch-{self.name}"

    @property
    def lan_path(self) -> Path:
        return Path("/run/netns") / self.lan

    @property
    def host_link(self) -> str:
        """The host's end of the wire into the LAN; a link's name has at most 15 letters, hence the index."""
        return f"orch-lan{self.index}"

    @property
    def subnet(self) -> str:
        return f"10.99.{self.index}.0/24"

    @property
    def host_address(self) -> str:
        return f"10.99.{self.index}.1"

    @property
    def control_address(self) -> str:
        return f"10.99.{self.index}.2"

    @property
    def control_mac(self) -> str:
        """Of the bridge, which by itself takes the lowest address of its ports.

        So it would change as nodes come and go, and for seconds nobody would reach the control plane.
        """
        return f"02:00:0a:63:{self.index:02x}:02"

    @property
    def registry_address(self) -> str:
        return f"{self.control_address}:{REGISTRY_PORT}"

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.name

    @property
    def run(self) -> Path:
        return RUN_ROOT / self.name

    @property
    def control_state(self) -> Path:
        return self.state / "controlplane"

    @property
    def cgroup(self) -> str:
        return f"orch-dev/{self.name}"

    def segment(self, number: int) -> str:
        """The first three numbers of the addresses of a segment; they count from 1."""
        return f"10.{98 + number}.{self.index}"

    def router(self, segment: int) -> str:
        """Of the segment's nodes: the host leads out of the first, and the LAN's namespace out of the others."""
        return self.host_address if segment == 1 else f"{self.segment(segment)}.2"

    def node(self, number: int) -> DevNode:
        """Nodes count from 1, and are dealt out to the segments in turn."""
        name = f"node-{number}"
        return DevNode(
            cluster=self.name,
            name=name,
            netns=f"orch-{self.name}-{name}",
            address=f"{self.segment(1 + (number - 1) % self.segments)}.{10 + number}",
            segment=1 + (number - 1) % self.segments,
            state=self.state / name,
            run=self.run / name,
            cgroup=f"{self.cgroup}/{name}",
        )

    @property
    def all_nodes(self) -> list[DevNode]:
        return [self.node(number) for number in range(1, self.nodes + 1)]

    def save(self) -> None:
        """Written before anything is made, so that `dev down` finds what a crash left."""
        self.run.mkdir(parents=True, exist_ok=True)
        words = {"name": self.name, "index": self.index, "nodes": self.nodes, "registry": self.has_registry}
        words |= {"segments": self.segments, "network_mode": self.network_mode}
        (self.run / "cluster.json").write_text(json.dumps(words))


def load(name: str) -> DevCluster | None:
    """The cluster of that name; None when there is none."""
    try:
        words = json.loads((RUN_ROOT / name / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return DevCluster(
        words["name"],
        words["index"],
        words["nodes"],
        words["registry"],
        words.get("segments", 1),
        words.get("network_mode", "auto"),
    )


def load_all() -> list[DevCluster]:
    """All dev clusters of this machine, by name."""
    names = sorted(path.parent.name for path in RUN_ROOT.glob("*/cluster.json"))
    return [cluster for name in names if (cluster := load(name))]


def free_index() -> int:
    """The first index that no cluster has. Raises LookupError when all are taken."""
    taken = {cluster.index for cluster in load_all()}
    for index in range(MOST_CLUSTERS):
        if index not in taken:
            return index
    raise LookupError(f"{MOST_CLUSTERS} dev clusters are up; take one down: orchctl dev down --name NAME")
