"""No dropped request: 20 replicas on three nodes are rolled again and again at a thousand requests a second.

    deploy/bench/drops.py [ROLLS [RATE]]

The requests go in turn to the service's virtual address, to its published port on every node and to an HTTP route, each
over a connection of its own. The exit code is 1 where one of them failed.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cli.dev import cluster as clusters
from cli.dev import life
from deploy.bench import figures
from deploy.bench.figures import Figure
from deploy.demo import images

ROLLS = 20
RATE = 1000
MANIFEST = """
apiVersion: orch/v1
kind: Service
metadata: {{name: asked}}
spec:
  replicas: 20
  image: {image}
  ports: [{{name: http, target: 8080, port: 80, published: 30080}}]
  routes: [{{host: asked.test}}]
  readiness: {{http: {{path: /healthz, port: http}}, period: 1s}}
  stop: {{gracePeriod: 10s}}
  rollout: {{minReady: 0s, maxSurge: 5, progressDeadline: 120s}}
"""


def main() -> None:
    """Measure, show, save."""
    rolls, rate = (int(word) for word in [*sys.argv[1:], *map(str, (ROLLS, RATE)[len(sys.argv) - 1 :])])
    found = measure(rolls, rate)
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench-drops.json")
    sys.exit(found[0].value > 0)


def measure(rolls: int = ROLLS, rate: int = RATE) -> list[Figure]:
    """Failed requests first."""
    with cluster("drops") as (made, orchctl):
        tags = [images.push_web(made.registry_address, f"asked:{tag}") for tag in ("1", "2")]
        orchctl.roll_to(tags[0])
        took = []
        with _load(made, rate, _targets(made, orchctl.virtual_address())) as said:
            for number in range(rolls):
                began = time.monotonic()
                orchctl.roll_to(tags[(number + 1) % 2])
                took.append(time.monotonic() - began)
    for each in said["failed"]:
        print(f"failed: {each}", file=sys.stderr)
    return [
        Figure(f"requests failed in {rolls} rolling updates", "", 0.0, (float(said["count_failed"]),)),
        Figure("requests sent", "", 0.0, (float(said["sent"]),), more_is_better=True),
        Figure("requests a second", "1/s", 0.0, (said["sent"] / said["seconds"],), more_is_better=True),
        Figure("answer, p50", "ms", 0.0, (said["p50"] * 1000,)),
        Figure("answer, p99", "ms", 0.0, (said["p99"] * 1000,)),
        Figure("20 replicas rolled, by orchctl apply", "s", 0.0, tuple(took)),
    ]


class Orchctl:
    """The command, for one cluster."""

    def __init__(self, config: Path) -> None:
        self._environment = os.environ | {"ORCH_CONFIG": str(config)}

    def __call__(self, *words: str, text: str = "") -> str:
        program = Path(sys.executable).parent / "orchctl"
        done = subprocess.run(
            [program, *words], input=text, capture_output=True, text=True, env=self._environment, check=False
        )
        if done.returncode:
            raise SystemExit(f"orchctl {' '.join(words)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def roll_to(self, image: str) -> None:
        """Returns when it serves everywhere."""
        self("apply", "-f", "-", text=MANIFEST.format(image=image))

    def virtual_address(self) -> str:
        return self("get", "endpoints", "asked", "-o", "jsonpath={.status.virtualAddresses[0]}").strip()


@contextlib.contextmanager
def cluster(name: str) -> Iterator[tuple[clusters.DevCluster, Orchctl]]:
    """Three nodes and a registry, gone at the end."""
    if left := clusters.load(name):
        life.down(left)
    with tempfile.TemporaryDirectory(prefix="orch-drops-") as work:
        orchctl = Orchctl(Path(work, "config"))
        orchctl("dev", "up", "--nodes", "3", "--registry", "--name", name)
        made = clusters.load(name)
        assert made is not None
        try:
            yield made, orchctl
        finally:
            life.down(made)


def _targets(made: clusters.DevCluster, address: str) -> list[str]:
    nodes = [made.node(number).address for number in (1, 2, 3)]
    at_nodes = [f"{node}:30080/version" for node in nodes]
    by_route = [f"asked.test={node}:80/version" for node in nodes]
    return [f"{address}:80/version", *at_nodes, f"{address}:80/version", *by_route]


@contextlib.contextmanager
def _load(made: clusters.DevCluster, rate: int, targets: list[str]) -> Iterator[dict[str, Any]]:
    said: dict[str, Any] = {}
    command = ["ip", "netns", "exec", made.node(1).netns, sys.executable, "-m", "deploy.load", str(rate)]
    with subprocess.Popen([*command, *targets], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield said
        finally:
            process.terminate()
            said |= json.loads(process.communicate()[0])


if __name__ == "__main__":
    main()
