"""From a directory to running containers with nothing but orch: build, push, apply, roll."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dev import ORCHCTL, PATIENCE_SECONDS, Dev

pytestmark = pytest.mark.cluster

DOCKERFILE = """\
FROM scratch AS tools
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ENV PATH=/bin
FROM tools
ARG VERSION=1
WORKDIR /www
RUN echo version $VERSION > index.html
COPY page about.html
USER 1000
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"""

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: built}
spec:
  image: shop/built:1
  replicas: 3
  ports: [{target: 8080}]
  readiness: {http: {port: 8080, path: /about.html}, period: 0.2s}
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
"""


def a_context(cluster: Dev, name: str) -> Path:
    directory = cluster.work / name
    directory.mkdir()
    shutil.copy("/bin/busybox", directory / "busybox")
    (directory / "page").write_text("about")
    (directory / "Dockerfile").write_text(DOCKERFILE)
    return directory


def page(cluster: Dev) -> str:
    return cluster.orchctl("exec", "built", "--", "wget", "-qO-", "http://localhost:8080/").strip()


def test_a_directory_becomes_a_service_and_a_change_rolls(cluster: Dev) -> None:
    context = a_context(cluster, "rolling")
    said = cluster.orchctl("image", "build", "-t", "shop/built:1", str(context))
    assert "[3/11]" in said
    assert said.splitlines()[-1].startswith("built shop/built:1  sha256:")

    cluster.apply(SERVICE)
    assert page(cluster) == "version 1"
    (image,) = {task["containers"][0]["imageDigest"] for task in cluster.tasks("built")}
    assert said.splitlines()[-1].endswith(image)

    cluster.orchctl("image", "build", "-t", "shop/built:1", "--build-arg", "VERSION=2", str(context))
    cluster.apply(SERVICE)  # the same words: the tag means something else now
    assert page(cluster) == "version 2"


def test_what_is_built_again_unchanged_is_the_same_image(cluster: Dev) -> None:
    context = a_context(cluster, "again")
    build = ("image", "build", "-q", "-t", "again:1", str(context))
    first = cluster.orchctl(*build)

    assert cluster.orchctl(*build) == first


FOREIGN = """\
FROM --platform=$BUILDPLATFORM scratch AS made
COPY busybox /bin/busybox
ARG TARGETARCH BUILDARCH
RUN ["/bin/busybox", "sh", "-c", "echo for $TARGETARCH by $BUILDARCH > /made"]
FROM {base}
ARG TARGETPLATFORM
ENV MADE_FOR=$TARGETPLATFORM
COPY --from=made /made /made
WORKDIR /there
"""


def test_an_image_for_another_platform_is_built_as_far_as_nothing_of_it_must_run(cluster: Dev) -> None:
    context = a_context(cluster, "foreign")
    for number, base in enumerate(("scratch", "shop/foreign:0")):  # the second stands on the first
        (context / "Dockerfile").write_text(FOREIGN.format(base=base))
        name = f"shop/foreign:{number}"
        cluster.orchctl("image", "build", "-t", name, "--platform", "linux/s390x", str(context))

        (found,) = json.loads(cluster.orchctl("image", "inspect", name, "--platform", "linux/s390x"))
        assert (found["Architecture"], found["Os"]) == ("s390x", "linux")
        assert "MADE_FOR=linux/s390x" in found["Config"]["Env"]


