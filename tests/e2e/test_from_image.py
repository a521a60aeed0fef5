"""What a Dockerfile says about running is honoured, and what the manifest says wins: walked on one real image."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dev import ORCHCTL, Dev

pytestmark = pytest.mark.cluster

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ENV PATH=/bin COLOR=blue MODE=image
COPY passwd group /etc/
COPY --chmod=755 entry /entry
RUN mkdir -m 1777 /tmp && mkdir -p /data/sub && echo of the image > /data/sub/row && \\
    chown -R app:app /data && chmod 750 /data
USER app
WORKDIR /not/there/yet
VOLUME /data /logs
EXPOSE 8080 53/udp
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=300ms --start-interval=100ms --timeout=20s --retries=2 CMD test -e /tmp/well
ENTRYPOINT ["/entry"]
CMD ["from", "the image"]
"""

ENTRY = """\
#!/bin/sh
trap 'echo told USR1; exit 0' USR1
trap 'echo told TERM; exit 0' TERM
touch /tmp/well
echo "$# $1 $2" > /tmp/arguments
echo ready
while :; do sleep 0.1; done
"""

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: walked}
spec:
  image: walked:1
  rollout: {minReady: 0s, progressDeadline: 60s}
  stop: {drainDelay: 0s, gracePeriod: 20sSTOP}
  restart: {backoff: 10ms}
MORE
"""


@pytest.fixture(scope="module")
def built(cluster: Dev) -> Iterator[str]:
    context = cluster.work / "walked"
    context.mkdir()
    shutil.copy("/bin/busybox", context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "entry").write_text(ENTRY)
    (context / "passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (context / "group").write_text("root:x:0:\napp:x:1001:\naudio:x:29:app\n")
    cluster.orchctl("image", "build", "-q", "-t", "walked:1", str(context))
    yield "walked:1"


def a_service(*more: str, stop: str = "") -> str:
    return SERVICE.replace("STOP", stop).replace("MORE", "\n".join(f"  {line}" for line in more))


def inside(cluster: Dev, script: str) -> list[str]:
    return cluster.orchctl("exec", "walked", "--", "sh", "-c", script).splitlines()


def stopped(cluster: Dev) -> str:
    """What the container said when it was told to end."""
    following = [ORCHCTL, "logs", "-f", "walked"]
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True, env=environment) as logs:
        try:
            assert logs.stdout
            assert "ready" in logs.stdout.readline()
            cluster.orchctl("scale", "walked", "--replicas", "0")
            return next(line for line in logs.stdout if "told" in line)
        finally:
            logs.kill()


ALL_OF_IT = """
id -u; id -g; id -G; pwd; cat /tmp/arguments; echo $COLOR $MODE $HOME
stat -c '%u %g %a %n' /not/there/yet /data /data/sub/row /logs; cat /data/sub/row
"""


def test_what_the_image_says_is_done(cluster: Dev, built: str) -> None:
    cluster.apply(a_service())

    assert inside(cluster, ALL_OF_IT) == [
        *("1000", "1001", "1001 29", "/not/there/yet", "2 from the image", "blue image /home/app"),
        *("1000 1001 755 /not/there/yet", "1000 1001 750 /data", "1000 1001 644 /data/sub/row"),
        *("0 0 755 /logs", "of the image"),
    ]
    assert "told USR1" in stopped(cluster), built


OVERRIDDEN = (
    "entrypoint: [/bin/sh, /entry]",
    "command: [of, the, manifest]",
    "environment: {MODE: manifest}",
    'user: "0:29"',
    "workingDir: /also/new",
    "volumes: [{type: tmpfs, target: /data/, size: 1Mi}]",
    "readiness: {exec: [test, -e, /tmp/arguments], period: 200ms}",
)


def test_what_the_manifest_says_wins(cluster: Dev, built: str) -> None:
    cluster.apply(a_service(*OVERRIDDEN, stop=", signal: SIGTERM"))

    script = "id -u; id -g; pwd; cat /tmp/arguments; echo $COLOR $MODE; ls /data; grep -c ' /data tmpfs' /proc/mounts"
    assert inside(cluster, script) == ["0", "29", "/also/new", "3 of the", "blue manifest", "1"]
    inside(cluster, "rm /tmp/well")  # the image's own check would have it restarted
    assert "told TERM" in stopped(cluster), built


def test_a_new_entrypoint_puts_the_images_command_aside_and_an_unknown_user_is_named(
    cluster: Dev, built: str
) -> None:
    cluster.apply(a_service("entrypoint: [/entry]"))
    assert inside(cluster, "cat /tmp/arguments") == ["0  "], built

    said = cluster.apply(a_service("user: nobody-here").replace("60s", "3s"), expect=1)
    assert "user nobody-here is not in the image's /etc/passwd" in said


def test_an_unhealthy_container_is_restarted_with_its_volumes_as_they_were(cluster: Dev, built: str) -> None:
    cluster.apply(a_service())
    (task,) = cluster.tasks("walked")
    assert task["ready"], "its check passed"
    inside(cluster, "echo kept > /data/more; rm /tmp/well")

    cluster.wait(f"task/{task['name']}", "jsonpath={.status.restarts}=1")
    cluster.wait("svc/walked")
    assert inside(cluster, "cat /data/more /data/sub/row") == ["kept", "of the image"], built
    assert [each["name"] for each in cluster.tasks("walked")] == [task["name"]]
    assert "Unhealthy" in cluster.orchctl("describe", f"task/{task['name']}")


def volumes_of(cluster: Dev) -> list[Path]:
    found = (cluster.cluster.node(number).state / "volumes" for number in (1, 2, 3))
    return [path for directory in found for path in directory.glob("*")]


def test_each_task_has_volumes_of_its_own_and_they_go_with_it(cluster: Dev, built: str) -> None:
    assert volumes_of(cluster) == []
    cluster.apply(a_service("replicas: 2"))
    first, second = (each["name"] for each in cluster.tasks("walked"))
    assert len(volumes_of(cluster)) == 2

    cluster.orchctl("exec", f"task/{first}", "--", "sh", "-c", "echo mine > /data/mine")
    assert "mine" not in cluster.orchctl("exec", f"task/{second}", "--", "ls", "/data")
    cluster.delete("svc/walked")
    assert volumes_of(cluster) == [], built


def test_an_image_is_inspected_as_docker_does_it(cluster: Dev, built: str) -> None:
    (found,) = json.loads(cluster.orchctl("image", "inspect", built, errors=False))

    assert found["Config"]["ExposedPorts"] == {"53/udp": {}, "8080/tcp": {}}
    assert found["Config"]["Volumes"] == {"/data": {}, "/logs": {}}
    assert found["Config"]["Entrypoint"] == ["/entry"]
    assert found["Config"]["User"] == "app"
    assert found["RepoTags"] == [built]
    assert len(found["RootFS"]["Layers"]) == 6
    digest = found["RepoDigests"][0].partition("@")[2]
    listed = json.loads(cluster.orchctl("image", "ls", "-o", "json", built, errors=False))
    assert [each["digest"] for each in listed["items"]] == [digest]
    assert "not found" in cluster.orchctl("image", "inspect", "nothing:1", expect=1)
