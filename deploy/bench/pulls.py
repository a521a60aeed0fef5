"""Many nodes pull one image at once from the cluster's own registry, over links that are narrow on purpose.

A dev cluster of eight nodes, real agents in namespaces; the control plane and every node get 100 Mbit/s each way (tc).
An image of 50 MB in five layers that do not compress is pushed, and a service that runs on two, four, then eight nodes
makes them pull it, a fresh one each time. Printed is how long the bytes took to be everywhere, what the control plane
alone would have needed at least, and how many copies left it. Needs root.

    make bench-pulls
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[2] / "proto")]

from cli import context
from cli.dev import cluster as clusters
from orch.identity import roles, tls
from orch.oci import build, reference
from orch.oci.door import Door
from orch.oci.image_config import ImageConfig
from orch.oci.reference import CLUSTER
from orch.oci.registry import Registry
from tests.support import dev

NODES = 8
LAYERS = 5
LAYER_BYTES = 10_000_000
LINK_BYTES = 12_500_000
"""A second, each way."""
REGISTRY_PORT = 7422
SAMPLED_EVERY_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: pulls}
spec: {replicas: %d, image: "%s", placement: {maxPerNode: 1}, rollout: {progressDeadline: 200s}}
"""


def image(seed: int) -> build.Built:
    source = random.Random(seed)
    program = build.Item("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
    layers = [build.layer([program])]
    layers += [
        build.layer([build.Item(f"{n}", source.randbytes(LAYER_BYTES))], level=0) for n in range(LAYERS)
    ]
    return build.image(layers, ImageConfig(command=("/bin/busybox", "sleep", "1000000")))


async def push(cluster: dev.Dev, name: str, built: build.Built) -> None:
    known = context.current("")
    shown = tls.client(known.certificate.read_bytes(), known.key.read_bytes(), known.ca.read_bytes())
    door = Door(f"{cluster.cluster.control_address}:{REGISTRY_PORT}", shown, roles.SERVER_NAME)
    async with Registry(door=lambda _: door) as registry:
        await build.push(registry, reference.parse(f"{CLUSTER}/{name}"), built)


@contextlib.contextmanager
def narrow_links(cluster: clusters.DevCluster) -> Iterator[None]:
    """The bridge's own end is the control plane's; they go with the namespaces."""
    ends = [(cluster.lan, "lan")]
    for number in range(1, NODES + 1):
        ends += [(cluster.lan, f"port-{number}"), (cluster.node(number).netns, "eth0")]
    shape = ["root", "tbf", "rate", f"{LINK_BYTES * 8}bit", "burst", "256kb", "latency", "50ms"]
    for namespace, link in ends:
        subprocess.run(["tc", "-n", namespace, "qdisc", "replace", "dev", link, *shape], check=True)
    yield


def counted(namespace: str, link: str, way: str) -> int:
    """Bytes that the link has sent ("tx") or received ("rx")."""
    said = subprocess.run(
        ["ip", "-n", namespace, "-s", "-j", "link", "show", "dev", link], capture_output=True, check=True
    )
    return int(json.loads(said.stdout)[0]["stats64"][way]["bytes"])


def pull_at(cluster: dev.Dev, count: int) -> tuple[float, float]:
    """Seconds until the image was on so many nodes, and copies that left the control plane."""
    name, size = f"pulls-{count}:1", LAYERS * LAYER_BYTES
    asyncio.run(push(cluster, name, image(count)))
    nodes = [node.netns for node in cluster.cluster.all_nodes]
    before = {each: counted(each, "eth0", "rx") for each in nodes}
    sent = counted(cluster.cluster.lan, "lan", "tx")
    cluster.apply(SERVICE % (count, name), "--wait=false")
    began, deadline = 0.0, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(SAMPLED_EVERY_SECONDS)
        got = [counted(each, "eth0", "rx") - before[each] for each in nodes]
        if not began and max(got) > size / 50:
            began = time.monotonic()
        if sum(each > size for each in got) == count:
            taken = time.monotonic() - began
            break
    else:
        raise SystemExit(f"{count} nodes did not have the image within {PATIENCE_SECONDS:g} s")
    copies = (counted(cluster.cluster.lan, "lan", "tx") - sent) / size
    cluster.delete("service/pulls")
    return taken, copies


def main() -> None:
    with dev.running(nodes=NODES, suffix="p") as cluster, narrow_links(cluster.cluster):
        os.environ["ORCH_CONFIG"] = str(cluster.config)
        print(f"{'nodes':>5}  {'took':>8}  {'alone, at least':>15}  {'copies sent':>11}")
        for count in (2, 4, 8):
            taken, copies = pull_at(cluster, count)
            alone = count * LAYERS * LAYER_BYTES / LINK_BYTES
            print(f"{count:>5}  {taken:6.1f} s  {alone:13.1f} s  {copies:11.2f}")


if __name__ == "__main__":
    main()
