"""What users change, over real gRPC: applied, scaled, rolled, deleted; and refused with a sentence."""

from typing import Any

from grpc import StatusCode

from orch import wire
from orch.model.names import ObjectName
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes

WEB = pb.ScaleRequest().service
WEB.namespace, WEB.name = "default", "web"


def config(data: dict[str, bytes], name: str = "settings") -> Any:
    return pb.Document(
        source="c.yaml:1", config={"name": {"namespace": "default", "name": name}, "data": data}
    )


async def test_a_second_apply_of_the_same_changes_nothing(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
    again = await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
    assert (again.objects[0].action, again.objects[0].target_revision) == ("unchanged", 1)


async def test_only_a_changed_template_makes_a_revision_and_absent_replicas_stay(
    running: planes.Running,
) -> None:
    await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
    await running.stub.Scale(pb.ScaleRequest(service=WEB, replicas=5))
    reply = await running.stub.Apply(planes.applying(planes.a_service(image="web:2")))
    assert (reply.objects[0].action, reply.objects[0].target_revision) == ("changed", 2)
    assert [(each.path, each.before, each.after) for each in reply.objects[0].changes] == [
        ("spec.template.containers[main].image", "web:1", "web:2")
    ]
    service = running.plane.picture.cluster.services[ObjectName("default", "web")]
    assert service.replicas == 5


async def test_the_same_request_sent_twice_happens_once(running: planes.Running) -> None:
    request = planes.applying(planes.a_service(replicas=2), request_id="r-1")
    first = await running.stub.Apply(request)
    second = await running.stub.Apply(request)
    assert (first.objects[0].action, first.revision) == (second.objects[0].action, second.revision)
    assert second.objects[0].generation == 1


async def test_a_dry_run_says_where_and_changes_nothing(running: planes.Running) -> None:
    await running.agent("n1")
    reply = await running.stub.Apply(planes.applying(planes.a_service(replicas=2), dry_run=True))
    assert list(reply.objects[0].decisions) == ["web.1 on n1", "web.2 on n1"]
    assert not running.plane.picture.cluster.services


async def test_every_problem_of_every_document_is_told_at_once(running: planes.Running) -> None:
    code, words = await planes.refused(
        running.stub.Apply(
            planes.applying(
                planes.a_service("web", container={"configs": ({"source": "nowhere"},)}),
                planes.a_service("api", rollout={"max_surge": "0", "max_unavailable": "0"}),
                config({}),
            )
        )
    )
    assert code is StatusCode.INVALID_ARGUMENT
    assert "web.yaml:1: service web: the config nowhere does not exist" in words
    assert "api.yaml:1" in words
    assert "c.yaml:1: the config is empty" in words
    assert not running.plane.picture.cluster.services


async def test_a_changed_config_makes_a_new_revision_of_what_mounts_it(running: planes.Running) -> None:
    mounted = planes.a_service(container={"configs": ({"source": "settings", "target": "/etc/s"},)})
    await running.stub.Apply(planes.applying(mounted, config({"s.conf": b"1"})))
    agent = await running.agent("n1")
    await agent.wait_until(lambda it: "files" in it.told and bool(it.told["files"].files))
    assert dict(agent.told["files"].files[0].data) == {"s.conf": b"1"}
    reply = await running.stub.Apply(planes.applying(config({"s.conf": b"2"})))
    assert [(each.reference.kind, each.action) for each in reply.objects] == [
        ("config", "changed"),
        ("service", "changed"),
    ]
    await agent.wait_until(
        lambda it: any(dict(each.data) == {"s.conf": b"2"} for each in it.told["files"].files)
    )


async def test_a_secret_is_in_clear_on_the_way_to_its_node_only(running: planes.Running) -> None:
    secret = {"name": {"namespace": "default", "name": "db"}, "data": {"password": b"hunter2"}}
    mounted = planes.a_service(container={"secrets": ({"source": "db"},)})
    bystander = await running.agent("n0")
    await running.stub.ChangeNode(pb.ChangeNodeRequest(name="n0", availability="drained"))
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(mounted, pb.Document(secret=secret)))
    await agent.wait_until(lambda it: bool(it.tasks()) and bool(it.told["files"].files))
    assert dict(agent.told["files"].files[0].data) == {"password": b"hunter2"}
    assert not bystander.told["files"].files
    listing = await running.plane._grounds.store.list("/orch/")
    assert all(b"hunter2" not in each.value for each in listing.entries)
    again = await running.stub.Apply(planes.applying(pb.Document(secret=secret)))
    assert again.objects[0].action == "unchanged"


