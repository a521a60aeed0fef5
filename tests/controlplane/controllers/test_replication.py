"""Every wanted slot has an incumbent, no other slot has anything: one look at a time."""

from dataclasses import replace

from controlplane.cluster import change, editing
from controlplane.cluster.after import after
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import node_loss, replication
from controlplane.controllers.decide import decide_service
from orch.model.names import ServiceName, TaskId
from orch.model.node import Taint, TaintEffect
from orch.model.policy import OnNodeLoss, RestartPolicy
from orch.model.rollout import Phase
from orch.model.task import TaskState
from tests.controlplane.controllers.world import World
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_task, a_template, stable

NOW = 1000.0


def check(cluster: Cluster, expected: list[str], now: float = NOW) -> None:
    """What replication decides, in short words."""
    assert [words(each, now) for each in replication.decide(cluster, WEB, now)] == expected


def words(each: change.Change, now: float) -> str:
    match each:
        case change.CreateTask(task):
            bound = f" on {','.join(task.bound_to)}" if task.bound_to else ""
            return f"create {task.id} rev {task.revision}{bound}: {task.cause}"
        case change.RetireTask(identity, cause):
            return f"retire {identity}: {cause}"
        case change.Waiting(subject, reason):
            return f"{subject} waits: {reason}"
        case change.WakeAt(instant):
            return f"wake in {instant - now:g}s"
        case change.Tell(reason=reason, message=message):
            return f"tell {reason}: {message}"
        case _:
            return str(each)


def test_an_empty_slot_gets_a_task() -> None:
    check(
        a_cluster(a_node("n1"), a_service(replicas=2), stable(), a_task(1, node="n1")),
        ["create web.2.1 rev 1: slot 2"],
    )


def test_scaling_down_retires_the_highest_slots() -> None:
    tasks = [a_task(slot, node="n1") for slot in (1, 2, 3)]
    check(
        a_cluster(a_node("n1"), a_service(replicas=1), stable(), tasks),
        ["retire web.2.1: scaled to 1", "retire web.3.1: scaled to 1"],
    )


def test_a_deleted_service_retires_everything() -> None:
    check(
        a_cluster(a_node("n1"), a_service(deleted=True), stable(), a_task(1, node="n1")),
        ["retire web.1.1: the service is deleted"],
    )


def test_tasks_of_an_earlier_life_are_surplus_and_their_slots_are_filled_anew() -> None:
    check(
        a_cluster(a_node("n1"), a_service(birth=9), stable(birth=9), a_task(1, birth=1, node="n1")),
        ["retire web.1.1: of an earlier service of the same name", "create web.1.1 rev 1: slot 1"],
    )


def test_tasks_of_a_service_that_is_gone_are_retired() -> None:
    check(a_cluster(a_node("n1"), a_task(1, node="n1")), ["retire web.1.1: its service is gone"])


def test_the_next_attempt_is_above_every_known_and_every_forgotten_one() -> None:
    cluster = a_cluster(a_node("n1"), a_service(), stable(forgotten_attempt=7))

    check(cluster, ["create web.1.8 rev 1: slot 1"])


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────


def failed(attempts: int, **more: object) -> list:
    return [
        a_task(1, attempt, node="n1", state=TaskState.FAILED, finished_at=NOW, reason="CrashLoop", **more)
        for attempt in range(1, attempts + 1)
    ]


def test_a_failed_task_is_replaced_later_each_time() -> None:
    for attempts, delay in ((1, 1), (2, 2), (3, 4), (4, 60)):
        last = f"web.1.{attempts}"
        check(
            a_cluster(a_node("n1"), a_service(), stable(), failed(attempts)),
            [f"{last} waits: {last} failed: CrashLoop; replaced in {delay:.1f}s", f"wake in {delay}s"],
        )


def test_when_the_wait_is_over_the_failed_task_is_replaced_and_the_reason_told() -> None:
    check(
        a_cluster(a_node("n1"), a_service(), stable(), failed(1)),
        ["create web.1.2 rev 1: replaces web.1.1", "tell TaskReplaced: web.1.1 failed: CrashLoop"],
        now=NOW + 1,
    )


def test_a_task_that_is_complete_is_done_unless_it_is_to_run_always() -> None:
    for policy, expected in (("on-failure", []), ("never", [])):
        template = a_template(restart=RestartPolicy(policy=policy))
        done = a_task(1, node="n1", state=TaskState.COMPLETE, finished_at=NOW)
        check(a_cluster(a_node("n1"), a_service(template=template), stable(), done), expected)


def test_a_task_that_is_never_restarted_is_not_replaced_when_it_failed() -> None:
    template = a_template(restart=RestartPolicy(policy="never"))
    check(
        a_cluster(a_node("n1"), a_service(template=template), stable(), failed(1)),
        ["web.1.1 waits: web.1.1 failed, and its restart policy is never: CrashLoop"],
    )


