"""A change is followed until it serves, fails, waits for the user or takes too long."""

import os
import signal
import threading
from typing import Any

from orch.model.rollout import Phase
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control


def rolling(ready: int, **more: Any) -> pb.WatchReply:
    fields = {
        "ready": ready,
        "updated": ready,
        "status": "Rolling",
        "phase": Phase.ROLLING,
        "stable": 1,
        "target": 2,
    }
    return pb.WatchReply(changed=[views.a_service("web", **fields | more)])


def test_apply_says_what_changes_and_returns_when_it_serves(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    control.watched = [
        rolling(1, waiting="1 of 3 replaced"),
        rolling(2),
        pb.WatchReply(changed=[views.a_service("web")]),
    ]

    done = orchctl("apply", "-f", web)

    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "service/web changed",
        "  ~ spec.containers[main].image: web:1 → web:2",
        "web  accepted",
        "web  1/3 ready, 1 of revision 2  rolling: 1 of 3 replaced",
        "web  2/3 ready, 2 of revision 2  rolling",
        "web  3/3 ready, 3 of revision 2  serving",
    ]


def test_a_failed_rollout_tells_why_and_what_runs_now(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    broken = views.a_task(
        1, 4, state=TaskState.FAILED, log_tail=("starting", "no such table"), containers=(views.a_failed_container(7),),
        reason="CrashLoop",
    )  # fmt: skip
    outcome = (views.failed(2, "web.1.4 exited with 7", views.NOW + 5),)
    control.watched = [
        rolling(1),
        pb.WatchReply(changed=[broken]),
        rolling(2, phase=Phase.ROLLING_BACK, outcomes=outcome, verdict="failed: web.1.4 exited with 7"),
        pb.WatchReply(
            changed=[views.a_service("web", status="RolledBack", stable=1, target=1, outcomes=outcome)]
        ),
    ]

    done = orchctl("apply", "-f", web)

    assert done.code == 1
    for words in (
        "web: revision 2 failed: web.1.4 exited with 7",
        "web.1.4 on node-1: failed, CrashLoop",
        "container main: exit code 7",
        "GET :8080/healthz answered 500",
        "| no such table",
        "rolled back: revision 1 runs, 3/3 ready",
        "see: orchctl describe svc/web",
    ):
        assert words in done.err


def test_what_a_task_said_when_it_failed_outlives_its_stop(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    outcome = (views.failed(2, "web.1.4 is backoff", views.NOW + 5),)
    failing = views.a_task(1, 4, state=TaskState.BACKOFF, log_tail=("no such table",), reason="CrashLoop")
    stopped = views.a_task(1, 4, state=TaskState.COMPLETE, reason="Stopped", message="it was asked to stop")
    control.watched = [
        pb.WatchReply(changed=[failing]),
        pb.WatchReply(changed=[stopped]),
        pb.WatchReply(
            changed=[views.a_service("web", status="RolledBack", stable=1, target=1, outcomes=outcome)]
        ),
    ]

    done = orchctl("apply", "-f", web)

    assert "web.1.4 on node-1: backoff, CrashLoop" in done.err
    assert "| no such table" in done.err
    assert "asked to stop" not in done.err


def test_a_service_that_is_scaled_down_serves_when_the_others_are_gone(
    control: Control, orchctl: Run
) -> None:
    control.answers["Scale"] = views.a_reply()
    control.watched = [
        pb.WatchReply(changed=[views.a_service("web", desired=1, ready=3, updated=3)]),
        pb.WatchReply(changed=[views.a_service("web", desired=1, ready=1, updated=1)]),
    ]

    assert orchctl("scale", "web", "1").out.splitlines()[-1] == "web  1/1 ready, 1 of revision 2  serving"


def test_an_old_failure_of_the_same_revision_does_not_count(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    old = (views.failed(2, "long ago", views.NOW - 500),)
    control.watched = [
        rolling(1, outcomes=old),
        pb.WatchReply(changed=[views.a_service("web", outcomes=old)]),
    ]

    assert orchctl("apply", "-f", web).code == 0


def test_after_a_rollback_scaling_waits_for_what_runs(control: Control, orchctl: Run) -> None:
    reply = views.a_reply()
    reply.objects[0].changes.clear()
    control.answers["Scale"] = reply
    old = (views.failed(2, "long ago", views.NOW - 500),)
    back = {
        "outcomes": old,
        "status": "RolledBack",
        "phase": Phase.DONE,
        "updated": 0,
        "target": 1,
        "stable": 1,
    }
    control.watched = [rolling(2, **back), rolling(3, **back)]

    done = orchctl("scale", "web", "3", "--timeout", "20s")

    assert done.code == 0
    assert "serving revision 1; revision 2 was given up" in done.out


def test_a_rollout_that_stands_still_has_failed(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    outcome = (views.failed(2, "no progress for 300s", views.NOW + 5),)
    paused = rolling(
        1, phase=Phase.PAUSED, status="Paused", outcomes=outcome, waiting="no progress: apply again"
    )
    control.watched = [paused]

    done = orchctl("apply", "-f", web)

    assert done.code == 1
    assert "it was stopped where it stood (1/3 ready)" in done.err


def test_a_paused_service_takes_the_change_and_says_how_to_go_on(
    control: Control, orchctl: Run, web: str
) -> None:
    control.answers["Apply"] = views.a_reply()
    paused = rolling(0, phase=Phase.PAUSED, status="Paused", waiting="paused by the user")
    paused.changed[0].service.service.orders.paused = True
    control.watched = [paused]

    done = orchctl("apply", "-f", web)

    assert done.code == 0
    assert "go on: orchctl rollout resume web" in done.out


def test_a_canary_that_waits_for_the_user_is_left_with_a_sentence(
    control: Control, orchctl: Run, web: str
) -> None:
    control.answers["Apply"] = views.a_reply()
    waiting = "healthy; waiting for `orchctl rollout promote`"
    control.watched = [
        rolling(3, updated=1, phase=Phase.CANARY, status="Canary", waiting=waiting, nodes=("node-3",))
    ]

    done = orchctl("apply", "-f", web)

    assert done.code == 0
    assert "revision 2 runs on node-3 and is healthy; the rest waits for you" in done.out
    assert "orchctl rollout promote web" in done.out


def test_an_apply_that_another_one_replaced_is_told(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    control.watched = [pb.WatchReply(changed=[views.a_service("web", revision=3, generation=3)])]

    done = orchctl("apply", "-f", web)

    assert done.code == 1
    assert "revision 2 was replaced by revision 3" in done.err


def test_too_slow_is_told_with_the_reason(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply()
    control.watched = [rolling(1, waiting="node-3 has no room")]

    done = orchctl("apply", "-f", web, "--timeout", "500ms")

    assert done.code == 1
    assert "not serving after 0.5 s" in done.err
    assert "node-3 has no room" in done.err


def test_ctrl_c_says_how_to_go_on(control: Control, orchctl: Run, web: str) -> None:
    def interrupt_soon(_request: Any) -> pb.ApplyReply:
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        return views.a_reply()

    control.answers["Apply"] = interrupt_soon
    control.watched = [rolling(1)]

    done = orchctl("apply", "-f", web)

    assert done.code == 130
    assert "web goes on by itself (1/3 ready, revision 2)" in done.err
    assert "orchctl rollout status web -w" in done.err