async def test_a_config_in_use_is_not_deleted(running: planes.Running) -> None:
    mounted = planes.a_service(container={"configs": ({"source": "settings"},)})
    await running.stub.Apply(planes.applying(mounted, config({"s.conf": b"1"})))
    reference = pb.Reference(kind="config", namespace="default", name="settings")
    code, words = await planes.refused(running.stub.Delete(pb.DeleteRequest(references=[reference])))
    assert "is used by web" in words
    assert code is StatusCode.FAILED_PRECONDITION
    nobody = pb.Reference(kind="config", namespace="default", name="nobody")
    code, words = await planes.refused(running.stub.Delete(pb.DeleteRequest(references=[nobody])))
    assert words == "there is no config nobody"
    assert code is StatusCode.NOT_FOUND
    both = [reference, pb.Reference(kind="service", namespace="default", name="web")]
    reply = await running.stub.Delete(pb.DeleteRequest(references=both))
    assert [each.kind for each in reply.deleted] == ["service", "config"]


async def test_what_is_mounted_no_longer_is_pruned_in_the_same_apply(running: planes.Running) -> None:
    mounted = planes.a_service(container={"configs": ({"source": "settings"},)})
    settings, plain = config({"s.conf": b"1"}), planes.a_service()
    for labels in (mounted.service.labels, settings.config.labels, plain.service.labels):
        labels["orch/set"] = "shop"
    await running.stub.Apply(planes.applying(mounted, settings))

    reply = await running.stub.Apply(planes.applying(plain, prune=True))

    assert [(each.reference.kind, each.action) for each in reply.objects] == [
        ("service", "changed"),
        ("config", "deleted"),
    ]


async def test_a_deleted_service_goes_when_its_tasks_have_gone(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service(replicas=3)))
    await running.ready(3)
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
    await running.wait_until(
        lambda cluster: not cluster.services and not cluster.tasks and not cluster.statuses
    )
    await agent.wait_until(lambda it: not it.tasks())


async def test_a_service_applied_over_its_tombstone_shares_no_task_with_its_past(
    running: planes.Running,
) -> None:
    stubborn = await running.agent(
        "n1", script=lambda wanted, _: [(agents.TaskState.RUNNING, True)] if wanted == "run" else []
    )
    await running.stub.Apply(planes.applying(planes.a_service(replicas=1)))
    await stubborn.wait_until(lambda it: bool(it.said))
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
    reply = await running.stub.Apply(planes.applying(planes.a_service(replicas=1)))
    assert reply.objects[0].action == "created"
    await stubborn.wait_until(lambda it: len(it.said) == 2)
    assert len({task.birth for task in stubborn.said}) == 2


async def test_a_bad_version_rolls_back_by_itself_and_says_why(running: planes.Running) -> None:
    def script(wanted: str, template: Any) -> list[tuple[agents.TaskState, bool]]:
        bad = template is not None and template.containers[0].image == "web:3"
        if wanted == "run" and bad:
            return [(agents.TaskState.REJECTED, False)]
        return agents.runs_well(wanted, template)

    for name in ("n1", "n2"):
        await running.agent(name, script=script)
    await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
    await running.ready(2)
    policy = planes.QUICK | {"progress_deadline": 0.3}
    await running.stub.Apply(planes.applying(planes.a_service(image="web:3", rollout=policy)))
    watch = running.stub.Watch(pb.GetRequest(kinds=["services"]))
    async for reply in watch:
        view = reply.changed[-1].service
        if view.status == "RolledBack":
            break
    watch.cancel()
    assert (view.rollout.stable, view.service.revision, view.ready) == (1, 2, 2)
    assert "revision 2 failed" in view.reason