# ── nodes that are gone ──────────────────────────────────────────────────────────────────────────────────


def lost(action: str, **more: float):
    template = a_template(on_node_loss=OnNodeLoss(action=action, **more))
    return a_cluster(
        a_node("n1", down=True, since=NOW),
        a_node("n2"),
        a_service(template=template),
        stable(),
        a_task(1, node="n1"),
    )


def test_the_task_of_a_lost_node_is_replaced() -> None:
    check(
        lost("replace"),
        [
            "retire web.1.1: n1 is down",
            "tell NodeLost: n1 is down; web.1.1 is replaced",
            "create web.1.2 rev 1: replaces web.1.1",
        ],
    )


def test_a_task_that_is_to_wait_for_its_node_waits() -> None:
    check(
        lost("wait"),
        ["web.1.1 waits: n1 is down; onNodeLoss is wait: remove the node to replace the task"],
    )


def test_a_task_that_may_exist_only_once_is_replaced_when_it_has_surely_stopped() -> None:
    surely = 60 + 30 + node_loss.STOP_MARGIN_SECONDS
    check(
        lost("stopAfter", stop_after=60),
        [
            f"web.1.1 waits: n1 is down; in {surely:.0f}s it has surely stopped and is replaced",
            f"wake in {surely:g}s",
        ],
    )
    assert "create web.1.2 rev 1: replaces web.1.1" in [
        words(each, NOW) for each in replication.decide(lost("stopAfter", stop_after=60), WEB, NOW + surely)
    ]


def test_a_task_that_may_exist_only_once_is_replaced_when_its_node_says_it_stopped() -> None:
    template = a_template(on_node_loss=OnNodeLoss(action="stopAfter", stop_after=60))
    parts = (a_node("n1"), a_node("n2", drained=True), a_service(template=template), stable())
    stopping = a_task(1, node="n2", stopping=True, state=TaskState.STOPPING)
    stopped = a_task(1, node="n2", stopping=True, state=TaskState.COMPLETE)

    check(a_cluster(parts, stopping), ["web.1.1 waits: not replaced before it has provably stopped"])
    check(a_cluster(parts, stopped), ["create web.1.2 rev 1: replaces web.1.1"])


def test_the_task_of_a_node_that_was_removed_is_replaced_whatever_the_policy() -> None:
    cluster = editing.without_node(lost("wait"), "n1")

    assert words(next(replication.decide(cluster, WEB, NOW)), NOW) == "retire web.1.1: n1 was removed"


# ── moves ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_drained_node_empties_successor_first() -> None:
    cluster = a_cluster(a_node("n1", drained=True), a_node("n2"), a_service(), stable(), a_task(1, node="n1"))
    check(cluster, ["create web.1.2 rev 1: succeeds web.1.1: n1 is drained"])

    world = World(cluster, now=NOW)
    world.settle()
    assert world.revisions_by_node() == {"n2": [1]}


def test_a_drain_moves_no_more_at_a_time_than_the_surge() -> None:
    tasks = [a_task(slot, node="n1") for slot in (1, 2, 3)]
    nodes = (a_node("n1", drained=True), a_node("n2"))
    check(
        a_cluster(nodes, a_service(replicas=3, max_surge="2"), stable(), tasks),
        [
            "create web.1.2 rev 1: succeeds web.1.1: n1 is drained",
            "create web.2.2 rev 1: succeeds web.2.1: n1 is drained",
            ("web.3.1 waits: n1 is drained; surge 2 is used up, and 3 available is not above the floor of 3"),
        ],
    )


def test_nothing_is_taken_away_when_the_floor_is_reached_already() -> None:
    tasks = [a_task(1, node="n1"), a_task(2, node="n1"), a_task(3, node="n2", ready=False)]
    nodes = (a_node("n1", drained=True), a_node("n2"))
    policy = {"max_surge": "0", "max_unavailable": "1"}
    waits = "n1 is drained; there is no surge, and 2 available is not above the floor of 2"
    check(
        a_cluster(nodes, a_service(replicas=3, **policy), stable(), tasks),
        [f"web.1.1 waits: {waits}", f"web.2.1 waits: {waits}"],
    )


