"""What users see, letter by letter. `UPDATE_GOLDEN=1 pytest tests/cli/render` writes the files anew: read the diff."""

# ruff: noqa: E501  a line of a table, or of a made-up answer, is easier to read than its pieces

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.render import changes, details, progress, rollouts, table, whys
from cli.render.progress import Goal, Seen
from orch.model.node import Availability, Condition
from orch.model.policy import PortSpec
from orch.model.rollout import Phase
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.views import NOW

_GOLDEN = Path(__file__).parent / "golden"
_USUAL = table.Style(NOW)
_WIDE = table.Style(NOW, is_wide=True, shows_namespace=True)

_SERVICES = [
    views.a_service("web").service,
    views.a_service(
        "shop", namespace="market", status="Canary", phase=Phase.CANARY, stable=1, updated=1, nodes=("node-3",),
        reason="healthy; baking for 300s",
    ).service,
    views.a_service("api", status="Waiting", ready=1, reason="api.2: no node fits").service,
]  # fmt: skip
_TASKS = [
    views.a_task(1).task,
    views.a_task(
        2, 3, node="node-2", state=TaskState.BACKOFF, restarts=4, retry_at=NOW + 8, reason="CrashLoop"
    ).task,
    views.a_task(2, 2, node="node-2", state=TaskState.FAILED, containers=(views.a_failed_container(7),)).task,
    views.a_task(
        3, node="", state=TaskState.PENDING, ready=False, reason="Pending", message="no node fits"
    ).task,
    views.a_task(4, node="node-3", unreachable=True, reason="NodeDown").task,
]
_NODES = [
    views.a_node("node-1").node,
    views.a_node("node-2", availability=Availability.CORDONED, taints=(views.a_taint(),)).node,
    views.a_node("node-3", condition=Condition.DOWN, tasks=0, heartbeat_age=-1.0).node,
]
_EVENTS = [
    views.an_event("service/web", "RolledOut", "revision 2 is everywhere", ago=3000).event,
    views.an_event("task/web.2.3", "CrashLoop", "exited with 7", warning=True, count=4).event,
    views.an_event("node/node-3", "NodeDown", "silent for 5s", ago=90, warning=True).event,
]
_CANARY = views.a_service(
    "web", status="Canary", phase=Phase.CANARY, stable=1, verdict="healthy; baking for 300s", nodes=("node-3",),
    ready_since=NOW - 20, progressed_at=NOW - 40,
    spec=views.a_spec(rollout={"canary": {"steps": [{"nodes": ["node-3"], "bake": "5m"}, {"percent": 67}]}}),
    rings=[
        pb.Ring(name="canary 1", nodes=["node-3"], desired=1, updated=1, ready=1, verdict="healthy; baking for 300s"),
        pb.Ring(name="rest", desired=2, ready=2),
    ],
).service  # fmt: skip


_ENDPOINTS = [
    views.endpoints(
        ready=5,
        out={6: "runs and is not ready: GET /healthz answered 503", 7: "is leaving: scaled to 6"},
        ports=(
            PortSpec(name="http", target=8080, port=80, published=30080, mode="ingress"),
            PortSpec(target=9100),
        ),
    ).endpoints,
    views.endpoints(
        "api", ready=0, virtual_addresses=(), out={1: "waits for a place: no node fits"}
    ).endpoints,
]


def _failure() -> str:
    goal = Goal("default", "web", 2, 2, NOW)
    outcome = (views.failed(2, "web.2.3 exited with 7", NOW + 1),)
    view = views.a_service("web", status="RolledBack", stable=1, target=1, outcomes=outcome).service
    broken = views.a_task(
        2, 3, node="node-2", state=TaskState.FAILED, reason="CrashLoop", log_tail=("starting", "no such table: users"),
        containers=(views.a_failed_container(7),),
    ).task  # fmt: skip
    return progress.failure(goal, Seen(view, {"a": broken})) + "\n"


