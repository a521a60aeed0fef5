"""From the end of a container to the moment when no node leads anybody to it, neither by table nor by name.

    deploy/bench/endpoints.py [KILLS]

A container of a service on three nodes is killed, and does not come back where it was. The clock runs until the
kernel of every node has told `nft monitor` that its address is out, and orch-dns of every node answers without it.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.linux import constants, syscalls
from cli.dev import cluster as clusters
from deploy.bench import drops, figures
from deploy.bench.figures import Figure
from deploy.demo import images

KILLS = 12
"""Two of each task: whoever dies again and again comes back later each time."""
TIMEOUT_SECONDS = 10.0
ASK_SECONDS = 0.002
MANIFEST = """
apiVersion: orch/v1
kind: Service
metadata: {{name: asked}}
spec:
  replicas: 6
  image: {image}
  ports: [{{target: 8080}}]
  restart: {{attempts: 0}}
  rollout: {{minReady: 0s}}
"""


def main() -> None:
    """Measure, show, save."""
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS)
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench-endpoints.json")


def measure(kills: int = KILLS) -> list[Figure]:
    """Medians and the slowest hundredth, of the last of three nodes."""
    tables, answers = [], []
    with drops.cluster("endpoints") as (cluster, orchctl), contextlib.ExitStack() as stack:
        image = images.push_web(cluster.registry_address, "asked:1")
        orchctl("apply", "-f", "-", text=MANIFEST.format(image=image))
        nodes = [cluster.node(number) for number in (1, 2, 3)]
        monitors = [stack.enter_context(_monitored(node)) for node in nodes]
        resolvers = [_Resolver(node) for node in nodes]
        for number in range(kills):
            slot = f"task/asked.{number % 6 + 1}"
            orchctl("wait", "svc/asked", "--for", "jsonpath={.status.ready}=6", "--timeout", "60s")
            words = "jsonpath={.status.containers[0].pid} {.status.addresses[0]}"
            pid, address = orchctl("get", slot, "-o", words).split()
            for each in resolvers:
                each.wait_until(address, present=True)
            watches = [threading.Thread(target=each.wait_gone, args=(address,)) for each in monitors]
            asked = [threading.Thread(target=each.wait_until, args=(address, False)) for each in resolvers]
            for thread in (*watches, *asked):
                thread.start()
            began = time.monotonic()
            os.kill(int(pid), signal.SIGKILL)
            for thread in (*watches, *asked):
                thread.join()
            tables.append((max(each.at for each in monitors) - began) * 1000)
            answers.append((max(each.at for each in resolvers) - began) * 1000)
    return [
        Figure("killed → out of the tables of 3 nodes, p50", "ms", 0, (figures.percentile(tables, 50),)),
        Figure("killed → out of the tables of 3 nodes, p99", "ms", 100, (figures.percentile(tables, 99),)),
        Figure("killed → out of the names of 3 nodes, p50", "ms", 0, (figures.percentile(answers, 50),)),
        Figure("killed → out of the names of 3 nodes, p99", "ms", 100, (figures.percentile(answers, 99),)),
    ]


@contextlib.contextmanager
def _monitored(node: clusters.DevNode) -> Iterator["_Monitor"]:
    command = ["ip", "netns", "exec", node.netns, "stdbuf", "-oL", "nft", "monitor", "elements"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield _Monitor(process)
        finally:
            process.kill()


class _Monitor:
    """Sees what the kernel of a node tells of its tables."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._out = process.stdout.fileno()
        self._rest = ""
        self.at = 0.0

    def wait_gone(self, address: str) -> None:
        """Until elements that lead to the address have been deleted, and then nothing more comes for a moment."""
        deadline, self.at = time.monotonic() + TIMEOUT_SECONDS, 0.0
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._out], [], [], 0.1 if self.at else 1.0)
            if not ready and self.at:
                return
            if ready:
                *lines, self._rest = (self._rest + os.read(self._out, 1 << 20).decode()).split("\n")
                if any(line.startswith("delete") and address in line for line in lines):
                    self.at = self.at or time.monotonic()
        if not self.at:
            raise TimeoutError(f"{address} did not leave the tables within {TIMEOUT_SECONDS:g} s")


class _Resolver:
    """Asks orch-dns of a node, from the node."""

    def __init__(self, node: clusters.DevNode) -> None:
        self._socket = _in_namespace(node.netns_path)
        self._socket.settimeout(1.0)
        listing = ["ip", "-n", node.netns, "-4", "-o", "address", "show", "dev", "orch0"]
        told = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        self._server = (told.split()[3].split("/")[0], 53)
        self.at = 0.0

    def wait_until(self, address: str, present: bool) -> None:
        """Until its answer for tasks.asked has the address, or has it no longer."""
        wanted = socket.inet_aton(address)
        name = (
            b"".join(bytes([len(part)]) + part for part in (b"tasks", b"asked", b"default", b"orch")) + b"\0"
        )
        query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self._socket.sendto(query, self._server)
            answer = self._socket.recv(4096)
            if (wanted in answer) == present:
                self.at = time.monotonic()
                return
            time.sleep(ASK_SECONDS)
        raise TimeoutError(f"orch-dns still answers otherwise after {TIMEOUT_SECONDS:g} s")


def _in_namespace(path: Path) -> socket.socket:
    """A thread enters it, for good, and leaves its socket behind."""
    made: list[socket.socket] = []

    def make() -> None:
        fd = os.open(path, os.O_RDONLY)
        syscalls.setns(fd, constants.CLONE_NEWNET)
        os.close(fd)
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


if __name__ == "__main__":
    main()
