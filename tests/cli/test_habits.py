"""What fingers trained elsewhere type is understood, or answered with what to type here."""

import pytest

from cli import one_object
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["why", "task", "web.1"], ["why", "task/web.1"]),
        (["rollout", "history", "service", "web"], ["rollout", "history", "web"]),
        (["rollout", "status", "svc", "web"], ["rollout", "status", "svc/web"]),
        (["events", "--tail", "3", "svc", "web"], ["events", "--tail", "3", "svc/web"]),
        (["get", "pods"], ["get", "tasks"]),
        (["help", "get"], ["get", "--help"]),
        (["wait", "svc/web", "--for=condition=Ready"], ["wait", "svc/web"]),
        (["apply", "-f", "nope", "--dry-run=client"], ["apply", "-f", "nope", "--dry-run"]),
    ],
)
def test_kubectls_way_is_ours(typed: list[str], meant: list[str], control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web"), views.a_task(1), views.a_revision(1, "web:1")]

    assert orchctl(*typed) == orchctl(*meant)


def test_a_kind_stands_before_the_name_and_not_in_a_command(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]

    orchctl("scale", "--replicas", "3", "service", "web", "--wait=false")

    assert (control.last("Scale").service.name, control.last("Scale").replicas) == ("web", 3)
    assert one_object.joined(["web.1", "task", "ls"], frozenset()) == ["web.1", "task", "ls"]
    assert one_object.joined(["--", "task", "ls"], frozenset()) == ["--", "task", "ls"]
    assert one_object.joined(["-n", "svc", "web", "-f"], frozenset({"-n"})) == ["-n", "svc", "web", "-f"]


def test_a_dry_run_may_have_a_value(control: Control, orchctl: Run, web: str) -> None:
    for word, asks in (("true", True), ("server", True), ("client", True), ("false", False), ("none", False)):
        orchctl("apply", "-f", web, f"--dry-run={word}", "--wait=false")
        assert control.last("Apply").dry_run is asks
    assert orchctl("apply", "-f", web, "--dry-run=perhaps").code == 2


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["create", "-f", "x"], "use: orchctl apply -f FILE"),
        (["stop", "web"], "use: orchctl scale SERVICE 0"),
        (["restart", "web"], "use: orchctl rollout restart SERVICE"),
        (["gte"], 'did you mean "get"'),
    ],
)
def test_what_is_called_otherwise_here_is_named(typed: list[str], answer: str, orchctl: Run) -> None:
    done = orchctl(*typed)
    assert (done.code, answer in done.err) == (2, True), done.err


def test_no_command_at_all_is_no_mistake(orchctl: Run) -> None:
    assert orchctl() == orchctl("--help") == orchctl("help")
    assert orchctl("rollout").code == 0
    assert orchctl("--version").out.startswith("orchctl ")


def test_an_option_that_takes_no_value_points_to_the_help_of_its_command(
    orchctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["orchctl", "get", "svc", "--watch=false"])
    assert "see: orchctl get --help" in orchctl("get", "svc", "--watch=false").err


def test_a_name_that_no_dev_cluster_can_have_is_refused(orchctl: Run) -> None:
    for name in ("bad name", "a/b", "x" * 60):
        done = orchctl("dev", "up", "--name", name)
        assert (done.code, "--name" in done.err, "Traceback" in done.err) == (1, True, False), done.err
