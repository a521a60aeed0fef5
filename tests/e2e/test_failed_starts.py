"""Each step of a start that fails becomes a sentence of the task: what was tried, on what, and what to do."""

import time

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  image: REGISTRY/web:1
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  rollout: {{minReady: 0s, progressDeadline: 60s}}
  {body}
"""


@pytest.mark.parametrize(
    ("name", "body", "reason", "said"),
    [
        (
            "command",
            "entrypoint: [/bin/slep, '10']",
            "CommandNotFound",
            "exec /bin/slep: no such file in the image; the image has /bin/sleep: did you mean that?",
        ),
        (
            "elsewhere",
            "entrypoint: [/usr/local/bin/sleep, '10']",
            "CommandNotFound",
            "the image has /bin/sleep: did you mean that?",
        ),
        (
            "bind",
            "volumes: ['/orch-nowhere/data:/data']",
            "MountFailed",
            "/orch-nowhere/data: no such file or directory; it must exist on this node: make it there",
        ),
        (
            "memory",
            "resources: {limits: {memory: 64Ki}}",
            "LimitRefused",
            "memory limit 64Ki is below the 2Mi that a start needs: raise resources.limits.memory",
        ),
        (
            "directory",
            "workingDir: /bin/busybox",
            "WorkingDirNotFound",
            "workingDir /bin/busybox: it is a file in the image, and must be a directory",
        ),
    ],
)
def test_a_failed_start_says_what_was_tried_on_what_and_what_to_do(
    cluster: Dev, name: str, body: str, reason: str, said: str
) -> None:
    cluster.apply(SERVICE.format(name=name, body=body), "--wait=false")
    cluster.orchctl(
        "wait", f"task/{name}.1", "--for", f"jsonpath={{.status.reason}}={reason}", "--timeout", "60s"
    )

    for command in (("get", "task", f"{name}.1", "-o", "wide"), ("describe", f"task/{name}.1")):
        heard = _until(cluster, reason, *command)
        assert said in heard


def _until(cluster: Dev, words: str, *command: str) -> str:
    """While a start is tried again it has no reason to show."""
    deadline = time.monotonic() + 60
    while words not in (heard := cluster.orchctl(*command, errors=False)):
        assert time.monotonic() < deadline, heard
        time.sleep(0.1)
    return heard


def test_a_user_whom_the_image_does_not_know_is_named(cluster: Dev) -> None:
    """It can never work there, so the task is given back and tried anew: every attempt says it."""
    cluster.apply(SERVICE.format(name="user", body="user: nobdy"), "--wait=false")
    said = ""
    for _ in range(100):
        said = cluster.orchctl("get", "tasks", "user", "--all", "-o", "wide", errors=False)
        if "UnknownUser" in said:
            break
    assert "user nobdy is not in the image's /etc/passwd: name one that is, or give a number" in said
