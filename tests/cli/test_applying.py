"""apply and its progress, plan, diff, set, scale, rollout, delete."""

# ruff: noqa: E501  a line of a table, or of a made-up answer, is easier to read than its pieces

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from orch import wire
from orch.model.rollout import Phase
from orch.model.service import ServiceSpec
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control

_WEB = """apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  replicas: 3
  image: web:2
"""


@pytest.fixture
def web(tmp_path: Path) -> str:
    file = tmp_path / "web.yaml"
    file.write_text(_WEB)
    return str(file)


def a_reply(action: str = "changed", revision: int = 2, **more: Any) -> pb.ApplyReply:
    change = pb.FieldChange(path="spec.template.containers[main].image", before="web:1", after="web:2")
    applied = pb.AppliedObject(
        reference=pb.Reference(kind="service", namespace="default", name="web"),
        action=action,
        generation=2,
        target_revision=revision,
        changes=[change] if action == "changed" else [],
        **more,
    )
    return pb.ApplyReply(objects=[applied], received_at=views.NOW)


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
    control.answers["Apply"] = a_reply()
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


def test_apply_sends_the_spec_that_was_written(control: Control, orchctl: Run, web: str) -> None:
    orchctl("apply", "-f", web, "--wait=false")

    (document,) = control.last("Apply").documents
    assert document.source == f"{web}:1"
    assert wire.from_wire(document.service.spec, ServiceSpec).template.containers[0].image == "web:2"
    assert control.last("Apply").request_id


