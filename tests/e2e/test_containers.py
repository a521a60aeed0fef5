"""What a manifest says of containers is so inside them, and what becomes of them is told."""

# ruff: noqa: E501  a script is easier to read in one piece

import os
import time

import pytest

from tests.support import live_tree
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

HEAD = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  image: REGISTRY/web:1
  stop: {{drainDelay: 0s, gracePeriod: {grace}}}
  rollout: {{minReady: 0s, progressDeadline: 60s}}
"""
SLEEP = "  init: true\n  entrypoint: [/bin/sleep]\n  command: ['1000']\n"


def a_service(name: str, body: str, grace: str = "2s") -> str:
    return HEAD.format(name=name, grace=grace) + body


def in_main(cluster: Dev, service: str, script: str) -> str:
    return cluster.orchctl("exec", service, "--", "sh", "-c", script, expect=None)


def test_several_containers_share_a_network_and_start_after_the_init_containers(cluster: Dev) -> None:
    cluster.apply(
        """
apiVersion: orch/v1
kind: Service
metadata: {name: multi}
spec:
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
  initContainers:
    - {name: one, image: REGISTRY/web:1, entrypoint: [/bin/sh, -c, "sleep 0.2; echo one"]}
    - {name: two, image: REGISTRY/web:1, entrypoint: [/bin/sh, -c, "echo two"]}
  containers:
    - {name: main, image: REGISTRY/web:1}
    - {name: side, image: REGISTRY/web:1, init: true, entrypoint: [/bin/sh, -c],
       command: ["until wget -q -O- http://127.0.0.1:8080/version; do sleep 0.1; done; sleep 1000"]}
"""
    )
    (task,) = cluster.tasks("multi")
    assert [each["name"] for each in task["containers"]] == ["one", "two", "main", "side"]
    lines = cluster.orchctl("logs", "multi").splitlines()
    assert lines[:2] == ["[multi.1.1/one] one", "[multi.1.1/two] two"]
    assert "multi.1.1/side" in cluster.orchctl("logs", "multi", "-c", "side")
    assert "it has one, two, main, side" in cluster.orchctl("logs", "multi", "-c", "three", expect=4)


def test_user_directory_environment_and_files_are_as_they_were_asked_for(cluster: Dev) -> None:
    shared = cluster.work / "shared"
    shared.mkdir()
    (shared / "note").write_text("of the node")
    documents = """
apiVersion: orch/v1
kind: Config
metadata: {name: conf}
data: {a: alpha, b: beta}
---
apiVersion: orch/v1
kind: Secret
metadata: {name: keys}
data: {password: s3cret-words, token: t0ken}
---
"""
    body = f"""
  user: "1000:1000"
  workingDir: /tmp
  environment: [X=y=z, EMPTY=, N=5]
  configs: [{{source: conf, key: a, target: /etc/a.conf, mode: "0640"}}]
  secrets: [{{source: keys, key: password}}, {{source: keys, key: token, target: /keys/token, mode: "0444"}}]
  volumes: ["{shared}:/shared:ro", {{type: tmpfs, target: /scratch, size: 1Mi}}]
