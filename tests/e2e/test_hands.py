"""orchctl as hands trained on others reach for it: terminals, pipes, files, watching, asking why."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

TALK = """
apiVersion: orch/v1
kind: Service
metadata: {name: talk, labels: {team: shop}}
spec:
  image: REGISTRY/web:1
  init: true
  entrypoint: [/bin/sh, -c]
  command: ["for i in 1 2 3; do echo line $i; echo err $i >&2; done; exec sleep 1000"]
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


def started(cluster: Dev, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config), "COLUMNS": "200"}
    return subprocess.Popen([dev.ORCHCTL, *arguments], env=environment, **more)  # type: ignore[call-overload,no-any-return]


class Terminal:
    """orchctl with a user at a terminal."""

    def __init__(self, cluster: Dev, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        self.process = started(cluster, *arguments, preexec_fn=lambda: os.login_tty(slave))
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, words: str) -> None:
        deadline = time.monotonic() + dev.PATIENCE_SECONDS
        while words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{words!r} never came: {self.seen!r}"
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended without {words!r}: {self.seen!r}") from None
        self.seen = self.seen[self.seen.index(words) + len(words) :]

    def end(self) -> int:
        code = self.process.wait(timeout=dev.PATIENCE_SECONDS)
        os.close(self.master)
        return code


def test_exec_gives_a_real_terminal_that_is_resized_and_takes_keys(cluster: Dev) -> None:
    cluster.apply(TALK)
    terminal = Terminal(
        cluster,
        "exec",
        "-it",
        "talk.1",
        "--",
        "sh",
        "-c",
        "stty size; tty; read x; stty size; sleep 100; echo $?; read y; exit 7",
    )
    terminal.expect("24 80")
    terminal.expect("/dev/pts/")
    terminal.resize(40, 123)
    terminal.type("\n")
    terminal.expect("40 123")
    terminal.type("\x03")
    terminal.type("\n")
    assert terminal.end() in {7, 130}


def test_exec_passes_bytes_through_unchanged_and_says_why_it_cannot_start(cluster: Dev) -> None:
    cluster.apply(TALK)
    data = os.urandom(2_000_000)
    process = started(
        cluster, "exec", "-i", "talk.1", "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(data, timeout=dev.PATIENCE_SECONDS)
    assert (process.returncode, out == data) == (0, True)
    assert "not found in PATH" in cluster.orchctl("exec", "talk.1", "--", "nope", expect=127)
    assert "permission denied" in cluster.orchctl("exec", "talk.1", "--", "/etc", expect=126)
    assert "has no container" in cluster.orchctl("logs", "talk.1", "-c", "other", expect=4)


def test_logs_are_cut_followed_and_dated(cluster: Dev) -> None:
    cluster.apply(TALK)
    assert sorted(cluster.orchctl("logs", "talk.1").split("\n")[:-1]) == sorted(
        [f"{word} {n}" for word in ("line", "err") for n in (1, 2, 3)]
    )
    assert len(cluster.orchctl("logs", "talk", "--tail", "2").splitlines()) == 2
    assert cluster.orchctl("logs", "talk", "--since", "1ms") == ""
    assert cluster.orchctl("logs", "talk.1", "-t", "--tail", "1").split()[0].endswith("Z")
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    following = started(cluster, "logs", "-f", "talk.1", "--tail", "1", **both)
    try:
        assert following.stdout is not None
        assert following.stdout.readline() in {b"line 3\n", b"err 3\n"}
        cluster.orchctl("exec", "talk.1", "--", "sh", "-c", "echo later > /proc/1/fd/1")
        assert following.stdout.readline() == b"later\n"
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=dev.PATIENCE_SECONDS) == 130


def test_ctrl_c_during_apply_says_how_it_goes_on(cluster: Dev) -> None:
    never_ready = TALK.replace("  init: true", "  init: true\n  readiness: {tcp: {port: 9}, period: 1s}")
    terminal = Terminal(cluster, "apply", "-f", cluster.manifest(never_ready))
    terminal.expect("0/1 ready")
    terminal.type("\x03")
    terminal.expect("talk goes on by itself")
    terminal.expect("orchctl rollout status talk")
    assert terminal.end() == 130


def test_what_get_shows_as_yaml_applies_again_without_a_change(cluster: Dev) -> None:
    cluster.apply(TALK)
    for what in (["svc/talk"], ["services"], ["nodes"]):
        text = cluster.orchctl("get", *what, "-o", "yaml", errors=False)
        assert "no changes" in cluster.orchctl("diff", "-f", "-", stdin=text)
        assert "unchanged" in cluster.orchctl("apply", "-f", "-", stdin=text)
    assert cluster.orchctl("get", "svc", "-o", "name").strip() == "service/talk"
    assert (
        cluster.orchctl("get", "svc", "-l", "team=shop", "-o", "jsonpath={.items[*].metadata.name}").strip()
        == "talk"
    )
    assert "no services" in cluster.orchctl("get", "svc", "-l", "team=other")
    assert "talk.1" in cluster.orchctl("get", "tasks", "talk")


def test_a_directory_is_applied_whole_and_prune_removes_what_left_it(cluster: Dev) -> None:
    directory = cluster.work / "set"
    directory.mkdir()
    for name in ("one", "two"):
        text = TALK.replace("name: talk", f"name: {name}").replace(
            "REGISTRY", cluster.cluster.registry_address
        )
        (directory / f"{name}.yaml").write_text(text)
    assert "--set" in cluster.orchctl("apply", "-f", str(directory), "--prune", expect=2)
    cluster.orchctl("apply", "-f", str(directory), "--set", "pair")
    (directory / "two.yaml").unlink()
    assert "would be deleted" in cluster.orchctl(
        "diff", "-f", str(directory), "--set", "pair", "--prune", expect=1
    )
    cluster.orchctl("apply", "-f", str(directory), "--set", "pair", "--prune")
    cluster.wait("svc/two", "deleted")
    assert [each["metadata"]["name"] for each in cluster.items("services")] == ["one"]
    (directory / "bad.yaml").write_text("kind: Service\n")
    assert "nothing was applied" in cluster.orchctl("apply", "-f", str(directory), expect=2)
    cluster.orchctl("delete", "-f", str(directory / "one.yaml"))