async def test_undo_restart_and_scale_to_nothing(running: planes.Running) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service(replicas=1)))
    await running.stub.Apply(planes.applying(planes.a_service(image="web:2")))
    undone = await running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="undo"))
    assert undone.objects[0].target_revision == 3
    restarted = await running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="restart"))
    assert restarted.objects[0].target_revision == 4
    service = running.plane.picture.cluster.services[ObjectName("default", "web")]
    assert service.spec.template.containers[0].image == "web:1"
    await running.stub.Scale(pb.ScaleRequest(service=WEB, replicas=0))
    await running.wait_until(lambda cluster: not any(map(cluster.is_live, cluster.all_tasks())))


async def test_after_a_rollback_nothing_but_an_apply_tries_the_bad_version_again(
    running: planes.Running,
) -> None:
    await running.agent("n1", script=_rejects_version_3)
    web = ObjectName("default", "web")
    canary = {"steps": [{"count": 1, "bake": 300}]}
    policy = planes.QUICK | {"progress_deadline": 0.3}

    async def applied(image: str, **more: Any) -> int:
        document = planes.a_service(image=image, replicas=2, rollout=policy | more)
        return (await running.stub.Apply(planes.applying(document))).objects[0].target_revision

    async def settled(stable: int) -> None:
        def is_so(cluster: Any) -> bool:
            rollout = cluster.rollout(web)
            ready = sum(cluster.is_ready(task) and task.revision == stable for task in cluster.all_tasks())
            return rollout is not None and (rollout.stable, rollout.phase, ready) == (stable, "done", 2)

        await running.wait_until(is_so)

    async def ordered(verb: str, **more: Any) -> Any:
        return await running.stub.Rollout(pb.RolloutRequest(service=WEB, verb=verb, **more))

    def image() -> str:
        return running.plane.picture.cluster.services[web].spec.template.containers[0].image

    await applied("web:1")
    await settled(1)
    await applied("web:2")
    await settled(2)
    await applied("web:3")
    await running.wait_until(lambda cluster: cluster.rollout(web).outcomes[-1].outcome == "failed")
    await settled(2)

    for verb in ("pause", "resume"):
        assert (await ordered(verb)).objects[0].target_revision == 3
    await running.stub.Scale(pb.ScaleRequest(service=WEB, replicas=3))
    await running.stub.Scale(pb.ScaleRequest(service=WEB, replicas=2))
    assert running.plane.picture.cluster.services[web].revision == 3
    restarted = await ordered("restart")
    assert ("revision 2, which runs" in restarted.warnings[0], image()) == (True, "web:2")
    await settled(4)
    await ordered("undo")  # not to 3, which never ran well, nor to 2, which is the same
    await settled(5)
    assert image() == "web:1"

    assert await applied("web:2", canary=canary) == 6  # the canary bakes; what did well before need not
    await running.wait_until(lambda cluster: cluster.rollout(web).phase == "canary")
    await ordered("pause")
    await ordered("undo")
    await settled(7)
    assert await applied("web:3", canary=canary) == 8
    await settled(7)
    await ordered("undo", to_revision=2, through_canary=True)
    await running.wait_until(lambda cluster: cluster.rollout(web).phase == "canary")


def _rejects_version_3(wanted: str, template: Any) -> list[tuple[agents.TaskState, bool]]:
    if wanted == "run" and template is not None and template.containers[0].image == "web:3":
        return [(agents.TaskState.REJECTED, False)]
    return agents.runs_well(wanted, template)


async def test_a_paused_service_takes_a_change_and_does_not_roll_it(running: planes.Running) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="pause"))
    await running.stub.Apply(planes.applying(planes.a_service(image="web:2")))
    await running.wait_until(lambda cluster: any(r.phase == "paused" for r in cluster.rollouts.values()))
    assert not any(task.revision == 2 for task in running.plane.picture.cluster.all_tasks())
    await running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="resume"))
    await running.wait_until(lambda cluster: any(task.revision == 2 for task in cluster.all_tasks()))


