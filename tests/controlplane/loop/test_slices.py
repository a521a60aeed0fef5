"""However much there is to decide about one service, others have their turn."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from controlplane.cluster import change, snapshot
from controlplane.cluster.after import after
from controlplane.controllers import decide
from controlplane.loop import driver, liveness, picture, pipeline
from controlplane.store import memory
from orch.model.names import ServiceName
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_template

MANY = 2_500
ROOMY = a_node("n1", cpu=10_000_000, memory=1 << 42)


class Clock:
    """Both clocks are set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def steady(self) -> float:
        return self.seconds


class Leads:
    """For ever."""

    epoch = 1

    def listen(self, _listener: Callable[[], object]) -> None:
        return


class Slow:
    """A pipeline whose every portion takes 20 ms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def decide_service(
        self, cluster: snapshot.Cluster, _name: ServiceName, _now: float
    ) -> Iterator[pipeline.Decision]:
        for _ in range(10):
            self._clock.seconds += 0.02
            yield pipeline.Decision([], cluster)

    def decide_nodes(self, cluster: snapshot.Cluster, *_: Any) -> pipeline.Decision:
        return pipeline.Decision([], cluster)

    def place(
        self, _cluster: snapshot.Cluster, _names: Sequence[ServiceName], _now: float
    ) -> Iterator[pipeline.Decision]:
        return iter(())


def a_driver(clock: Clock) -> driver.Driver:
    made: Any = driver.Driver
    nothing: Any = None
    return made(
        memory.MemoryStore.fresh(),
        picture.Picture(),
        Leads(),
        liveness.Liveness(),
        nothing,
        clock,
        Slow(clock),
    )


async def test_deciding_pauses_before_a_slice_is_over() -> None:
    clock = Clock()
    deciding = a_driver(clock)
    deciding.wake(WEB)
    others: list[float] = []

    async def do_something_else() -> None:
        while True:
            others.append(clock.seconds)
            await asyncio.sleep(0)

    someone = asyncio.create_task(do_something_else())
    await deciding._decide(clock.now())
    someone.cancel()
    gaps = [after - before for before, after in itertools.pairwise(others)]
    assert len(gaps) >= 4
    assert max(gaps) <= driver.SLICE_SECONDS
    assert deciding.figures.longest_slice <= driver.SLICE_SECONDS


async def test_what_takes_long_to_look_at_is_looked_at_for_at_most_half_of_the_time() -> None:
    clock = Clock()
    deciding = a_driver(clock)
    deciding.wake(WEB)
    await deciding._decide(clock.now())
    deciding._add_all([WEB])
    due = deciding._queue.next_due()
    assert len(deciding._queue) == 0
    assert due is not None
    assert due - clock.now() > 0.19


def test_a_look_at_a_large_service_is_cut_and_the_next_ones_come_to_the_same() -> None:
    cluster = a_cluster(ROOMY, a_service(replicas=MANY))
    deciders = pipeline.Pipeline(10.0)
    looks = 0
    is_left = True
    while is_left:
        looks += 1
        assert looks < 20, "it does not come to an end"
        written = 0
        is_left = False
        for part in (deciders.decide_service, deciders.place_one):
            for decision in part(cluster, WEB, 1.0):
                assert len(decision.changes) <= decide.PORTION
                written += sum(isinstance(each, change.CreateTask) for each in decision.changes)
                cluster = decision.after
                is_left = is_left or bool(decision.left)
        assert written <= pipeline.MOST_WRITES_PER_LOOK
    assert looks == 3
    assert len(cluster.tasks_of(WEB)) == MANY
    assert not cluster.pending(WEB)
    fresh = a_cluster(ROOMY, a_service(replicas=MANY))
    whole = after(fresh, decide.decide_service(fresh, WEB, 1.0), 1.0)
    assert set(whole.tasks[WEB]) == set(cluster.tasks[WEB])


def test_tasks_that_no_node_takes_are_answered_once_and_not_looked_at_for_ever() -> None:
    cluster = a_cluster(a_node("n1", cpu=10), a_service(replicas=MANY, template=a_template(cpu=1000)))
    deciders = pipeline.Pipeline(10.0)
    for _ in range(3):
        for decision in deciders.decide_service(cluster, WEB, 1.0):
            cluster = decision.after
    answers = list(deciders.place(cluster, [WEB], 1.0))
    assert sum(len(answer.changes) for answer in answers) == MANY
    assert not any(answer.left for answer in answers)
