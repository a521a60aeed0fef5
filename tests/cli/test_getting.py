"""get, describe, events, why: what a user sees."""

import json

from orch import wire
from orch.model.container import ContainerSpec
from orch.model.service import TaskTemplate
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from tests.cli import views
from tests.cli.conftest import Run
from tests.cli.control import Control


def test_services_are_listed(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web"), views.a_service("api", ready=1, status="Waiting")]

    done = orchctl("get", "services")

    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "NAME",
        "MODE",
        "READY",
        "UP-TO-DATE",
        "REV",
        "STATUS",
        "IMAGE",
        "PORTS",
        "AGE",
    ]
    assert lines[1].split()[:6] == ["api", "replicated", "1/3", "3", "2", "Waiting"]
    assert lines[2].split()[:3] == ["web", "replicated", "3/3"]


def test_short_words_and_references_mean_the_same(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web"), views.a_service("api")]

    assert orchctl("get", "svc", "web").out == orchctl("get", "service/web").out
    assert orchctl("ls").out == orchctl("get", "svc").out


def test_what_is_not_there_is_said(control: Control, orchctl: Run) -> None:
    done = orchctl("get", "svc/web")

    assert done.code != 0
    assert 'there is no service "web"' in done.err
    assert control.last("Get").names == ["web"]


def test_an_unknown_kind_has_a_nearest(orchctl: Run) -> None:
    done = orchctl("get", "servces")

    assert done.code == 2
    assert 'there is no kind "servces" — did you mean "services"?' in done.err


def test_a_service_as_yaml_can_be_applied_again(control: Control, orchctl: Run, tmp_path: object) -> None:
    from orch.manifest.parse import parse_all

    control.objects = [views.a_service("web")]

    done = orchctl("get", "svc/web", "-o", "yaml")

    (written,) = parse_all(done.out, "stdout")
    assert written.value.spec == views.a_spec()  # type: ignore[union-attr]
    assert "ready: 3" in done.out


def test_json_holds_one_document_or_a_list(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]

    assert json.loads(orchctl("get", "svc/web", "-o", "json").out)["status"]["ready"] == 3
    assert json.loads(orchctl("get", "svc", "-o", "json").out)["kind"] == "List"


def test_jsonpath_and_names(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_node("node-1"), views.a_node("node-2")]

    assert orchctl("get", "nodes", "-o", "name").out == "node/node-1\nnode/node-2\n"
    path = "jsonpath={.items[*].metadata.name}"
    assert orchctl("get", "nodes", "-o", path).out == "node-1 node-2\n"
    assert orchctl("get", "node", "node-1", "-o", "jsonpath={.status.condition}").out == "ready\n"
    assert orchctl("get", "nodes", "-o", "jsonpath={.items[?(@.x)]}").code == 2


def test_all_namespaces_have_a_column(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web"), views.a_service("web", namespace="shop")]

    done = orchctl("get", "svc", "-A")

    assert [line.split()[0] for line in done.out.splitlines()] == ["NAMESPACE", "default", "shop"]


def test_a_selector_is_passed_on(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web"), views.a_service("api", labels={"team": "other"})]

    assert "api" not in orchctl("get", "svc", "-l", "team=shop").out
    assert "api" in orchctl("get", "svc", "-l", "team!=shop").out
    assert orchctl("get", "svc", "-l", "team in (shop, other)").out == orchctl("get", "svc").out
    done = orchctl("get", "svc", "-l", "team>1")
    assert (done.code, "KEY notin" in done.err) == (2, True)


def test_an_old_picture_is_shown_with_a_warning(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]
    control.age = 12.0

    done = orchctl("get", "svc")

    assert done.code == 0
    assert "last heard from its store 12 s ago" in done.err


def test_watching_prints_the_table_then_rows(control: Control, orchctl: Run) -> None:
    from orch.v1 import control_pb2 as pb

    control.objects = [views.a_task(1)]
    control.watched = [
        pb.WatchReply(changed=[views.a_task(2, state=views.TaskState.STARTING)]),
        pb.WatchReply(removed=[pb.Reference(kind="task", namespace="default", name="web.1.1")]),
    ]
    control.answers["Watch ends"] = True

    lines = orchctl("get", "tasks", "-w").out.splitlines()

    assert [line.split()[0] for line in lines] == ["NAME", "web.1", "web.2", "web.1.1"]
    assert lines[-1].endswith("(gone)")


def test_describe_tells_everything(control: Control, orchctl: Run) -> None:
    control.objects = [
        views.a_service("web", status="Waiting", reason="web.2.1: exited with 1"),
        views.a_task(1),
        views.a_task(
            2,
            state=views.TaskState.BACKOFF,
            message="exited with 1",
            containers=(views.a_failed_container(),),
        ),
        views.an_event("task/web.2.1", "CrashLoop", "exited with 1", warning=True),
        views.a_node("node-1"),
    ]

    web = orchctl("describe", "web").out
    task = orchctl("describe", "web.2").out
    node = orchctl("describe", "node", "node-1").out

    for words in ("Waiting: web.2.1: exited with 1", "GET :http/healthz every 10s", "CrashLoop", "RING"):
        assert words in web
    for words in ("web.2.1", "exit code", "CrashLoop"):
        assert words in task
    for words in ("1 of 4 cores set aside", "web.1"):
        assert words in node


def test_events_of_a_service_are_also_those_of_its_tasks(control: Control, orchctl: Run) -> None:
    control.objects = [
        views.an_event("service/web", "RolledOut", "revision 2 is everywhere", ago=20),
        views.an_event("task/web.2.1", "CrashLoop", "exited with 1", warning=True),
        views.an_event("service/website", "RolledOut", "another"),
        views.an_event("node/node-1", "NodeDown", "silent for 5s"),
    ]

    out = orchctl("events", "web").out
    assert "RolledOut" in out
    assert "CrashLoop" in out
    assert "another" not in out
    assert "RolledOut" not in orchctl("events", "web", "--warnings").out
    assert "NodeDown" in orchctl("events", "node/node-1").out


def test_why_shows_the_funnel_and_what_would_help(control: Control, orchctl: Run) -> None:
    from orch.v1 import control_pb2 as pb

    control.answers["Why"] = pb.WhyReply(
        summary="web.4 waits: no node fits",
        funnel=[
            pb.FunnelStep(filter="ready", left=3),
            pb.FunnelStep(
                filter="maxPerNode", left=0, refused={"node-1": "has 1 of 1", "node-2": "has 1 of 1"}
            ),
        ],
        suggestions=["maxPerNode: 2"],
    )

    out = orchctl("why", "web.4").out

    assert control.last("Why").name == "web.4"
    assert out.startswith("web.4 waits: no node fits\n")
    assert "node-1, node-2: has 1 of 1" in out
    assert "it would fit: maxPerNode: 2" in out


def test_history_marks_the_stable_revision(control: Control, orchctl: Run) -> None:
    control.objects = [
        views.a_revision(1, "web:1", "succeeded"),
        views.a_revision(2, "web:2", "succeeded", stable=True),
        views.a_revision(3, "web:3", "failed", "web.1.4 exited with 1"),
    ]

    lines = orchctl("rollout", "history", "web").out.splitlines()

    assert lines[0].split() == ["REV", "AGE", "BY", "IMAGE", "CHANGE", "OUTCOME"]
    assert lines[2].startswith("2*")
    assert lines[3].endswith("failed: web.1.4 exited with 1")


def test_moments_are_written_as_others_write_them(control: Control, orchctl: Run) -> None:
    control.objects = [views.a_service("web")]

    assert orchctl("get", "svc/web", "-o", "jsonpath={.status.createdAt}").out.strip().endswith("Z")


def test_a_task_shows_its_part_of_the_manifest(control: Control, orchctl: Run) -> None:
    task = views.a_task(2)
    template = TaskTemplate(
        containers=(ContainerSpec(image="web:1", resources={"limits": {"memory": 64 * 2**20}}),)
    )
    task.task.template.CopyFrom(wire.to_wire(template))
    control.objects = [task]

    found = json.loads(orchctl("get", "task/web.2", "-o", "json").out)

    assert (found["spec"]["image"], found["spec"]["resources"]["limits"]["memory"]) == ("web:1", "64Mi")
    assert "template" not in found["status"]


def test_a_name_means_the_attempt_that_lives_or_else_those_that_ended(control: Control, orchctl: Run) -> None:
    ended = views.a_task(2, attempt=1, state=TaskState.COMPLETE)
    control.objects = [ended, views.a_task(2, attempt=2)]

    assert json.loads(orchctl("get", "task/web.2", "-o", "json").out)["metadata"]["name"] == "web.2.2"
    assert json.loads(orchctl("get", "task/web.2.1", "-o", "json").out)["metadata"]["name"] == "web.2.1"
    done = orchctl("get", "task/web.3")
    assert (done.code, 'there is no task "web.3"' in done.err) == (4, True)


def test_a_watch_of_events_begins_with_the_last_of_them(control: Control, orchctl: Run) -> None:
    control.objects = [views.an_event(f"service/web{n}", "Told", "so", ago=10 - n) for n in range(5)]
    control.watched = [pb.WatchReply(changed=[views.an_event("service/later", "Told", "so")])]
    control.answers["Watch ends"] = True

    shown = orchctl("events", "-w", "--tail", "1").out.splitlines()[1:]

    assert [line.split()[3] for line in shown] == ["service/web4", "service/later"]


def test_events_of_nodes_belong_to_every_namespace_and_those_of_others_to_none(
    control: Control, orchctl: Run
) -> None:
    elsewhere = views.an_event("service/web", "Elsewhere", "so")
    elsewhere.event.namespace = "shop"
    control.objects = [
        elsewhere,
        views.an_event("service/web", "Here", "so"),
        views.an_event("node/node-2", "NodeDown", "not heard from"),
    ]

    shown = orchctl("events").out
    assert ("NodeDown" in shown, "Here" in shown, "Elsewhere" in shown) == (True, True, False)
    assert "Elsewhere" not in orchctl("events", "web").out
    assert "Elsewhere" in orchctl("events", "-A").out
    assert "NodeDown" in orchctl("events", "node/node-2").out
