"""scale, set, rollout and delete."""

# ruff: noqa: E501  a line of a table, or of a made-up answer, is easier to read than its pieces

import pytest

from orch import wire
from orch.model.rollout import Phase
from orch.model.service import ServiceSpec
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control


def test_scale_asks_for_a_number(control: Control, orchctl: Run) -> None:
    control.answers["Scale"] = views.a_reply()
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
    control.answers["Rollout"] = views.a_reply()
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
