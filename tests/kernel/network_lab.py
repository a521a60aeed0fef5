"""Machines for tests of the network: namespaces on one switch, and what runs in them."""

import base64
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.network.attachment import Attached, NetworkError, Peer, Published
from orch import wire
from orch.model.assignment import EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp

ROOT = Path(__file__).resolve().parents[2]
NODE_PROCESS = Path(__file__).with_name("network_node.py")
BOUND_SECONDS = 20
_LABS = itertools.count()
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

SERVER = """
import socket, sys
kind, host, port, reply = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((host, port))
if kind == "tcp": s.listen()
print("ready", flush=True)
while True:
    if kind == "tcp":
        c, who = s.accept(); c.sendall(reply + b" " + who[0].encode()); c.close()
    else:
        data, who = s.recvfrom(999); s.sendto(reply + b" " + who[0].encode(), who)
"""
CLIENT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[4]))
s.connect((host, port))
if kind == "udp": s.send(b"hello")
data = b""
while piece := s.recv(999):
    data += piece
    if kind == "udp": break
print(data.decode(), end="")
"""


@dataclasses.dataclass
class Machine:
    """A network namespace with an address on the switch."""

    netns: str
    address: str

    def run(self, *command: str, check: bool = True) -> str:
        return run_in(self.netns, *command, check=check)

    def picture(self) -> str:
        """Links, routes and rules: all that must be as before after a clean-up."""
        links = [f"{link['ifname']} {link['flags']}" for link in json.loads(self.run("ip", "-j", "link"))]
        return "\n".join((*links, self.run("ip", "route"), self.run("nft", "list", "ruleset")))


class Node:
    """The process of network_node.py on a machine."""

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        subnet: str,
        pool_size: int = 4,
        resolv_conf: str = "",
        **underlay: object,
    ) -> None:
        self.machine = machine
        self.folder = folder
        self.subnet = subnet
        folder.mkdir(exist_ok=True)
        settings = {
            "run_dir": str(folder / "run"),
            "state_dir": str(folder / "state"),
            "subnets": subnet.split(),
            "cluster_range": "10.208.0.0/12",
            "service_range": "10.224.0.0/16",
            "node_address": machine.address,
            "pool_size": pool_size,
            "underlay": underlay,
            "resolv_conf": resolv_conf or "/dev/null",
            "route_ports": [8070, 8071],
        }
        self._command = [sys.executable, str(NODE_PROCESS), machine.netns, json.dumps(settings)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        )
        self.answer()

    def send(self, call: str, *arguments: object) -> None:
        self.process.stdin.write(json.dumps([call, *arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        line = self.process.stdout.readline()
        assert line, "the node's process ended"
        reply = json.loads(line)
        if "error" in reply:
            raise NetworkError(reply["error"])
        return reply["result"]

    def call(self, call: str, *arguments: object) -> object:
        self.send(call, *arguments)
        return self.answer()

    def attach(self, task: str) -> Attached:
        return _attached(self.call("attach", task))

    def attached(self) -> dict[str, Attached]:
        return {task: _attached(each) for task, each in self.call("attached").items()}

    def publish(self, task: str, *published: Published) -> None:
        self.call("publish", task, [dataclasses.asdict(each) for each in published])

    def set_peers(self, *peers: Peer) -> None:
        self.call("set_peers", [dataclasses.asdict(each) for each in peers])

    def set_services(self, *services: ServiceEndpoints) -> None:
        self.call("set_services", encoded(*services))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def namespaces(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "run/netns").iterdir())

    def dns_pid(self) -> int:
        return int((self.folder / "run/dns/lock").read_text())

    def cleanup(self) -> None:
        self.call("cleanup")
        self.process.wait(BOUND_SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self) -> None:
        """Whatever state a failed test left it in."""
        if self.process.poll() is None:
            self.kill()
        if not (self.folder / "run").exists() or not list((self.folder / "run").iterdir()):
            return
        self.start()
        self.cleanup()


def encoded(*services: ServiceEndpoints) -> str:
    """A section as the node's process understands it."""
    return base64.b64encode(wire.encode(EndpointSection(Stamp(), 1, services))).decode()


def _attached(value: dict) -> Attached:
    return Attached(**{**value, "addresses": tuple(value["addresses"])})


def run_in(netns: str, *command: str, check: bool = True) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={netns}", *command],
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def ask(netns: str, host: str, port: int, kind: str = "tcp", patience_seconds: float = 5) -> str:
    """What a server answers: its name and the address from which it saw us come."""
    return run_in(netns, sys.executable, "-S", "-c", CLIENT, kind, host, str(port), str(patience_seconds))


@contextmanager
def serving(netns: str, port: int, reply: str, kind: str = "tcp", host: str = "0.0.0.0") -> Iterator[None]:
    command = [sys.executable, "-S", "-c", SERVER, kind, host, str(port), reply]
    server = subprocess.Popen(["nsenter", f"--net={netns}", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def lab(*addresses: str, bridge_filter: bool | None = None) -> Iterator[list[Machine]]:
    """Machines with these addresses (with prefix length) on one switch, itself in a namespace of its own.

    `bridge_filter`: whether bridged packets pass the IP rules, as on a host with Docker.
    """
    name = f"orchlab{os.getpid()}n{next(_LABS)}m"
    made: list[str] = []

    def namespace(suffix: str) -> str:
        subprocess.run(["ip", "netns", "add", f"{name}{suffix}"], check=True)
        made.append(f"{name}{suffix}")
        path = f"/run/netns/{name}{suffix}"
        run_in(path, "ip", "link", "set", "lo", "up")
        return path

    try:
        switch = namespace("s")
        run_in(switch, "ip", "link", "add", "lan", "up", "type", "bridge")
        machines = []
        for number, address in enumerate(addresses):
            netns = namespace(str(number))
            port = f"port{number}"
            run_in(
                switch, "ip", "link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", made[-1]
            )
            run_in(switch, "ip", "link", "set", port, "master", "lan", "up")
            run_in(netns, "ip", "address", "add", address, "dev", "uplink")
            run_in(netns, "ip", "link", "set", "uplink", "mtu", "1400", "up")
            if bridge_filter is not None and BRIDGE_FILTER.exists():
                run_in(netns, "sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={int(bridge_filter)}")
            machines.append(Machine(netns, address.split("/")[0]))
        yield machines
    finally:
        for each in made:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["ip", "netns", "delete", each], check=True)


def mounts(below: Path) -> list[str]:
    """Only those of the test: the machine may have more work than this one."""
    points = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(point for point in points if point == str(below) or point.startswith(f"{below}/"))
