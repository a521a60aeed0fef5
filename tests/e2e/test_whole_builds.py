"""Whole projects, in the manner of well-known ones, from their Dockerfile to a service that answers."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.dev import processes
from tests.support import python_base
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

WHOLE = Path(__file__).parent / "whole"
INDEX_PORT = 5053

TOOLS = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ENV PATH=/usr/local/bin:/bin
RUN mkdir -p /etc /usr/share /root && mkdir -m 1777 /tmp && \\
    echo root:x:0:0:root:/root:/bin/sh > /etc/passwd && echo root:x:0: > /etc/group
CMD ["sh"]
"""

PYTHON = """\
FROM whole/tools:1
ADD rootfs.tar /
"""

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: NAME}
spec:
  image: whole/NAME:1
  rollout: {minReady: 0s, progressDeadline: 60s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
MORE
"""


@pytest.fixture(scope="module")
def tools(cluster: Dev) -> Iterator[str]:
    context = cluster.work / "tools"
    context.mkdir()
    shutil.copy("/bin/busybox", context / "busybox")
    (context / "Dockerfile").write_text(TOOLS)
    yield built(cluster, context, "whole/tools:1")


def built(cluster: Dev, context: Path, name: str, *options: str) -> str:
    cluster.orchctl("image", "build", "-t", name, *options, str(context))
    return name


def serve(cluster: Dev, name: str, *more: str) -> None:
    lines = "\n".join(f"  {line}" for line in more)
    cluster.apply(SERVICE.replace("NAME", name).replace("MORE", lines))


def says(cluster: Dev, name: str, command: str) -> list[str]:
    return cluster.orchctl("exec", name, "--", "sh", "-c", command).splitlines()


@contextlib.contextmanager
def an_index(cluster: Dev, package: str) -> Iterator[list[str]]:
    """On the LAN of the cluster; the options that let a build use it."""
    place = cluster.work / "index"
    python_base.index(place, package)
    address = cluster.cluster.control_address
    command = [sys.executable, "-u", "-m", "http.server", "-b", address, "-d", str(place), str(INDEX_PORT)]
    log = cluster.work / "index.log"
    server = processes.start(cluster.cluster.name, "index", command, netns=cluster.cluster.lan_path, log=log)
    try:
        processes.wait_for_line(server, log, "Serving", "the index")
        url = f"http://{address}:{INDEX_PORT}/simple"
        yield ["--build-arg", f"PIP_INDEX_URL={url}", "--build-arg", f"PIP_TRUSTED_HOST={address}"]
    finally:
        processes.kill(list(processes.marked(cluster.cluster.name, "index")))


def test_an_application_with_its_packages_from_an_index(cluster: Dev, tools: str) -> None:
    base = cluster.work / "python"
    base.mkdir()
    python_base.rootfs(base / "rootfs.tar")
    (base / "Dockerfile").write_text(PYTHON)
    assert built(cluster, base, "whole/python:3") and tools
    with an_index(cluster, "click") as options:
        built(cluster, WHOLE / "python", "whole/app:1", *options)

    serve(cluster, "app")

    (said,) = says(cluster, "app", "wget -qO- http://127.0.0.1:8000/")
    assert said.startswith("hello from click ")
    assert said.endswith(" as 1000")
    assert "Dockerfile" not in says(cluster, "app", "ls /app"), ".dockerignore leaves it out"


def test_a_web_server_whose_entry_point_runs_a_directory_of_scripts(cluster: Dev, tools: str) -> None:
    built(cluster, WHOLE / "site", "whole/site:1")
    assert tools

    serve(cluster, "site", "environment: {GREETING: good day}", "readiness: {http: {port: 8080, path: /}}")

    fetch = (
        "for each in index.html about.html version greeting; do wget -qO- http://127.0.0.1:8080/$each; done"
    )
    assert says(cluster, "site", fetch) == [
        *("<h1>", "welcome", "</h1>", "<h1>", "about us", "</h1>", "1.27.1", "good day"),
    ]
    assert "running /docker-entrypoint.d/10-version.sh" in cluster.orchctl("logs", "site")


def test_a_database_that_begins_as_root_and_goes_on_as_itself_on_its_volume(cluster: Dev, tools: str) -> None:
    built(cluster, WHOLE / "store", "whole/store:1")
    assert tools

    serve(cluster, "store", "readiness: {tcp: {port: 6379}}")

    assert says(cluster, "store", "nc 127.0.0.1 6379 < /dev/null") == ["keeper 7.2.4 as keeper"]
    assert says(cluster, "store", "stat -c '%U %n' /data /data/started; grep -c ' /data ' /proc/mounts") == [
        *("keeper /data", "keeper /data/started", "1"),
    ]


def test_two_nodes_build_the_same_image_to_the_byte(cluster: Dev, tools: str) -> None:
    assert tools
    epoch = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    first, second = (
        cluster.orchctl(
            "image",
            "build",
            "-q",
            "--no-cache",
            "--node",
            node,
            *epoch,
            "-t",
            f"whole/{node}:1",
            str(WHOLE / "site"),
        )
        for node in ("node-1", "node-2")
    )
    assert first == second
