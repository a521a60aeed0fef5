"""What two reports of a task tell as events."""

from dataclasses import replace

from controlplane.api import happenings
from orch.model.names import TaskId
from orch.model.task import ContainerState, ContainerStatus, TaskState, TaskStatus

RUNS = ContainerStatus("main", ContainerState.RUNNING, pid=7, started_at=1.0, ready=True)
TASK = TaskId("default", "web", 1, 1, 1)
WELL = TaskStatus(TASK, "n1", TaskState.RUNNING, ready=True, containers=(RUNS,))
ENDED = replace(
    RUNS,
    state=ContainerState.EXITED,
    ready=False,
    finished_at=5.0,
    exit_code=1,
    reason="ExitCode",
    message="container main ended with exit code 1",
)


def told(known: TaskStatus | None, news: TaskStatus) -> list[tuple[str, str]]:
    return [(each.reason, each.message) for each in happenings.between(known, news)]


def test_a_task_that_comes_up_tells_nothing() -> None:
    starting = replace(WELL, state=TaskState.STARTING, ready=False)
    assert told(None, starting) == []
    assert told(starting, WELL) == []


def test_an_end_is_told_once_although_it_is_reported_before_and_after_the_restart() -> None:
    waits = replace(
        WELL,
        state=TaskState.BACKOFF,
        ready=False,
        reason="CrashLoop",
        message=ENDED.message + ", 2 times in a row",
        containers=(ENDED,),
    )
    again = replace(ENDED, state=ContainerState.RUNNING, restarts=1, started_at=6.0)
    runs = replace(WELL, restarts=1, containers=(again,))
    assert told(WELL, waits) == [("ExitCode", "container main ended with exit code 1")]
    assert told(waits, runs) == []
    assert told(WELL, runs) == [("ExitCode", "container main ended with exit code 1")]


def test_the_next_end_is_told_again() -> None:
    once = replace(WELL, containers=(ENDED,))
    twice = replace(WELL, containers=(replace(ENDED, finished_at=9.0),))
    assert told(once, twice) == [("ExitCode", "container main ended with exit code 1")]


def test_an_agent_that_came_back_and_remembers_only_the_reason_tells_nothing_new() -> None:
    known = replace(WELL, restarts=1, containers=(replace(ENDED, restarts=1),))
    again = replace(WELL, incarnation=2, containers=(replace(ENDED, finished_at=0.0, restarts=0),))
    assert told(known, again) == []


def test_a_failure_that_is_not_a_containers_is_told() -> None:
    failed = replace(
        WELL, state=TaskState.BACKOFF, reason="PortTaken", message="port 80 is taken", containers=()
    )
    assert told(None, failed) == [("PortTaken", "port 80 is taken")]
    assert told(failed, replace(failed, sequence=2)) == []


def test_a_probe_that_stops_passing_is_told() -> None:
    ill = replace(WELL, ready=False, reason="NotReady", message="its readiness probe: 500")
    assert told(WELL, ill) == [("NotReady", "its readiness probe: 500")]
    assert told(replace(ill, ready=False), ill) == []
