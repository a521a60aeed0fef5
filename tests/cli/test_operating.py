"""Nodes, logs, exec, wait, store, contexts, and a control plane that is away."""

# ruff: noqa: E501  a line of a program is easier to read whole

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli import connection, context
from cli.main import _ALIASES, _COMMANDS
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run, Trust
from tests.cli.control import Control, Error, serving, write_context


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


# ── when things are away ─────────────────────────────────────────────────────────────────────────────────


def test_without_a_cluster_the_way_to_one_is_told(home: Path, orchctl: Run) -> None:
    done = orchctl("get", "nodes")

    assert done.code == 3
    assert "no cluster is known; try: orchctl dev up --nodes 3" in done.err


def test_a_dead_control_plane_is_told_with_its_address(home: Path, orchctl: Run, trust: Trust) -> None:
    write_context(home, ["127.0.0.1:1"], trust.authority.file, trust.user)
    began = time.monotonic()

    done = orchctl("get", "nodes")

    assert done.code == 3
    assert "no control plane answers (127.0.0.1:1: connection refused)" in done.err
    assert time.monotonic() - began < 3


def test_a_control_plane_that_hangs_is_told_within_three_seconds(
    home: Path, orchctl: Run, trust: Trust
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        write_context(home, [address], trust.authority.file, trust.user)
        began = time.monotonic()

        done = orchctl("get", "nodes")

    assert done.code == 3
    assert f"({address}: no answer" in done.err
    assert time.monotonic() - began < 3


def test_the_next_address_is_asked_when_the_first_is_away(home: Path, orchctl: Run, trust: Trust) -> None:
    control = Control()
    control.objects = [views.a_node("node-1")]
    with serving(control, trust.authority, trust.server) as address:
        write_context(home, ["127.0.0.1:1", address], trust.authority.file, trust.user)

        assert orchctl("get", "nodes", "-o", "name").out == "node/node-1\n"
        assert orchctl("events", "-w", "--context", "nope").code == 3


def test_the_next_address_is_asked_when_the_first_does_not_lead(
    home: Path, orchctl: Run, trust: Trust
) -> None:
    follower, leader = Control(), Control()
    follower.answers["ChangeNode"] = Error(grpc.StatusCode.UNAVAILABLE, "this control plane does not lead")
    with (
        serving(follower, trust.authority, trust.server) as first,
        serving(leader, trust.authority, trust.server) as second,
    ):
        write_context(home, [first, second], trust.authority.file, trust.user)

        assert orchctl("cordon", "node-1").code == 0
    assert leader.last("ChangeNode").name == "node-1"


def test_a_foreign_control_plane_is_told(home: Path, orchctl: Run, trust: Trust, tmp_path: Path) -> None:
    from tests.support.certificates import Authority

    stranger = Authority(tmp_path, "stranger")
    with serving(Control(), stranger, stranger.issue("server")) as address:
        write_context(home, [address], trust.authority.file, trust.user)

        assert "its certificate is not of the CA that the context names" in orchctl("get", "nodes").err


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.FAILED_PRECONDITION, 4),
        (grpc.StatusCode.UNAVAILABLE, 3),
    ],
)
def test_a_no_of_the_control_plane_is_told_in_its_words(
    control: Control, orchctl: Run, code: grpc.StatusCode, exit_code: int
) -> None:
    control.answers["ChangeNode"] = Error(code, "there is no node node-9")

    done = orchctl("cordon", "node-9")

    assert (done.code, done.err) == (exit_code, "error: there is no node node-9\n")


def test_certificates_that_are_gone_are_told(home: Path, orchctl: Run, tmp_path: Path) -> None:
    context.save("gone", ["127.0.0.1:1"], tmp_path / "no.ca", tmp_path / "no.crt", tmp_path / "no.key")

    assert "no.ca (No such file or directory), which the context names" in orchctl("get", "nodes").err


# ── contexts and the table of commands ───────────────────────────────────────────────────────────────────


def test_contexts_are_saved_used_and_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        context.save(name, [f"{name}:7420"], "ca", "cert", "key")
    with pytest.raises(context.ContextError, match="several clusters are known"):
        context.current()
    context.use("two")

    assert context.current().addresses == ("two:7420",)
    assert context.current("one").name == "one"
    monkeypatch.setenv("ORCH_CONTEXT", "one")
    assert context.current().name == "one"
    monkeypatch.delenv("ORCH_CONTEXT")
    context.remove("two")
    context.remove("two")
    assert context.current().name == "one"
    assert json.loads((home / "contexts" / "one.json").read_text())["server_name"] == "orch-controlplane"
    with pytest.raises(context.ContextError, match="there is no context 'three' \\(known: one\\)"):
        context.use("three")
    with pytest.raises(context.ContextError, match="cannot be the name"):
        context.save("../x", [], "", "", "")


def test_the_table_names_every_file_of_commands_and_no_other() -> None:
    files = {path.stem.replace("_", "-") for path in Path("cli/commands").glob("*.py")} - {"--init--"}

    assert set(_COMMANDS) == files


@pytest.mark.parametrize(
    "words", [[name, "--help"] for name in _COMMANDS] + [[name, "--help"] for name in _ALIASES]
)
def test_every_command_and_alias_has_help(orchctl: Run, words: list[str]) -> None:
    done = orchctl(*words)

    assert done.code == 0
    assert "Usage: orchctl" in done.out
    assert "\\b" not in done.out, "a mark that keeps lines apart is shown instead"


def test_a_word_that_is_no_command_has_a_nearest(orchctl: Run) -> None:
    done = orchctl("aply")

    assert done.code == 2
    assert 'there is no command "aply" — did you mean "apply"?' in done.err


def test_the_time_to_connect_leaves_room_within_three_seconds() -> None:
    assert connection.CONNECT_SECONDS <= 2.5


# ── the process itself ───────────────────────────────────────────────────────────────────────────────────


def _process(words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    command = f"{sys.executable} -m cli {words}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, **more)


def test_the_process_ends_with_the_code_and_all_of_its_output() -> None:
    done = _process("explain service; exit $?")

    assert done.returncode == 0
    assert done.stdout.endswith("\n")
    assert "rollout" in done.stdout
    assert _process("explain srvice").returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = _process("schema | head -1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_output_that_cannot_be_written_is_an_error() -> None:
    assert _process("version --client > /dev/full").returncode != 0


def test_help_imports_neither_grpc_nor_pydantic() -> None:
    code = "import sys; sys.argv=['orchctl','--help']; from cli.main import cli\ntry: cli.main(standalone_mode=False)\nfinally: print([m for m in ('grpc','pydantic','rich','google.protobuf','yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.endswith("[]\n")


def test_get_imports_no_model() -> None:
    code = "import sys, cli.commands.get, cli.connection; print([m for m in ('pydantic', 'rich', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "[]\n"
