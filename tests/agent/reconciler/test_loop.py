"""The loop with rooms that a test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.images.image import Image
from agent.images.images import PullFailed
from agent.network.attachment import Attached, Published
from agent.probes.prober import Prober
from agent.reconciler.asked import Asked
from agent.reconciler.files import Files
from agent.reconciler.loop import Loop
from agent.reconciler.rooms import Rooms
from agent.reconciler.volumes import Volumes
from agent.runtime.container import Exited, Launch, LaunchFailed, NoSuchContainer, Running
from orch.model.policy import RestartPolicy, StopPolicy
from orch.model.task import TaskState, TaskStatus
from orch.oci.failure import Reason
from orch.oci.image_config import ImageConfig
from tests.agent.reconciler.pictures import TASK, an_asked, stopped


@dataclass
class FakeRuntime:
    """Containers are words in a dict; signals end them."""

    there: dict[str, Running | Exited] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    launched: list[str] = field(default_factory=list)
    refuses: list[LaunchFailed] = field(default_factory=list)
    deaf: bool = False
    on_exit: Any = None
    ends_at_once: bool = False

    async def launch(self, launch: Launch) -> Running:
        await asyncio.sleep(0)
        if self.refuses:
            raise self.refuses.pop(0)
        self.launched.append(launch.container)
        self.logs[launch.container] = Path(launch.logs, f"{launch.container}.log")
        running = Running(launch.container, 100 + len(self.launched), 1, 5.0)
        self.there[launch.container] = running
        if self.ends_at_once:
            self.end(launch.container, 1)
        return running

    def end(self, container: str, code: int | None, *, told: bool = True) -> None:
        self.there[container] = Exited(container, 1, code, None if code is not None else 9, False, 6.0)
        if container in self.logs:
            self.logs[container].parent.mkdir(parents=True, exist_ok=True)
            self.logs[container].touch(0o440)  # all that it said is written
        if told:
            self.on_exit(self.there[container])

    async def containers(self) -> dict[str, Running | Exited]:
        return dict(self.there)

    async def signal(self, container: str, signum: int) -> None:
        if not isinstance(self.there.get(container), Running):
            raise NoSuchContainer(container)
        if not self.deaf:
            self.end(container, 0)

    async def stop(self, container: str, *, signum: int, grace_seconds: float) -> Exited:
        self.end(container, 0)
        found = self.there[container]
        assert isinstance(found, Exited)
        return found

    async def kill(self, container: str) -> None:
        self.end(container, None)

    async def remove(self, container: str) -> None:
        self.there.pop(container, None)

    async def remove_sandbox(self, sandbox: str) -> None:
        pass

    async def enter(self, container: str, *, args: list[str]) -> Any:
        raise NoSuchContainer(container)


class FakeImages:
    def __init__(self) -> None:
        self.has = asyncio.Event()
        self.has.set()
        self.asked = asyncio.Event()
        self.given_up = 0
        self.refuses: list[PullFailed] = []

    def find(self, reference_text: str) -> Image | None:
        return None

    async def pull(self, reference_text: str, *, policy: str = "IfNotPresent", **_how: object) -> Image:
        self.asked.set()
        try:
            await self.has.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.refuses:
            raise self.refuses.pop(0)
        return Image(reference_text, "sha256:1", ImageConfig(command=("sh",)), ())


class FakeNetwork:
    def __init__(self) -> None:
        self.places: dict[str, Attached] = {}

    def attached(self) -> dict[str, Attached]:
        return dict(self.places)

    async def attach(self, task: str) -> Attached:
        return self.places.setdefault(task, Attached(task, "/netns", ("10.208.4.2",), "10.208.4.1"))

    async def publish(self, task: str, published: Sequence[Published]) -> None:
        pass

    async def unpublish(self, task: str) -> None:
        pass

    async def detach(self, task: str) -> None:
        self.places.pop(task, None)


class Bench:
    """A loop, its rooms, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.runtime, self.images, self.network = FakeRuntime(), FakeImages(), FakeNetwork()
        (directory / "logs").mkdir()
        files = Files(directory)
        self.rooms = Rooms(
            self.runtime,
            self.images,
            files,
            Prober(self.runtime),
            directory / "logs",
            Volumes(directory / "volumes"),
            self.network,
        )
        self.now = 1000.0
        self.said: list[TaskStatus] = []
        self.notes: dict[str, bytes | None] = {}
        self.news = asyncio.Event()
        self.loop = Loop(
            self.rooms,
            node="n1",
            incarnation=5,
            clock=lambda: self.now,
            publish=self.publish,
            remember=self.notes.__setitem__,
        )
        self.runtime.on_exit = self.loop.exited

    def publish(self, status: TaskStatus) -> None:
        self.said.append(status)
        self.news.set()

    def ask(self, *tasks: Asked) -> None:
        self.loop.ask({each.key: each for each in tasks})

    async def wait(self, state: TaskState, runs: int = 0) -> TaskStatus:
        async with asyncio.timeout(10):
            while not (self.said and self.said[-1].state is state and len(self.runtime.launched) >= runs):
                self.news.clear()
                await self.news.wait()
        return self.said[-1]

    async def idle(self) -> None:
        """Until no task has anything to do."""
        async with asyncio.timeout(10):
            while drivers := [work.driver for work in self.loop._works.values() if work.driver]:
                await asyncio.gather(*drivers)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.loop.close()