"""
    try:
        cluster.apply(documents + a_service("inside", body))
        assert in_main(cluster, "inside", "id -u; id -g; pwd; echo $X-$EMPTY-$N").split() == [
            "1000",
            "1000",
            "/tmp",
            "y=z--5",
        ]
        assert (
            in_main(cluster, "inside", "cat /etc/a.conf /run/secrets/password /keys/token")
            == "alphas3cret-wordst0ken"
        )
        modes = in_main(
            cluster, "inside", "ls -l /etc/a.conf; ls -l /run/secrets/password; ls -l /keys/token"
        )
        assert [line.split()[0] for line in modes.splitlines()] == ["-rw-r-----", "-r--------", "-r--r--r--"]
        mounts = in_main(cluster, "inside", "cat /proc/mounts")
        assert [line.split()[0] for line in mounts.splitlines() if "password" in line] == ["tmpfs"]
        assert in_main(cluster, "inside", "cat /shared/note") == "of the node"
        assert "Read-only" in in_main(cluster, "inside", "echo > /shared/note")
        assert "No space left" in in_main(cluster, "inside", "dd if=/dev/zero of=/scratch/f bs=1M count=3")
        assert "s3cret" not in in_main(cluster, "inside", "env")
    finally:
        cluster.delete("svc/inside")
        cluster.orchctl("delete", "cm/conf", "sec/keys")
    for node in cluster.cluster.all_nodes:
        assert list(live_tree.files(node.run / "secrets")) == [], "a secret stays behind"


def test_entrypoint_replaces_the_images_and_command_follows_it(cluster: Dev) -> None:
    cluster.apply(
        a_service(
            "words",
            "  init: true\n  entrypoint: [/bin/sh, -c, 'echo $0-$1; sleep 1000']\n  command: [first, second]\n",
        )
    )
    cluster.wait("svc/words")
    assert cluster.orchctl("logs", "words.1").strip() == "first-second"


def test_memory_and_processes_are_limited_and_an_oom_kill_is_told(cluster: Dev) -> None:
    body = "  restart: {backoff: 200ms}\n  resources: {limits: {memory: 16Mi}}\n  entrypoint: [/bin/sh, -c, 'x=a; while :; do x=$x$x$x; done']\n"
    cluster.apply(a_service("hungry", body), "--wait=false")
    cluster.wait("task/hungry.1", "jsonpath={.status.containers[0].oomKilled}=true")
    assert "raise resources.limits.memory" in cluster.orchctl("describe", "task/hungry.1")
    cluster.told("OOMKilled", "events", "hungry")

    body = SLEEP + "  resources: {limits: {pids: 6}}\n"
    cluster.apply(a_service("forks", body))
    said = in_main(cluster, "forks", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait")
    assert "can't fork" in said


def test_restart_policies(cluster: Dev) -> None:
    done = "  restart: {policy: on-failure}\n  entrypoint: [/bin/sh, -c, 'exit 0']\n"
    said = cluster.apply(a_service("done", done))
    assert "complete" in said or "serving" in said
    cluster.wait("svc/done", "status=Complete")
    assert [task["state"] for task in cluster.tasks("done")] == ["Complete"]

    never = "  restart: {policy: never}\n  entrypoint: [/bin/sh, -c, 'exit 4']\n"
    cluster.apply(a_service("never", never), "--wait=false")
    cluster.wait("task/never.1", "status=Failed")
    assert {task["restarts"] for task in cluster.tasks("never", finished=True)} == {0}

    thrice = (
        "  restart: {policy: on-failure, backoff: 50ms, attempts: 2}\n  entrypoint: [/bin/sh, -c, 'exit 4']\n"
    )
    cluster.apply(a_service("thrice", thrice), "--wait=false")
    cluster.told("TaskReplaced", "events", "thrice")
    first = next(task for task in cluster.tasks("thrice", finished=True) if task["name"] == "thrice.1.1")
    assert (first["state"], first["restarts"]) == ("Failed", 2)


def test_probes_of_each_kind(cluster: Dev) -> None:
    body = """
  startup: {exec: [/bin/sh, -c, test -e /tmp/up], period: 100ms, failureThreshold: 900}
  readiness: {tcp: {port: 8080}, period: 200ms}
  liveness: {exec: [/bin/sh, -c, test ! -e /tmp/ill], period: 200ms, failureThreshold: 2}
"""
    cluster.apply(a_service("probed", body), "--wait=false")
    cluster.wait("task/probed.1", "status=Unready")
    assert "startup probe" in cluster.orchctl("describe", "task/probed.1")
    in_main(cluster, "probed", "echo > /tmp/up")
    cluster.wait("task/probed.1")

    in_main(cluster, "probed", "echo > /tmp/ill")
    cluster.wait("task/probed.1", "jsonpath={.status.containers[0].restarts}=1")
    said = cluster.told("liveness probe failed", "events", "probed")
    assert "test ! -e /tmp/ill" in said


def test_a_stop_signals_waits_and_then_kills_everything(cluster: Dev) -> None:
    script = "trap 'echo got it; exit 0' USR1; echo up; while :; do sleep 0.05; done"
    text = HEAD.format(name="polite", grace="40s, signal: SIGUSR1")
    cluster.apply(text + f'  entrypoint: [/bin/sh, -c, "{script}"]\n')
    began = time.monotonic()
    cluster.delete("svc/polite")
    assert time.monotonic() - began < 30, "it was asked with its own signal"

    script = "trap '' TERM; (trap '' TERM; setsid sleep 1000 &) ; sleep 1000"
    cluster.apply(a_service("stubborn", f'  entrypoint: [/bin/sh, -c, "{script}"]\n', grace="500ms"))
    (task,) = cluster.tasks("stubborn")
    pid = task["containers"][0]["pid"]
    began = time.monotonic()
    cluster.delete("svc/stubborn")
    assert 0.4 < time.monotonic() - began < 9
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_restarted_container_has_its_last_words_and_a_fresh_root(cluster: Dev) -> None:
    script = "echo run; test ! -e /tmp/mark && echo fresh; echo > /tmp/mark; trap 'exit 3' USR1; while :; do sleep 0.05; done"
    cluster.apply(a_service("again", f'  entrypoint: [/bin/sh, -c, "{script}"]\n'))
    assert "no earlier run" in cluster.orchctl("logs", "again.1", "--previous", expect=1)
    in_main(cluster, "again", "kill -USR1 1")
    cluster.wait("task/again.1", "jsonpath={.status.containers[0].restarts}=1")
    assert cluster.orchctl("logs", "again.1", "--previous").split() == ["run", "fresh"]
    assert cluster.orchctl("logs", "again.1").split() == ["run", "fresh"]
    described = cluster.orchctl("describe", "task/again.1")
    assert "before that:" in described
    assert "exit code 3" in described
