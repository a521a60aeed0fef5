"""Nodes, logs, exec, wait and the store, as who operates a cluster uses them."""

import time
from pathlib import Path
from typing import Any

import pytest

from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control


def test_cordon_and_uncordon(control: Control, orchctl: Run) -> None:
    assert orchctl("cordon", "node-1", "node/node-2").out == "node/node-1 cordoned\nnode/node-2 cordoned\n"
    assert control.last("ChangeNode").availability == "cordoned"
    orchctl("uncordon", "node-1")
    assert control.last("ChangeNode").availability == "active"


def test_drain_waits_until_the_node_is_empty(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_node("node-1", tasks=2)]
    control.watched = [pb.WatchReply(changed=[views.a_node("node-1", tasks=count)]) for count in (1, 0)]

    done = orchctl("drain", "node-1")

    assert done.out.splitlines() == [
        "node/node-1 is being drained",
        "node-1: 2 tasks left",
        "node-1: 1 task left",
        "node-1 is empty",
    ]


def test_a_drain_that_does_not_end_in_time_says_what_is_left(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_node("node-1", tasks=2)]

    done = orchctl("drain", "node-1", "--timeout", "300ms")

    assert done.code == 1
    assert "node-1 is not empty in time: 2 left" in done.err


def test_labels_and_taints(control: Control, orchctl: Run) -> None:
    control.answers["ChangeNode"] = pb.ChangeNodeReply(
        node=views.a_node("node-3", taints=(views.a_taint(),)).node
    )

    assert orchctl("label", "node-3", "ring=canary", "old-").out == "node/node-3 zone=a\n"
    assert dict(control.last("ChangeNode").set_labels) == {"ring": "canary"}
    assert list(control.last("ChangeNode").remove_labels) == ["old"]
    assert (
        orchctl("taint", "node", "node-3", "gpu=yes:NoSchedule", "slow-").out
        == "node/node-3 gpu=yes:NoSchedule\n"
    )
    assert control.last("ChangeNode").set_taints[0].effect == "NoSchedule"
    assert list(control.last("ChangeNode").remove_taints) == ["slow"]
    assert orchctl("taint", "node-3", "gpu:Never").code == 2
    assert orchctl("label", "node-3").code == 2


def test_a_join_token_is_alone_on_stdout(control: Control, orchctl: Run) -> None:
    control.answers["JoinToken"] = pb.JoinTokenReply(
        token="orch1.abc", expires_at=time.time() + 3600, address="10.0.0.1:7421"
    )

    done = orchctl("node", "join-token")

    assert done.out == "orch1.abc\n"
    assert "orch-agent --join 10.0.0.1:7421 --token" in done.err


def test_logs_of_a_service_name_their_task(control: Control, orchctl: Run) -> None:
    control.answers["Logs"] = [
        pb.LogLine(task="web.1", container="main", stream="stdout", text=b"one\n", at=views.NOW),
        pb.LogLine(task="web.2", container="proxy", stream="stderr", text=b"two", at=views.NOW),
    ]

    service, task = (
        orchctl("logs", "web", "--tail", "5", "--since", "5m"),
        orchctl("logs", "task/web.1", "-t"),
    )

    assert (service.out, service.err) == ("[web.1] one\n", "[web.2/proxy] two\n")
    assert task.out == "2027-01-15T08:00:00.000Z one\n"
    request = next(request for name, request in control.requests if name == "Logs")
    assert request.tail == 5
    assert time.time() - 301 < request.since < time.time() - 299


def test_output_that_is_missing_is_told(control: Control, orchctl: Run) -> None:
    control.answers["Logs"] = [pb.LogLine(task="web.3", problem="node-2 is not reachable")]

    done = orchctl("logs", "web")

    assert done.code == 1
    assert "web.3: node-2 is not reachable" in done.err


def test_exec_gives_output_and_exit_code_back(control: Control, orchctl: Run) -> None:
    started: list[Any] = []

    def answer(requests: Any) -> list[pb.ExecOutput]:
        started.append(next(requests).start)
        return [
            pb.ExecOutput(stdout=b"hello\n"),
            pb.ExecOutput(stderr=b"oh\n"),
            pb.ExecOutput(end=pb.ExecEnd(exit_code=7)),
        ]

    control.answers["Exec"] = answer

    done = orchctl("exec", "-e", "A=b", "web.2", "--", "sh", "-c", "exit 7")

    assert (done.code, done.out, done.err) == (7, "hello\n", "oh\n")
    assert list(started[0].args) == ["sh", "-c", "exit 7"]
    assert started[0].task == "web.2"
    assert dict(started[0].environment) == {"A": "b"}


def test_a_command_that_cannot_be_run_is_told(control: Control, orchctl: Run) -> None:
    control.answers["Exec"] = [pb.ExecOutput(end=pb.ExecEnd(problem="web.2 is not running", exit_code=127))]

    done = orchctl("exec", "web.2", "ls")
    assert "web.2 is not running" in done.err
    assert done.code == 127
    assert orchctl("exec", "-t", "web.2", "ls").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["svc/web"], "service/web is ready"),
        (["web", "--for", "status=running"], "service/web is status=running"),
        (["svc/web", "--for", "jsonpath={.status.ready}=3"], "service/web is jsonpath={.status.ready}=3"),
        (["node", "node-1"], "node/node-1 is ready"),
        (["svc/gone", "--for", "deleted"], "service/gone is deleted"),
    ],
)
def test_wait_until_something_is_true(control: Control, orchctl: Run, words: list[str], said: str) -> None:
    control.objects = [views.a_service("web"), views.a_node("node-1")]

    done = orchctl("wait", *words)

    assert (done.code, done.out) == (0, said + "\n")


def test_a_wait_in_vain_fails(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web", status="Waiting")]

    assert "service/web is not ready after 0.3 s" in orchctl("wait", "web", "--timeout", "300ms").err
    assert "it is not there" in orchctl("wait", "svc/none", "--timeout", "300ms").err
    assert orchctl("wait", "web", "--for", "happiness").code == 2


def test_the_store_is_shown_and_saved(control: Control, orchctl: Run, tmp_path: Path) -> None:
    def answer(request: Any) -> list[pb.StoreReply]:
        if request.verb == "snapshot":
            return [pb.StoreReply(snapshot_chunk=b"abc"), pb.StoreReply(snapshot_chunk=b"def")]
        return [pb.StoreReply(members=[pb.StoreMember(name="default", db_size=2048, is_leader=True)])]

    control.answers["Store"] = answer

    assert "2.0KiB" in orchctl("store", "status").out
    assert orchctl("store", "snapshot", str(tmp_path / "s.db")).code == 0
    assert (tmp_path / "s.db").read_bytes() == b"abcdef"
    assert orchctl("store", "snapshot", str(tmp_path / "s.db")).code == 2


def test_version_shows_both_sides(control: Control, orchctl: Run) -> None:
    control.answers["Version"] = pb.VersionReply(version="0.1.0", cluster="c1", is_leader=True)

    assert "control plane  0.1.0, leads" in orchctl("version").out