def test_an_incumbent_makes_room_only_for_a_successor_that_nobody_takes_and_above_the_floor() -> None:
    def cluster(unavailable: str) -> Cluster:
        slots = (a_task(1, node="n1"), a_task(1, 2, revision=2, created_at=NOW))
        revisions = [a_service(revision=number, max_unavailable=unavailable) for number in (1, 2)]
        return a_cluster(a_node("n1"), revisions, stable(target=2, phase=Phase.ROLLING), slots)

    patience = replication.PLACE_PATIENCE_SECONDS
    waits = "web.1.1 waits: revision 2 replaces 1; goes when web.1.2 is available"
    check(cluster("1"), [waits, "wake in 1s"])
    check(cluster("1"), ["retire web.1.1: makes room for web.1.2: revision 2 replaces 1"], now=NOW + patience)
    check(cluster("0"), [waits], now=NOW + patience)


def test_a_no_execute_taint_empties_a_node_like_a_drain() -> None:
    taint = Taint("maintenance", effect=TaintEffect.NO_EXECUTE)
    node = a_node("n1", taints=[taint])
    check(
        a_cluster(node, a_node("n2"), a_service(), stable(), a_task(1, node="n1")),
        ["create web.1.2 rev 1: succeeds web.1.1: n1 has the taint maintenance:NoExecute"],
    )


def test_a_cordoned_node_keeps_what_it_has() -> None:
    check(a_cluster(a_node("n1", cordoned=True), a_service(), stable(), a_task(1, node="n1")), [])


def test_when_the_drain_is_taken_back_the_successor_goes() -> None:
    cluster = a_cluster(
        a_node("n1"),
        a_node("n2"),
        a_service(),
        stable(),
        a_task(1, node="n1"),
        a_task(1, 2, node="n2", ready=False),
    )
    check(cluster, ["retire web.1.2: web.1.1 has the slot"])


def test_the_incumbent_stays_until_its_successor_was_ready_for_long_enough() -> None:
    cluster = a_cluster(
        a_node("n1", drained=True),
        a_node("n2"),
        a_service(min_ready=10),
        stable(),
        a_task(1, node="n1"),
        a_task(1, 2, node="n2", ready_since=NOW),
    )
    check(cluster, ["web.1.1 waits: n1 is drained; goes when web.1.2 is available", "wake in 10s"])
    check(cluster, ["retire web.1.1: n1 is drained"], now=NOW + 10)


# ── the end of everything ────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_service_is_forgotten_when_its_last_task_has_stopped() -> None:
    world = World(a_cluster(a_node("n1"), a_service(replicas=2)), now=NOW)
    world.settle()
    service = world.cluster.services[WEB]
    world.cluster = editing.with_service(world.cluster, replace(service, deleted=True))

    world.settle()

    assert not world.cluster.services
    assert not world.cluster.tasks
    assert not world.cluster.statuses
    assert not world.cluster.rollouts


def test_a_pending_task_that_is_not_wanted_is_forgotten_at_once() -> None:
    cluster = a_cluster(a_service(replicas=0), stable(), a_task(1))

    then = after(cluster, decide_service(cluster, WEB, NOW), NOW)

    assert not then.tasks_of(WEB)
    rollout = then.rollout(WEB)
    assert rollout is not None
    assert rollout.forgotten_attempt == 1


def test_finished_tasks_are_kept_a_few_a_slot_and_no_uid_returns() -> None:
    world = World(a_cluster(a_node("n1"), a_service()), now=NOW, behaves=lambda _: TaskState.FAILED)
    for _ in range(300):
        changes = world.decide()
        if not world.act():
            world.now = min(
                (c.instant for c in changes if isinstance(c, change.WakeAt)), default=world.now + 1
            )

    tasks = world.cluster.tasks_of(WEB)
    assert 1 < len(tasks) <= 6
    assert max(task.id.attempt for task in tasks) == len(world.used) > 20


def test_old_revisions_are_forgotten_but_never_one_in_use() -> None:
    revisions = [a_service(revision=number, history_limit=2) for number in range(1, 7)]
    old = a_task(1, revision=2, node="n1")
    cluster = a_cluster(a_node("n1"), revisions, stable(revision=3, target=6), old)

    then = after(cluster, decide_service(cluster, WEB, NOW), NOW)

    assert sorted(then.revisions_of(WEB)) == [2, 3, 5, 6]


def test_deciding_again_on_what_was_decided_says_nothing_new() -> None:
    cluster = a_cluster(a_node("n1"), a_service(replicas=3))
    then = after(cluster, decide_service(cluster, WEB, NOW), NOW)

    again = decide_service(then, WEB, NOW)

    assert all(isinstance(each, change.Waiting | change.WakeAt) for each in again)


def test_services_do_not_touch_each_other() -> None:
    cluster = a_cluster(a_node("n1"), a_service(), a_service("db", replicas=2))

    changes = decide_service(cluster, ServiceName("default", "db"), NOW)

    created = [each.task.id for each in changes if isinstance(each, change.CreateTask)]
    assert created == [TaskId("default", "db", 1, 1, 1), TaskId("default", "db", 1, 2, 1)]