def test_apply_without_waiting_does_not_watch(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = a_reply("created")

    assert orchctl("apply", "-f", web, "--wait=false").out == "service/web created\n"
    assert "Watch" not in dict(control.requests)


def test_a_failed_rollout_tells_why_and_what_runs_now(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = a_reply()
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
    control.answers["Apply"] = a_reply()
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
    control.answers["Scale"] = a_reply()
    control.watched = [
        pb.WatchReply(changed=[views.a_service("web", desired=1, ready=3, updated=3)]),
        pb.WatchReply(changed=[views.a_service("web", desired=1, ready=1, updated=1)]),
    ]

    assert orchctl("scale", "web", "1").out.splitlines()[-1] == "web  1/1 ready, 1 of revision 2  serving"


def test_an_old_failure_of_the_same_revision_does_not_count(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = a_reply()
    old = (views.failed(2, "long ago", views.NOW - 500),)
    control.watched = [
        rolling(1, outcomes=old),
        pb.WatchReply(changed=[views.a_service("web", outcomes=old)]),
    ]

    assert orchctl("apply", "-f", web).code == 0


def test_after_a_rollback_scaling_waits_for_what_runs(control: Control, orchctl: Run) -> None:
    reply = a_reply()
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
    control.answers["Apply"] = a_reply()
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
    control.answers["Apply"] = a_reply()
    paused = rolling(0, phase=Phase.PAUSED, status="Paused", waiting="paused by the user")
    paused.changed[0].service.service.orders.paused = True
    control.watched = [paused]

    done = orchctl("apply", "-f", web)

    assert done.code == 0
    assert "go on: orchctl rollout resume web" in done.out


def test_a_canary_that_waits_for_the_user_is_left_with_a_sentence(
    control: Control, orchctl: Run, web: str
) -> None:
    control.answers["Apply"] = a_reply()
    waiting = "healthy; waiting for `orchctl rollout promote`"
    control.watched = [
        rolling(3, updated=1, phase=Phase.CANARY, status="Canary", waiting=waiting, nodes=("node-3",))
    ]

    done = orchctl("apply", "-f", web)

    assert done.code == 0
    assert "revision 2 runs on node-3 and is healthy; the rest waits for you" in done.out
    assert "orchctl rollout promote web" in done.out


def test_an_apply_that_another_one_replaced_is_told(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = a_reply()
    control.watched = [pb.WatchReply(changed=[views.a_service("web", revision=3, generation=3)])]

    done = orchctl("apply", "-f", web)

    assert done.code == 1
    assert "revision 2 was replaced by revision 3" in done.err


def test_too_slow_is_told_with_the_reason(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = a_reply()
    control.watched = [rolling(1, waiting="node-3 has no room")]

    done = orchctl("apply", "-f", web, "--timeout", "500ms")

    assert done.code == 1
    assert "not serving after 0.5 s" in done.err
    assert "node-3 has no room" in done.err


def test_ctrl_c_says_how_to_go_on(control: Control, orchctl: Run, web: str) -> None:
    def interrupt_soon(_request: Any) -> pb.ApplyReply:
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        return a_reply()

    control.answers["Apply"] = interrupt_soon
    control.watched = [rolling(1)]

    done = orchctl("apply", "-f", web)

    assert done.code == 130
    assert "web goes on by itself (1/3 ready, revision 2)" in done.err
    assert "orchctl rollout status web -w" in done.err


def test_problems_of_all_files_are_told_and_nothing_is_sent(
    control: Control, orchctl: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(_WEB.replace("replicas", "replica"))
    (tmp_path / "b.yaml").write_text(_WEB.replace("web:2", "Web:2"))

    done = orchctl("apply", "-f", str(tmp_path))

    assert done.code == 2
    assert 'a.yaml:5:3: unknown key "replica" in spec — did you mean "replicas"?' in done.err
    assert "b.yaml:6:10: " in done.err
    assert "nothing was applied: 2 problems to mend" in done.err
    assert control.requests == []


def test_files_that_are_no_manifests_are_told(control: Control, orchctl: Run, tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"x" * 11_000_000)

    assert "a manifest may have 10 MB" in orchctl("apply", "-f", str(big)).err
    assert "cannot read nowhere.yaml" in orchctl("apply", "-f", "nowhere.yaml").err
    assert orchctl("apply").code == 2


def test_another_namespace_than_asked_for_is_told(control: Control, orchctl: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(_WEB.replace("{name: web}", "{name: web, namespace: shop}"))

    done = orchctl("apply", "-f", str(tmp_path / "a.yaml"), "-n", "other")

    assert done.code == 2
    assert "shop/web is in another namespace than -n other" in done.err


def test_prune_labels_the_set(control: Control, orchctl: Run, web: str) -> None:
    assert orchctl("apply", "-f", web, "--prune").code == 2
    orchctl("apply", "-f", web, "--prune", "--set", "shop", "--wait=false")

    request = control.last("Apply")
    assert request.prune
    assert dict(request.documents[0].service.labels) == {"orch/set": "shop"}


@pytest.mark.parametrize("verb", ["plan", "diff"])
def test_plan_and_diff_exit_with_0_for_no_change_and_1_for_changes(
    control: Control, orchctl: Run, web: str, verb: str
) -> None:
    control.answers["Apply"] = a_reply("unchanged")
    same = orchctl(verb, "-f", web)
    control.answers["Apply"] = a_reply(decisions=["web.1 on node-2"])
    different = orchctl(verb, "-f", web)

    assert (same.code, same.out) == (0, "no changes\n")
    assert different.code == 1
    assert "service/web would change" in different.out
    assert ("web.1 on node-2" in different.out) == (verb == "plan")
    assert control.last("Apply").dry_run


def test_an_error_of_diff_is_more_than_1(orchctl: Run, home: Path, web: str) -> None:
    assert orchctl("diff", "-f", web).code == 3
    assert orchctl("diff", "-f", "nowhere.yaml").code == 2


def test_scale_asks_for_a_number(control: Control, orchctl: Run) -> None:
    control.answers["Scale"] = a_reply()
    control.watched = [pb.WatchReply(changed=[views.a_service("web")])]

    assert orchctl("scale", "web", "--replicas", "5").code == 0
    assert control.last("Scale").replicas == 5
    assert control.last("Scale").service.name == "web"
    assert orchctl("scale", "svc/web", "7", "--wait=false").code == 0
    assert control.last("Scale").replicas == 7
    assert orchctl("scale", "web").code == 2


def test_set_image_changes_the_image_and_nothing_else(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]

    assert orchctl("set", "image", "web", "web:9", "--wait=false").code == 0

    spec = wire.from_wire(control.last("Apply").documents[0].service.spec, ServiceSpec)
    assert spec == views.a_spec("web:9")
    assert "has no container proxy" in orchctl("set", "image", "web", "proxy=x:1").err


def test_set_env_sets_and_removes(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]

    orchctl("set", "env", "web", "A=b", "LOG_LEVEL-", "--wait=false")

    spec = wire.from_wire(control.last("Apply").documents[0].service.spec, ServiceSpec)
    assert spec.template.containers[0].environment == {"A": "b"}


@pytest.mark.parametrize("verb", ["undo", "pause", "resume", "restart", "promote", "abort"])
def test_a_word_in_a_rollout_is_passed_on(control: Control, orchctl: Run, verb: str) -> None:
    control.answers["Rollout"] = a_reply()
    control.watched = [pb.WatchReply(changed=[views.a_service("web")])]

    done = orchctl("rollout", verb, "web")

    assert done.code == 0, done.err
    assert control.last("Rollout").verb == verb
    assert done.out.startswith("service/web ")


def test_rollback_is_rollout_undo(control: Control, orchctl: Run) -> None:
    orchctl("rollback", "web", "--to", "3")

    assert (control.last("Rollout").verb, control.last("Rollout").to_revision) == ("undo", 3)


def test_rollout_status_shows_the_rings(control: Control, orchctl: Run) -> None:
    control.objects = [
        views.a_service(
            "web", status="Canary", phase=Phase.CANARY, stable=1, verdict="healthy; baking for 300s", nodes=("node-3",),
            spec=views.a_spec(rollout={"canary": {"steps": [{"nodes": ["node-3"], "bake": "5m"}, {"percent": 50}]}}),
            rings=[pb.Ring(name="canary 1", nodes=["node-3"], desired=1, updated=1, ready=1, verdict="healthy"), pb.Ring(name="rest", desired=2)],
        )
    ]  # fmt: skip

    out = orchctl("rollout", "status", "web").out

    assert "1 → 2" in out
    assert "1 of 2" in out
    assert out.splitlines()[-3].split() == [
        "RING",
        "NODES",
        "DESIRED",
        "UPDATED",
        "READY",
        "FAILED",
        "VERDICT",
    ]


def test_delete_waits_until_nothing_is_left(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web", deleted=True, status="Deleting")]
    web = pb.Reference(kind="service", namespace="default", name="web")
    control.answers["Delete"] = pb.DeleteReply(deleted=[web])
    control.watched = [pb.WatchReply(removed=[web])]

    done = orchctl("delete", "web")

    assert (done.code, done.out) == (0, "service/web deleted\n")
    assert control.last("Delete").references[0].kind == "service"


def test_what_delete_does_not_do_is_told(control: Control, orchctl: Run) -> None:
    assert "orchctl node rm" in orchctl("delete", "node/node-1").err
    assert "scale or delete their service" in orchctl("delete", "task/web.1").err
    assert orchctl("delete").code == 2


def test_delete_reads_files_too(control: Control, orchctl: Run, web: str) -> None:
    orchctl("rm", "-f", web, "--wait=false")

    assert [each.name for each in control.last("Delete").references] == ["web"]


def test_a_deletion_that_waits_for_a_lost_node_says_so_once(control: Control, orchctl: Run) -> None:
    control.objects = [
        views.a_service("web", deleted=True),
        views.a_task(1, node="node-2", unreachable=True),
        views.a_task(2, node="node-2", unreachable=True),
    ]
    gone = pb.WatchReply(removed=[pb.Reference(kind="service", namespace="default", name="web")])
    control.watched = [gone]

    done = orchctl("delete", "web", "--timeout", "20s")

    assert done.code == 0
    assert "web.1 is on node-2, which is down" in done.err
    assert done.err.count("orchctl node rm node-2") == 1