def _progress() -> str:
    goal = Goal("default", "web", 2, 2, NOW)
    steps = [
        None,
        views.a_service("web", generation=1, revision=1, stable=1).service,
        views.a_service(
            "web",
            status="Rolling",
            phase=Phase.ROLLING,
            stable=1,
            updated=1,
            ready=2,
            waiting="web.3 is not ready yet",
        ).service,
        views.a_service(
            "web", status="Rolling", phase=Phase.ROLLING_BACK, stable=1, updated=1, ready=2
        ).service,
        views.a_service("web").service,
    ]
    return "".join(progress.line(goal, Seen(view), bar=True, name_width=5) + "\n" for view in steps)


def _changes() -> str:
    fields = [
        pb.FieldChange(path="spec.template.containers[main].image", before="web:1", after="web:2"),
        pb.FieldChange(path="spec.replicas", before="", after="3"),
        pb.FieldChange(path="spec.priority", before="5", after=""),
    ]
    reply = pb.ApplyReply(
        objects=[
            pb.AppliedObject(reference=pb.Reference(kind="service", name="web"), action="changed", changes=fields, decisions=["web.1 on node-2"]),
            pb.AppliedObject(reference=pb.Reference(kind="config", namespace="shop", name="c"), action="created"),
            pb.AppliedObject(reference=pb.Reference(kind="namespace", name="shop"), action="unchanged"),
        ]
    )  # fmt: skip
    return changes.applied(reply) + "---\n" + changes.planned(reply)


def _why() -> str:
    many = {f"node-{number}": "has 1 of 1" for number in range(1, 12)}
    waits = pb.WhyReply(
        summary="web.4 waits: no node fits",
        funnel=[
            pb.FunnelStep(filter="ready", left=12, refused={"node-12": "is down"}),
            pb.FunnelStep(filter="maxPerNode", left=0, refused=many),
        ],
        suggestions=["maxPerNode: 2", "one more node"],
        events=[_EVENTS[1]],
    )
    runs = pb.WhyReply(
        summary="web.1 runs on node-2: it had the most room",
        scores=[
            pb.ScoreRow(node="node-2", scores={"of": 3, "zone": 0, "tasks": 0, "allocated": 0.25}, won=True),
            pb.ScoreRow(node="node-2", scores={"zone": 0, "tasks": 1, "allocated": 0.5}),
            pb.ScoreRow(node="node-1", scores={"zone": 1, "tasks": 0, "allocated": 0.125}),
        ],
    )
    return whys.answer(waits, NOW) + "---\n" + whys.answer(runs, NOW)


_PAGES: dict[str, Callable[[], str]] = {
    "services": lambda: table.table("service", _SERVICES, _USUAL),
    "services-wide": lambda: table.table("service", _SERVICES, _WIDE),
    "tasks": lambda: table.table("task", [task for task in _TASKS if task.state != TaskState.FAILED], _USUAL),
    "tasks-wide-all": lambda: table.table("task", _TASKS, table.Style(NOW, is_wide=True, attempts=True)),
    "nodes": lambda: table.table("node", _NODES, _USUAL),
    "nodes-wide": lambda: table.table("node", _NODES, _WIDE),
    "endpoints": lambda: table.table("endpoints", _ENDPOINTS, _USUAL),
    "events": lambda: table.table("event", _EVENTS, _USUAL),
    "others": lambda: (
        table.table("config", [views.a_config().config], _USUAL)
        + table.table("secret", [views.a_secret().secret], _USUAL)
        + table.table("revision", [views.a_revision(1, "web:1", "succeeded", stable=True).revision], _USUAL)
    ),
    "rollout-status": lambda: rollouts.status(_CANARY, NOW),
    "describe-service": lambda: details.service(_CANARY, _TASKS[:2], _EVENTS, NOW, _ENDPOINTS[0]),
    "describe-task": lambda: details.task(_TASKS[2], _EVENTS[1:2], NOW),
    "describe-node": lambda: details.node(_NODES[1], _TASKS[1:2], [], NOW),
    "failure": _failure,
    "progress": _progress,
    "changes": _changes,
    "why": _why,
}


@pytest.mark.parametrize("page", _PAGES)
def test_a_page_looks_as_it_did(page: str) -> None:
    file = _GOLDEN / f"{page}.txt"
    text = _PAGES[page]()
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    assert text == file.read_text()