async def test_orders_that_make_no_sense_are_refused_with_a_reason(running: planes.Running) -> None:
    code, _ = await planes.refused(running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="undo")))
    assert code is StatusCode.NOT_FOUND
    await running.stub.Apply(planes.applying(planes.a_service()))
    code, words = await planes.refused(running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="undo")))
    assert (code, "no revision before this one" in words) == (StatusCode.FAILED_PRECONDITION, True)
    code, words = await planes.refused(running.stub.Rollout(pb.RolloutRequest(service=WEB, verb="dance")))
    assert (code, "promote" in words) == (StatusCode.INVALID_ARGUMENT, True)
    code, words = await planes.refused(running.stub.Apply(planes.applying(planes.a_service(mode="global"))))
    assert (code, "delete it first" in words) == (StatusCode.INVALID_ARGUMENT, True)


async def test_why_a_task_waits_names_the_nodes_and_the_way_out(running: planes.Running) -> None:
    await running.agent("n1")
    picky = planes.a_service(template={"placement": {"node_selector": {"disk": "ssd"}}})
    await running.stub.Apply(planes.applying(picky))
    await running.wait_until(lambda _: bool(running.plane.reasons_of(ObjectName("default", "web"))))
    answer = await running.stub.Why(pb.WhyRequest(name="web.1"))
    assert "disk=ssd" in answer.summary
    assert answer.funnel[-1].left == 0
    assert answer.suggestions
    await running.stub.ChangeNode(pb.ChangeNodeRequest(name="n1", set_labels={"disk": "ssd"}))
    await running.wait_until(lambda cluster: any(each.ready for each in cluster.statuses.values()))


async def test_a_watch_tells_what_there_is_and_then_what_changes(running: planes.Running) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service("old")))
    watch = aiter(running.stub.Watch(pb.GetRequest(kinds=["services", "tasks"])))
    seen: list[Any] = []
    async for reply in watch:
        seen.append(reply)
        if reply.synced:
            break
    names = [
        each.service.service.name.name for reply in seen for each in reply.changed if each.HasField("service")
    ]
    assert names == ["old"]
    await running.stub.Apply(planes.applying(planes.a_service("new")))
    async for reply in watch:
        if any(
            each.HasField("task") and each.task.ready
            for each in reply.changed
            if each.task.task.id.service == "new"
        ):
            break
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="new")]))
    gone: set[str] = set()
    async for reply in watch:
        gone.update(each.kind for each in reply.removed if each.name.startswith("new"))
        if gone == {"service", "task"}:
            break


async def test_names_labels_and_slots_choose_what_is_read(running: planes.Running) -> None:
    await running.agent("n1", labels={"ring": "canary"})
    await running.stub.Apply(planes.applying(planes.a_service("web", replicas=2), planes.a_service("api")))
    await running.wait_until(lambda cluster: len(list(cluster.all_tasks())) == 3)

    async def names(**asked: Any) -> int:
        return len((await running.stub.Get(pb.GetRequest(**asked))).objects)

    assert await names(kinds=["tasks"], names=["web"]) == 2
    assert await names(kinds=["tasks"], names=["web.2"]) == 1
    assert await names(kinds=["tasks"], namespace="other") == 0
    assert await names(kinds=["nodes"], selector="ring in (canary, x),!gpu") == 1
    assert await names(kinds=["nodes"], selector="ring!=canary") == 0
    assert await names(kinds=["namespaces"]) == 1
    assert await names(kinds=["revisions"], names=["api"]) == 1
    code, _ = await planes.refused(running.stub.Get(pb.GetRequest(kinds=["nodes"], selector="ring>1")))
    assert code is StatusCode.INVALID_ARGUMENT
    code, words = await planes.refused(running.stub.Get(pb.GetRequest(kinds=["pods"])))
    assert (code, "services" in words) == (StatusCode.INVALID_ARGUMENT, True)


async def test_two_writers_of_one_object_do_not_overwrite_each_other(running: planes.Running) -> None:
    """P15: both are told the truth, whichever comes first."""
    import asyncio

    await running.stub.Apply(planes.applying(planes.a_service(replicas=1)))
    scales = [running.stub.Scale(pb.ScaleRequest(service=WEB, replicas=number)) for number in range(2, 8)]
    replies = await asyncio.gather(*scales)
    generations = sorted(each.objects[0].generation for each in replies)
    assert generations == list(range(2, 8))


def test_a_service_document_is_translated_by_field_name() -> None:
    from orch.manifest import document

    message = planes.a_service("web").service
    assert wire.from_wire(message, document.ServiceDocument).name == ObjectName("default", "web")
