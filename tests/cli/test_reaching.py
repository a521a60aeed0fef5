"""Which control plane is asked, and what is told where none answers as it should."""

import json
import socket
import time
from pathlib import Path

import grpc
import pytest

from cli import connection, context
from tests.cli import views
from tests.cli.conftest import Run, Trust
from tests.cli.control import Control, Error, serving, write_context


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


def test_the_time_to_connect_leaves_room_within_three_seconds() -> None:
    assert connection.CONNECT_SECONDS <= 2.5
