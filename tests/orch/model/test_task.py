"""Which of two reports is the true one, and where a task can go."""

from hypothesis import given

from orch.model.names import TaskId
from orch.model.task import TRANSITIONS, TaskState, TaskStatus, truer
from tests.orch import strategies

_ID = TaskId("default", "web", 7, 1, 1)


def a_status(state: TaskState, *, incarnation: int = 1, restarts: int = 0, sequence: int = 1) -> TaskStatus:
    return TaskStatus(_ID, "n1", state, incarnation, restarts, sequence)


def test_a_later_report_is_truer() -> None:
    old, new = a_status(TaskState.STARTING), a_status(TaskState.RUNNING)

    assert truer(old, new) is new
    assert truer(new, old) is new
    assert truer(None, old) is old


def test_a_restart_counts_more_than_a_state() -> None:
    assert truer(a_status(TaskState.BACKOFF), again := a_status(TaskState.STARTING, restarts=1)) is again


def test_a_later_run_of_the_agent_counts_more_than_all() -> None:
    known = a_status(TaskState.RUNNING, restarts=5, sequence=99)

    assert truer(known, again := a_status(TaskState.STARTING, incarnation=2)) is again


@given(strategies.values(TaskStatus), strategies.values(TaskStatus))
def test_a_final_state_is_never_left(known: TaskStatus, reported: TaskStatus) -> None:
    assert not known.state.is_final or truer(known, reported) is known


def test_the_table_names_every_state_and_final_ones_lead_nowhere() -> None:
    assert set(TRANSITIONS) == set(TaskState)
    assert [state for state, ways in TRANSITIONS.items() if not ways] == [
        state for state in TaskState if state.is_final
    ]


def test_every_state_can_be_reached_from_pending() -> None:
    reached, todo = set(), [TaskState.PENDING]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [after for after, _ in TRANSITIONS[state]]

    assert reached == set(TaskState)
