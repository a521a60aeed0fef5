"""What holds whatever happens: random events on a small world, the law watching every single change.

The law itself (floor, surge, two a slot, uids, places, ports, canary nodes) is in `world`.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane.cluster import editing
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import wants
from controlplane.controllers.decide import NO_BOUND
from controlplane.scheduler import place
from orch.model.node import Availability
from orch.model.policy import CanaryStep, OnNodeLoss
from orch.model.rollout import Phase
from orch.model.service import RolloutOrders
from orch.model.task import TaskState, Wanted
from tests.controlplane.controllers import world as worlds
from tests.support.builders import MEBIBYTE, WEB, a_cluster, a_node, a_service, a_template, with_part

NODES = ("n1", "n2", "n3", "n4", "n5")
RING = {"ring": "canary"}
STEPS = st.lists(
    st.sampled_from(
        [
            CanaryStep(match_labels=RING, bake=5),
            CanaryStep(nodes=("n1",), bake=0),
            CanaryStep(nodes=("n3", "n9"), bake=5),
            CanaryStep(count=1, bake=5),
            CanaryStep(percent=50, bake=5),
        ]
    ),
    max_size=2,
)
AMOUNTS = st.sampled_from([("1", "0"), ("0", "1"), ("2", "1"), ("50%", "0"), ("0", "50%"), ("0", "0")])
NODE = st.sampled_from(NODES)
FATES = st.sampled_from([TaskState.RUNNING, TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED, None])


class AnyDay(RuleBasedStateMachine):
    """Users, nodes and time, in any order."""

    @initialize(
        steps=STEPS,
        amounts=AMOUNTS,
        replicas=st.integers(1, 6),
        is_global=st.booleans(),
        port=st.sampled_from([0, 0, 8080]),
        min_ready=st.sampled_from([0, 3]),
        pause=st.booleans(),
        loss=st.sampled_from(["replace", "replace", "wait", "stopAfter"]),
        most=st.sampled_from([NO_BOUND, NO_BOUND, 1, 2]),
    )
    def begin(self, steps, amounts, replicas, is_global, port, min_ready, pause, loss, most) -> None:
        nodes = [
            a_node(name, labels=RING if name in {"n2", "n4"} else {}, cpu=1000, memory=1024 * MEBIBYTE)
            for name in NODES
        ]
        self.words = {
            "replicas": replicas,
            "is_global": is_global,
            "canary": steps,
            "max_surge": amounts[0],
            "max_unavailable": amounts[1],
            "min_ready": min_ready,
            "progress_deadline": 30,
            "on_failure": "pause" if pause else "rollback",
        }
        self.port, self.loss = port, OnNodeLoss(action=loss, stop_after=5)
        self.revision = self.birth = 1
        self.fates = {}
        self.past_lives = set()
        self.world = worlds.World(
            a_cluster(*nodes), behaves=lambda task: self.fates.get(task.revision), most=most
        )
        self.fates[1] = TaskState.RUNNING
        self.write()

    def write(self, **orders) -> None:
        template = a_template(
            image=f"web:{self.revision}",
            published=self.port,
            cpu=300,
            memory=200 * MEBIBYTE,
            on_node_loss=self.loss,
        )
        known = self.world.cluster.service(WEB)
        before = known.orders if known and known.birth == self.birth else RolloutOrders()
        parts = a_service(
            birth=self.birth,
            revision=self.revision,
            template=template,
            orders=replace(before, **orders),
            **self.words,
        )
        for part in parts:
            self.world.cluster = with_part(self.world.cluster, part)

    @property
    def is_deleted(self) -> bool:
        service = self.world.cluster.service(WEB)
        return service is None or service.deleted

    # ── users ────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.is_deleted)
    @rule(fate=FATES)
    def apply_another_revision(self, fate) -> None:
        self.revision += 1
        self.fates[self.revision] = fate
        self.write()

    @precondition(lambda self: not self.is_deleted)
    @rule(replicas=st.integers(0, 6))
    def scale(self, replicas) -> None:
        self.words["replicas"] = replicas
        self.write()

    @precondition(lambda self: not self.is_deleted)
    @rule(paused=st.booleans())
    def pause_or_resume(self, paused) -> None:
        self.write(paused=paused)

    @precondition(lambda self: not self.is_deleted)
    @rule()
    def abort(self) -> None:
        self.write(aborted_revision=self.revision)

    @precondition(lambda self: not self.is_deleted)
    @rule(steps=st.sampled_from([-1, 1]))
    def promote(self, steps) -> None:
        self.write(promoted_revision=self.revision, promoted_steps=steps)

    @precondition(lambda self: not self.is_deleted)
    @rule()
    def delete(self) -> None:
        self.past_lives |= self.world.used
        service = self.world.cluster.services[WEB]
        self.world.cluster = editing.with_service(self.world.cluster, replace(service, deleted=True))

    @precondition(lambda self: self.is_deleted)
    @rule(fate=FATES)
    def apply_again(self, fate) -> None:
        self.birth += 1
        self.apply_another_revision(fate)

    @rule(node=NODE, availability=st.sampled_from(list(Availability)))
    def cordon_drain_or_free(self, node, availability) -> None:
        spec = self.world.cluster.nodes[node].spec
        self.world.cluster = editing.with_node_spec(
            self.world.cluster, replace(spec, availability=availability)
        )

    # ── nodes and time ───────────────────────────────────────────────────────────────────────────────────

    @rule(node=NODE, down=st.booleans())
    def lose_or_find_a_node(self, node, down) -> None:
        self.world.set_node(node, down=down)

    @rule(data=st.data())
    def some_tasks_get_further(self, data) -> None:
        tasks = sorted(task.id for task in self.world.cluster.all_tasks() if task.node)
        if tasks:
            self.world.act(data.draw(st.lists(st.sampled_from(tasks), unique=True)))

    @rule()
    def all_tasks_get_further(self) -> None:
        self.world.act()

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 40.0]))
    def time_passes(self, seconds) -> None:
        self.world.now += seconds

    @rule()
    def a_while_goes_by(self) -> None:
        for _ in range(4):
            self.world.decide()
            self.world.act()
            self.world.now += 1.0

    @rule(data=st.data())
    def a_task_gets_unwell(self, data) -> None:
        cluster = self.world.cluster
        ready = sorted(task.id for task in cluster.all_tasks() if cluster.is_ready(task))
        if ready:
            status = cluster.statuses[data.draw(st.sampled_from(ready))]
            self.world.cluster = editing.with_status(cluster, replace(status, ready=False))

    @rule()
    def decide(self) -> None:
        self.world.decide()

    @rule()
    def crash_in_the_middle_of_a_decision(self) -> None:
        """Deciding anew on what was already written comes to the same, one look earlier or later."""
        now = self.world.now
        whole, *others = worlds.decided_again(self.world.cluster, WEB, now)
        in_the_end = worlds.looked_on(whole, WEB, now)
        for other in others:
            assert worlds.desired(other) == worlds.desired(whole)
            then = worlds.looked_on(other, WEB, now)
            assert worlds.desired(then) == worlds.desired(in_the_end)
            assert then.rollouts == in_the_end.rollouts
            assert then.services == in_the_end.services

    # ── what always holds ────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def derived_parts_are_in_step(self) -> None:
        if not hasattr(self, "world"):
            return
        cluster = self.world.cluster
        again = Cluster(nodes=cluster.nodes, services=cluster.services, rollouts=cluster.rollouts)
        for revisions in cluster.revisions.values():
            for revision in revisions.values():
                again = editing.with_revision(again, revision)
        for task in cluster.all_tasks():
            again = editing.with_task(again, task)
        for status in cluster.statuses.values():
            again = editing.with_status(again, status)
        assert again.by_node == cluster.by_node
        for name, node in cluster.nodes.items():
            assert again.allocated_on(name) == cluster.allocated_on(name)
            assert cluster.allocated_on(name).fits_in(node.capacity)

    @invariant()
    def a_new_life_shares_no_uid_with_its_past(self) -> None:
        if not hasattr(self, "world"):
            return
        for task in self.world.cluster.tasks_of(WEB):
            assert task.id.birth == self.birth or task.id in self.past_lives

    def teardown(self) -> None:
        """After the last fault the cluster reaches what was asked."""
        if not hasattr(self, "world"):
            return
        for name in NODES:
            self.cordon_drain_or_free(name, Availability.ACTIVE)
            self.world.set_node(name, down=False)
        for revision, fate in self.fates.items():
            self.fates[revision] = fate and TaskState.RUNNING
        if not self.is_deleted:
            self.write(paused=False)
        self.world.settle()
        check_reached(self.world, deleted=self.is_deleted)


def check_reached(world: worlds.World, *, deleted: bool) -> None:
    cluster = world.cluster
    service, rollout = cluster.service(WEB), cluster.rollout(WEB)
    running = [task for task in cluster.tasks_of(WEB) if not cluster.has_finished(task)]
    if deleted:
        assert service is None
        assert not running
        return
    assert service is not None
    assert rollout is not None
    assert all(task.wanted is Wanted.RUN for task in running)
    if rollout.phase is Phase.DONE:
        wanted = len(NODES) if service.spec.mode == "global" else service.replicas
        assert service.revision == rollout.target or wants.is_given_up(rollout, service.revision)
        assert sorted(task.revision for task in running) == [rollout.stable] * wanted
    else:
        assert rollout.phase in {Phase.PAUSED, Phase.CANARY}
        assert rollout.waiting, "what stands still says why"
    for waiting in place.place_service(cluster, WEB):
        assert not running or waiting


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=False,
)


@pytest.fixture(autouse=True)
def _no_database(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