def test_a_failing_step_says_its_line_and_what_it_wrote(cluster: Dev) -> None:
    context = a_context(cluster, "failing")
    with (context / "Dockerfile").open("a") as file:
        file.write("RUN echo about to fail; exit 7\n")
    said = cluster.orchctl("image", "build", "-t", "failing:1", str(context), expect=1)

    assert "about to fail" in said
    assert "error: Dockerfile:12: the command ended with exit code 7" in said


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ("FORM x\n", [], "Dockerfile:12: FORM is not an instruction; did you mean FROM?"),
        ("", ["--target", "tolls"], "has no stage tolls; did you mean tools?"),
        ("", ["-t", "Upper"], "must be in lower case"),
        ("", ["-f", "missing"], "there is no missing"),
        ("", ["--secret", "src=x"], "write id=NAME"),
        ("", ["--node", "node-9"], "there is no node node-9"),
        (
            "",
            ["--platform", "linux/s390x"],
            "Dockerfile:3: RUN of a program for linux/s390x on a node that is linux/",
        ),
        ("", ["--platform", "linux/arm64,linux/amd64"], "one platform at a time"),
        ("", ["--platform", "windows/amd64"], "only images for Linux can be built"),
    ],
)
def test_a_build_that_makes_no_sense_says_so(
    cluster: Dev, change: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    context = a_context(cluster, tmp_path.name)
    with (context / "Dockerfile").open("a") as file:
        file.write(change)
    (context / "Dockerfile").write_text(
        (context / "Dockerfile").read_text().replace("FROM scratch", "FROM scratch")
    )

    assert said in cluster.orchctl("image", "build", *arguments, str(context), expect=None)


def test_tools_of_others_read_what_was_built(cluster: Dev) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    context = a_context(cluster, "others")
    cluster.orchctl("image", "build", "-t", "others:1", str(context))
    certificates = cluster.work / "certificates"
    certificates.mkdir()
    held = cluster.cluster.control_state
    for name, file in (("client.cert", "admin.crt"), ("client.key", "admin.key"), ("ca.crt", "ca.crt")):
        shutil.copy(held / file, certificates / name)

    image = f"docker://{cluster.cluster.control_address}:7422/others:1"
    command = ["skopeo", "inspect", "--config", "--cert-dir", str(certificates), image]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    assert found["config"]["Cmd"] == ["httpd", "-f", "-p", "8080", "-h", "/www"]
    assert found["config"]["User"] == "1000"
    assert len(found["rootfs"]["diff_ids"]) == len(
        [one for one in found["history"] if not one.get("empty_layer")]
    )


SLOW = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ENV PATH=/bin
RUN echo going; sleep 7777.25
"""


@contextlib.contextmanager
def a_slow_build(cluster: Dev, name: str) -> Iterator["subprocess.Popen[str]"]:
    """One whose last command runs."""
    context = a_context(cluster, name)
    (context / "Dockerfile").write_text(SLOW)
    command = [ORCHCTL, "image", "build", "--node", "node-1", "-t", f"{name}:1", str(context)]
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    building = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert building.stdout
    try:
        assert any("│ going" in line for line in building.stdout)
        eventually(lambda: sleepers() != [])
        yield building
    finally:
        building.kill()
        building.wait(30)
        building.stdout.close()


def eventually(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def sleepers() -> list[str]:
    done = subprocess.run(["pgrep", "-f", "sleep 7777.25"], capture_output=True, text=True, check=False)
    return done.stdout.split()


def left_of_builds(cluster: Dev) -> list[str]:
    """Processes, root file systems, networks and directories that belong to a build on node-1."""
    state = cluster.cluster.node(1).state
    places = ("runtime/roots/build-*", "network/build-*", "builds/work/*")
    return [*sleepers(), *(str(path) for place in places for path in state.glob(place))]


def test_ctrl_c_ends_a_build_and_nothing_of_it_is_left(cluster: Dev) -> None:
    with a_slow_build(cluster, "interrupted") as building:
        building.send_signal(signal.SIGINT)
        assert building.wait(30) == 130
        eventually(lambda: left_of_builds(cluster) == [])


def test_a_build_whose_agent_is_killed_fails_and_the_agent_clears_up_when_it_returns(cluster: Dev) -> None:
    with a_slow_build(cluster, "orphaned") as building:
        (agent,) = [pid for name, pid in cluster.processes("node-1").items() if "orch-agent" in name]
        os.kill(agent, signal.SIGKILL)
        cluster.restart_agent("node-1")
        assert building.wait(60) == 1
        assert building.stdout
        assert "run it again" in building.stdout.read()
        eventually(lambda: left_of_builds(cluster) == [])
