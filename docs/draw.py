"""Draws the pages of docs/ that follow from code: `python docs/draw.py` writes them, a test holds them fresh."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "proto"))

from orch.model.task import TRANSITIONS, TaskState

_MEANINGS = {
    TaskState.PENDING: "it waits for a node; `orchctl why` says what for",
    TaskState.ASSIGNED: "it has a node, which has not begun",
    TaskState.PREPARING: "the node fetches the image and makes network and files",
    TaskState.STARTING: "init containers and containers are being started",
    TaskState.RUNNING: "all containers run; ready or not is a field beside the state",
    TaskState.BACKOFF: "a container ended or a step failed; it is tried again at NEXT-RETRY",
    TaskState.STOPPING: "drain delay, stop signal, grace, clean-up",
    TaskState.COMPLETE: "it ended as it should",
    TaskState.FAILED: "it ended otherwise, and its attempts are spent",
    TaskState.REJECTED: "the node cannot run it at all",
}


def task_states() -> str:
    """The page of task states, from the transition table."""
    lines = [
        "# Task states",
        "",
        "Drawn from `TRANSITIONS` in `proto/orch/model/task.py` by `docs/draw.py`; change it there.",
        "",
        "`PENDING` and `ASSIGNED` are derived from the desired key; all others are the node's own words.",
        "*Unreachable* is no state: it is shown beside the last word of a node that is not heard from, and a node",
        "that returns tells the truth again. Reports are ordered by (incarnation of the agent, restarts, state,",
        "sequence), and of two the greater is true.",
        "",
        "| state | what it means |",
        "|---|---|",
        *(f"| `{state.name}` | {_MEANINGS[state]} |" for state in TaskState),
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> PENDING",
        *(
            f"    {state.name} --> {following.name}: {why}"
            for state, all_following in TRANSITIONS.items()
            for following, why in all_following
        ),
        *(f"    {state.name} --> [*]" for state in TaskState if not TRANSITIONS[state]),
        "```",
    ]
    return "\n".join(lines) + "\n"


PAGES = {"task-states.md": task_states}

if __name__ == "__main__":
    for name, draw in PAGES.items():
        (HERE / name).write_text(draw())
