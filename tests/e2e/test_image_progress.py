"""A pull is seen while it lasts, and what is removed from a node is told."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cli.dev import cluster as clusters
from cli.dev import processes
from deploy.demo import images
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support import slow_line
from tests.support.dev import ORCHCTL, Dev
from tests.support.machine import a_machine
from tests.support.private_registry import registry_elsewhere, registry_stopped

pytestmark = pytest.mark.cluster

BYTES = 6_000_000
BYTES_PER_SECOND = 1_500_000
SEEN = re.compile(r"pulling (\d+) % \((\d+\.?\d*)/(\d+\.?\d*) MB\)")

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: fetched}
spec:
  image: REGISTRY/fetched:1
  command: [sleep, "3600"]
  init: true
  rollout: {minReady: 0s, progressDeadline: 60s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
"""


def push_large(cluster: Dev) -> None:
    """A shell and a layer that cannot be compressed."""
    shell = build.layer([Item("bin/busybox", images._BUSYBOX, 0o755), Item("bin/sleep", target="busybox")])
    large = build.layer([Item("large", os.urandom(BYTES))])
    made = build.image([shell, large], ImageConfig(environment=(("PATH", "/bin"),)))

    async def push() -> None:
        address = cluster.cluster.registry_address
        async with Registry(plain_http=[address]) as connection:
            await build.push(connection, reference.parse(f"{address}/fetched:1"), made)

    asyncio.run(push())


@contextlib.contextmanager
def a_slow_registry(cluster: Dev) -> Iterator[None]:
    """The one beside the cluster, over a slow line."""
    place = cluster.cluster.registry_address
    behind = f"{cluster.cluster.control_address}:5052"
    log = cluster.work / "slow.log"
    with registry_stopped(cluster):
        registry_elsewhere(cluster, behind)
        command = [sys.executable, slow_line.__file__, place, behind, str(BYTES_PER_SECOND)]
        netns = cluster.cluster.lan_path
        line = processes.start(cluster.cluster.name, "registry", command, netns=netns, log=log)
        processes.wait_for_line(line, log, slow_line.READY, "the slow line")
        yield


def test_how_far_a_pull_is_can_be_seen_while_it_lasts(cluster: Dev) -> None:
    push_large(cluster)
    command = [ORCHCTL, "apply", "-f", cluster.manifest(SERVICE)]
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    with a_slow_registry(cluster):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as applying:
            tables = []
            while applying.poll() is None:
                tables.append(cluster.orchctl("get", "tasks"))
            assert applying.stdout
            said = applying.stdout.read()
        assert applying.returncode == 0, said

    for text in (said, "".join(tables)):
        parts = [(int(percent), float(done), total) for percent, done, total in SEEN.findall(text)]
        assert len(set(parts)) >= 2, text
        assert parts == sorted(parts), "it only grows"
        assert all(done <= float(total) and float(total) > 6 for _, done, total in parts)
    assert "pulling" not in cluster.orchctl("get", "tasks")


HURRIED = """
import sys
from agent import housekeeping
from agent.__main__ import main
housekeeping.LOOK_AROUND_SECONDS = 0.5
main()
"""
"""An agent that looks around more often than once a minute."""


def start_hurried(cluster: Dev, node: clusters.DevNode) -> None:
    command = [sys.executable, "-c", HURRIED, *processes.agent_command(cluster.cluster, node)[1:]]
    command += ["--image-max-age", "0.00002"]
    log = cluster.work / "hurried.log"
    log.touch()
    process = processes.start(cluster.cluster.name, node.name, command, netns=node.netns_path, log=log)
    processes.wait_for_line(process, log, "is ready", "the agent")


def test_images_that_a_node_lets_go_are_told_and_those_of_its_services_history_stay(cluster: Dev) -> None:
    here = "  placement: {constraints: [node.name == node-4]}\n"
    kept = SERVICE.replace("{name: fetched}", "{name: kept}").replace("fetched:1", "web:2") + here
    push_large(cluster)
    with a_machine(cluster) as node:
        start_hurried(cluster, node)
        cluster.wait("node/node-4")
        cluster.apply(SERVICE + here)
        cluster.apply(kept.replace("web:2", "web:1"))
        cluster.apply(kept)
        assert "/fetched " in held(cluster)
        cluster.delete("svc/fetched")

        told = cluster.told("ImagesRemoved", "events", "node/node-4")
        went = r"removed 1 image that nothing needs, [678] MB of layers: [\d.:]+/fetched@[0-9a-f]{12}"
        assert re.search(went, told), told
        assert "/fetched " not in held(cluster)
        assert held(cluster).count("/web ") == 2, "what runs, and what an undo would run"
        with registry_stopped(cluster):
            cluster.orchctl("rollout", "undo", "kept")
        cluster.delete("svc/kept")
    cluster.wait("node/node-4", "status=Down")
    cluster.orchctl("node", "rm", "node-4")


def held(cluster: Dev) -> str:
    return cluster.orchctl("image", "ls", "--nodes", "node-4")
