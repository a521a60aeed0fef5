"""Plays: what happens to a cluster, and what a user sees then. Seconds are virtual."""

from collections.abc import Callable, Coroutine
from functools import wraps
from textwrap import dedent
from typing import Any

from orch.model.names import TaskId
from orch.model.node import Availability
from orch.model.policy import CanaryStep
from orch.model.task import TaskState
from tests.simulation import virtual
from tests.simulation.stage import Stage, a_stage

THREE = ("n1", "n2", "n3")


def a_play(play: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run on virtual time."""

    @wraps(play)
    def played() -> None:
        virtual.run(play())

    return played


def sees(stage: Stage, expected: str) -> None:
    assert stage.look() == dedent(expected).strip()


def birth(stage: Stage) -> int:
    return stage.cluster.services["default", "web"].birth


@a_play
async def test_a_service_comes_up_and_a_failed_task_is_replaced() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        sees(
            stage,
            """
            web: done, stable 1, target 1: healthy
              web.1.1 n1 rev 1 running ready
              web.2.1 n2 rev 1 running ready
              web.3.1 n3 rev 1 running ready
            """,
        )

        stage.nodes["n2"].fail(TaskId("default", "web", birth(stage), 2, 1))
        await stage.wait(0.9)
        sees(
            stage,
            """
            web: done, stable 1, target 1: healthy
              web.1.1 n1 rev 1 running ready
              web.3.1 n3 rev 1 running ready
            """,
        )
        await stage.wait(1)
        assert "  web.2.2 n1 rev 1 running ready" in stage.look()


@a_play
async def test_a_rolling_update_takes_one_after_the_other() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        await stage.apply("web:2", replicas=3)
        await stage.wait(0.4)
        sees(
            stage,
            """
            web: rolling, stable 1, target 2: 1 of 3 have revision 2
              web.1.1 n1 rev 1 running stopping
              web.1.2 n1 rev 2 running ready
              web.2.1 n2 rev 1 running ready
              web.2.2 n2 rev 2 assigned
              web.3.1 n3 rev 1 running ready
            """,
        )
        await stage.wait(2)
        sees(
            stage,
            """
            web: done, stable 2, target 2: healthy
              web.1.2 n1 rev 2 running ready
              web.2.2 n2 rev 2 running ready
              web.3.2 n3 rev 2 running ready
            """,
        )


@a_play
async def test_a_broken_revision_goes_back_by_itself_and_says_why() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        await stage.apply("web:broken", replicas=3)
        await stage.wait(5)
        sees(
            stage,
            """
            web: done, stable 1, target 1: failed: web.1.2 is failed: CrashLoop: exited with 1
              web.1.1 n1 rev 1 running ready
              web.2.1 n2 rev 1 running ready
              web.3.1 n3 rev 1 running ready
            """,
        )
        reasons = [event.reason for event in stage.control_planes[0].picture.events.values()]
        assert [reason for reason in reasons if reason.startswith("Roll")] == [
            "RolledOut",
            "RolloutStarted",
            "RollingBack",
            "RolledBack",
        ]


@a_play
async def test_a_revision_that_is_never_ready_is_given_up_after_its_deadline() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=2)
        await stage.wait(1)
        await stage.apply("web:stuck", replicas=2, progress_deadline=60)
        await stage.wait(59)
        assert stage.look().startswith("web: rolling, stable 1, target 2: 0 of 2 have revision 2")
        await stage.wait(5)
        sees(
            stage,
            """
            web: done, stable 1, target 1: failed: no progress for 60s; web.1.2 is running: not ready
              web.1.1 n1 rev 1 running ready
              web.2.1 n2 rev 1 running ready
            """,
        )


@a_play
async def test_a_canary_runs_on_the_labelled_node_until_the_user_promotes_it() -> None:
    async with a_stage({"n1": {}, "n2": {"ring": "canary"}, "n3": {}}) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        steps = [CanaryStep(match_labels={"ring": "canary"}, bake=5)]
        await stage.apply("web:2", replicas=3, canary=steps, promote="manual")
        await stage.wait(60)
        sees(
            stage,
            """
            web: canary, stable 1, target 2: healthy; waiting for `orchctl rollout promote`
              web.1.1 n1 rev 1 running ready
              web.2.2 n2 rev 2 running ready
              web.3.1 n3 rev 1 running ready
            """,
        )

        await stage.change(promoted_revision=2, promoted_steps=-1)
        await stage.wait(5)
        sees(
            stage,
            """
            web: done, stable 2, target 2: healthy
              web.1.2 n1 rev 2 running ready
              web.2.2 n2 rev 2 running ready
              web.3.2 n3 rev 2 running ready
            """,
        )


@a_play
async def test_the_tasks_of_a_node_that_is_cut_off_run_elsewhere_and_its_leftovers_go_when_it_returns() -> (
    None
):
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        stage.nodes["n3"].cut()
        await stage.wait(6.5)
        sees(
            stage,
            """
            web: done, stable 1, target 1: healthy
              web.1.1 n1 rev 1 running ready
              web.2.1 n2 rev 1 running ready
              web.3.1 n3 rev 1 running lost stopping
              web.3.2 n1 rev 1 running ready
            """,
        )

        stage.nodes["n3"].mend()
        await stage.wait(2)
        sees(
            stage,
            """
            web: done, stable 1, target 1: healthy
              web.1.1 n1 rev 1 running ready
              web.2.1 n2 rev 1 running ready
              web.3.2 n1 rev 1 running ready
            """,
        )


@a_play
async def test_a_short_interruption_moves_nothing() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        before = stage.look()
        stage.nodes["n3"].cut()
        await stage.wait(4)
        stage.nodes["n3"].mend()
        await stage.wait(20)

        assert stage.look() == before


@a_play
async def test_a_drained_node_empties_and_gets_nothing_new() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        await stage.node("n1", availability=Availability.DRAINED)
        await stage.wait(2)
        await stage.apply("web:1", replicas=5)
        await stage.wait(5)

        assert stage.cluster.by_node.get("n1") is None or all(
            stage.cluster.has_finished(task) for task in stage.cluster.tasks_on("n1")
        )
        assert stage.look().count("running ready") == 5


@a_play
async def test_when_the_leader_dies_in_the_middle_of_a_rollout_another_goes_on() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        await stage.start_another()
        await stage.apply("web:2", replicas=3)
        await stage.wait(0.4)
        await stage.kill_leader()
        await stage.wait(20)
        sees(
            stage,
            """
            web: done, stable 2, target 2: healthy
              web.1.2 n1 rev 2 running ready
              web.2.2 n2 rev 2 running ready
              web.3.2 n3 rev 2 running ready
            """,
        )


@a_play
async def test_a_deleted_service_leaves_nothing_and_its_next_life_shares_no_uid() -> None:
    async with a_stage(THREE) as stage:
        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        past = {task.id for task in stage.cluster.all_tasks()}
        await stage.change(deleted=True)
        await stage.wait(1)
        assert not list(stage.cluster.all_tasks())
        assert not stage.cluster.services

        await stage.apply("web:1", replicas=3)
        await stage.wait(1)
        now = {task.id for task in stage.cluster.all_tasks()}
        assert len(now) == 3
        assert not now & past


@a_play
async def test_answers_that_are_lost_and_commits_that_are_refused_change_nothing_in_the_end() -> None:
    async with a_stage(THREE) as stage:
        faults = stage.control_planes[0].store.faults
        await stage.apply("web:1", replicas=6)
        faults.lose_answers, faults.refuse_commits = 2, 2
        await stage.wait(10)
        await stage.apply("web:2", replicas=6)
        faults.lose_answers, faults.lose_requests = 3, 3
        await stage.wait(60)

        assert stage.look().startswith("web: done, stable 2, target 2: healthy")
        assert stage.look().count("rev 2 running ready") == 6
        assert len(stage.cluster.tasks_of(next(iter(stage.cluster.services)))) == 12


@a_play
async def test_what_has_no_place_comes_up_when_a_node_is_given_free() -> None:
    async with a_stage(("n1",)) as stage:
        await stage.node("n1", availability=Availability.CORDONED)
        await stage.apply("web:1", replicas=1)
        await stage.wait(2)
        sees(
            stage,
            """
            web: rolling, stable 0, target 1: 0 of 1 have revision 1
              web.1.1 - rev 1 pending
            """,
        )
        waiting = stage.control_planes[0].driver.waiting_of(next(iter(stage.cluster.services)))
        assert "it would fit if you uncordon n1" in str(waiting)

        await stage.node("n1", availability=Availability.ACTIVE)
        await stage.wait(1)
        assert stage.look().endswith("web.1.1 n1 rev 1 running ready")


@a_play
async def test_a_node_that_refuses_a_task_is_not_asked_again_while_another_is_there() -> None:
    async with a_stage(("n1", "n2")) as stage:
        await stage.apply("web:1", replicas=1)
        await stage.wait(1)
        stage.nodes["n1"].fail(TaskId("default", "web", birth(stage), 1, 1), TaskState.REJECTED)
        await stage.wait(3)

        assert stage.look().endswith("web.1.2 n2 rev 1 running ready")