async def test_a_start_a_crash_and_a_stop(bench: Bench) -> None:
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)
    bench.runtime.end(bench.runtime.launched[0], 3)
    status = await bench.wait(TaskState.RUNNING, runs=2)
    assert (status.restarts, status.containers[0].exit_code) == (1, 3)

    bench.ask(stopped(an_asked(), 1000.0))

    await bench.wait(TaskState.COMPLETE)
    assert bench.runtime.there == {}
    assert bench.network.places == {}


async def test_an_end_that_was_asked_for_is_no_crash_however_soon_it_comes(bench: Bench) -> None:
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)
    bench.ask(stopped(an_asked(), 1000.0))

    status = await bench.wait(TaskState.COMPLETE)

    assert (status.restarts, status.containers[0].reason) == (0, "")


async def test_every_report_is_truer_than_the_one_before(bench: Bench) -> None:
    bench.runtime.ends_at_once = True
    bench.ask(an_asked(restart=RestartPolicy(attempts=3)))
    for _ in range(5):
        await bench.idle()
        bench.now += 100
        await bench.loop.look_around()
    await bench.wait(TaskState.FAILED)

    orders = [each.order for each in bench.said]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


async def test_an_end_that_is_told_before_the_start_is_not_lost(bench: Bench) -> None:
    bench.runtime.ends_at_once = True
    bench.ask(an_asked(restart=RestartPolicy(policy="never")))

    status = await bench.wait(TaskState.FAILED)

    assert status.containers[0].exit_code == 1


async def test_a_pull_is_given_up_when_the_task_is_not_wanted_any_more(bench: Bench) -> None:
    bench.images.has.clear()
    bench.ask(an_asked())
    await bench.images.asked.wait()

    bench.ask(stopped(an_asked(), 1000.0))

    await bench.wait(TaskState.COMPLETE)
    assert bench.images.given_up == 1


async def test_a_task_that_is_not_named_any_more_is_ended_and_forgotten(bench: Bench) -> None:
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)

    bench.ask()

    await bench.wait(TaskState.COMPLETE)
    await bench.idle()
    assert bench.loop.statuses() == ()
    assert bench.notes[TASK.key] is None


async def test_a_failure_is_told_and_tried_again_when_its_time_has_come(bench: Bench) -> None:
    bench.images.refuses.append(PullFailed(Reason.REGISTRY_UNREACHABLE, "nobody answers"))
    bench.ask(an_asked())
    status = await bench.wait(TaskState.BACKOFF)
    assert (status.reason, status.retry_at) == ("RegistryUnreachable", 1001.0)

    bench.now += 1.0
    await bench.loop.look_around()

    status = await bench.wait(TaskState.RUNNING)
    assert status.restarts == 1


async def test_a_lost_end_is_found_by_looking_around(bench: Bench) -> None:
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)
    bench.runtime.end(bench.runtime.launched[0], 9, told=False)

    await bench.loop.look_around()

    status = await bench.wait(TaskState.RUNNING, runs=2)
    assert status.containers[0].exit_code == 9


async def test_a_container_that_vanished_has_an_unknown_end_and_is_started_again(bench: Bench) -> None:
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)
    bench.runtime.there.clear()

    await bench.loop.look_around()

    status = await bench.wait(TaskState.RUNNING, runs=2)
    assert status.containers[0].reason == "ExitUnknown"


async def test_grace_over_means_kill(bench: Bench) -> None:
    bench.runtime.deaf = True
    asked = an_asked(stop=StopPolicy(drain_delay=0.0, grace_period=5.0))
    bench.ask(asked)
    await bench.wait(TaskState.RUNNING)
    bench.ask(stopped(asked, 1000.0))
    await bench.wait(TaskState.STOPPING)
    await bench.idle()

    bench.now += 5.0
    await bench.loop.look_around()

    status = await bench.wait(TaskState.COMPLETE)
    assert status.containers[0].exit_signal == 9


async def test_leftovers_go_only_when_told(bench: Bench) -> None:
    stray = f"{'a' * 20}.main.1.1"
    bench.runtime.there[stray] = Running(stray, 7, 1, 5.0)
    await bench.network.attach("b" * 20)
    bench.ask(an_asked())
    await bench.wait(TaskState.RUNNING)
    assert stray in bench.runtime.there

    await bench.loop.remove_leftovers()

    await asyncio.gather(*bench.loop._leftovers.going.values())
    assert stray not in bench.runtime.there
    assert list(bench.network.places) == [TASK.key]
    assert len(bench.runtime.there) == 1


async def test_a_place_in_the_network_of_a_build_under_way_is_no_leftover(bench: Bench) -> None:
    for name in ("build-1", "build-of-before"):
        await bench.network.attach(name)
    bench.rooms.others = {"build-1"}

    await bench.loop.remove_leftovers()

    await asyncio.gather(*bench.loop._leftovers.going.values())
    assert list(bench.network.places) == ["build-1"]


async def test_many_tasks_start_side_by_side(bench: Bench) -> None:
    bench.images.has.clear()
    many = [an_asked() for _ in range(20)]
    tasks = [replace(each, id=replace(TASK, slot=number + 1)) for number, each in enumerate(many)]
    bench.ask(*tasks)
    bench.images.has.set()

    async with asyncio.timeout(10):
        while len({s.id for s in bench.said if s.state is TaskState.RUNNING}) < 20:
            bench.news.clear()
            await bench.news.wait()