def test_namespaces_keep_names_apart(cluster: Dev) -> None:
    shop = "apiVersion: orch/v1\nkind: Namespace\nmetadata: {name: shop}\n---" + TALK.replace(
        "name: talk", "name: talk, namespace: shop"
    )
    assert "does not exist" in cluster.apply(TALK, "-n", "shop", expect=2)
    try:
        cluster.apply(shop)
        cluster.apply(TALK)
        everywhere = cluster.orchctl("get", "tasks", "-A").splitlines()
        assert [line.split()[:2] for line in everywhere[1:]] == [["default", "talk.1"], ["shop", "talk.1"]]
        assert cluster.orchctl("exec", "-n", "shop", "talk", "--", "hostname").strip() == "talk.1"
        assert "still holds" in cluster.orchctl("delete", "ns", "shop", expect=4)
    finally:
        cluster.orchctl("delete", "svc/talk", "-n", "shop", expect=None)
        cluster.orchctl("delete", "ns", "shop", expect=None)


def test_watching_shows_the_table_and_then_each_change(cluster: Dev) -> None:
    cluster.apply(TALK)
    watching = started(cluster, "get", "tasks", "-w", stdout=subprocess.PIPE)
    assert watching.stdout is not None
    try:
        assert watching.stdout.readline().split()[0] == b"NAME"
        assert watching.stdout.readline().split()[0] == b"talk.1"
        cluster.orchctl("scale", "talk", "2")
        assert watching.stdout.readline().split()[0] == b"talk.2"
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=dev.PATIENCE_SECONDS) == 130


def test_describe_why_and_events_tell_the_story(cluster: Dev) -> None:
    cluster.apply(TALK)
    (task,) = cluster.tasks("talk")
    os.kill(task["containers"][0]["pid"], signal.SIGKILL)
    cluster.wait("task/talk.1", "jsonpath={.status.containers[0].restarts}=1")
    cluster.told("ended by signal 9", "events", "talk")
    assert "ended by signal 9" in cluster.orchctl("describe", "task/talk.1")
    cluster.told("RolledOut", "describe", "talk")
    assert task["node"] in cluster.orchctl("describe", "node", task["node"])
    why = cluster.orchctl("why", "talk.1")
    assert f"{task['node']} won; 3 nodes would have taken it" in why
    assert "is here" in why
    assert {f"node-{n}" for n in (1, 2, 3)} <= set(why.split())


def test_labels_and_taints_move_tasks(cluster: Dev) -> None:
    cluster.apply(TALK)
    (task,) = cluster.tasks("talk")
    try:
        cluster.orchctl("taint", task["node"], "gpu=yes:NoExecute")
        cluster.wait("task/talk.1")
        cluster.wait("svc/talk", "jsonpath={.status.running}=1")
        assert [each["node"] for each in cluster.tasks("talk")] != [task["node"]]
    finally:
        cluster.orchctl("taint", task["node"], "gpu-")
    cluster.orchctl("label", "node", "node-1", "node-2", "zone=a")
    assert len(cluster.orchctl("get", "nodes", "-l", "zone=a", "-o", "name").splitlines()) == 2
    cluster.orchctl("label", "node-1", "node-2", "zone-")
    assert "there is no node node-9" in cluster.orchctl("label", "node-9", "a=b", expect=4)


def test_the_store_is_looked_after(cluster: Dev) -> None:
    assert "yes" in cluster.orchctl("store", "status")
    assert len(cluster.orchctl("store", "members").splitlines()) == 2
    assert "forgotten" in cluster.orchctl("store", "compact")
    assert "defragmented" in cluster.orchctl("store", "defrag")
    file = cluster.work / "snapshot.db"
    cluster.orchctl("store", "snapshot", str(file))
    assert (file.stat().st_mode & 0o777, file.stat().st_size > 10_000) == (0o600, True)
    cluster.apply(TALK)


def test_tab_completes_kinds_names_and_keys(cluster: Dev) -> None:
    cluster.apply(TALK)

    def offered(*words: str) -> list[str]:
        asked = {
            "_ORCHCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": "\n".join(["orchctl", *words]),
            "COMP_CWORD": str(len(words)),
        }
        environment = os.environ | {"ORCH_CONFIG": str(cluster.config)} | asked
        done = subprocess.run(
            [dev.ORCHCTL],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=dev.PATIENCE_SECONDS,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert "services" in offered("get", "")
    assert offered("describe", "svc/") == ["svc/talk"]
    assert offered("cordon", "") == ["node-1", "node-2", "node-3"]
    assert offered("logs", "ta") == ["talk", "talk.1"]
    assert "service.rollout.canary" in offered("explain", "service.rollout.c")
    assert "complete" in cluster.orchctl("completion", "bash")


def test_keys_are_explained_and_described_for_editors(cluster: Dev) -> None:
    assert "promote" in cluster.orchctl("explain", "service.rollout.canary")
    assert 'did you mean "rollout"' in cluster.orchctl("explain", "service.rolout", expect=2)
    schema = json.loads(cluster.orchctl("schema", errors=False))
    assert schema["$schema"].startswith("http")
