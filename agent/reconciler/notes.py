"""What must be remembered of a task over a restart of the agent, as small JSON (pure).

Its end, which is for ever; its troubles, without which a restart of the agent would begin the back-off anew;
and what its probes found, without which it would not be ready until they are asked again. Everything else is
read from the journal of the runtime.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.reconciler.observed import Final, Observed, Trouble
from orch.model.task import TaskState


@dataclass(frozen=True, slots=True)
class Notes:
    final: Final | None = None
    troubles: int = 0
    containers: dict[str, tuple[int, Trouble]] = field(default_factory=dict)
    """By container: in which run it had its last trouble, and which."""
    ready_since: float = 0.0
    well: dict[str, int] = field(default_factory=dict)
    """While the task is ready: containers with probes, and the run that passed them."""


def of(seen: Observed) -> Notes:
    """What is worth remembering."""
    troubled = {name: (each.run, each.trouble) for name, each in seen.containers.items() if each.trouble}
    ready = seen.final is None and seen.ready_since
    well = {name: each.run for name, each in seen.containers.items() if each.probing and ready}
    return Notes(seen.final, seen.troubles, troubled, seen.ready_since if well else 0.0, well)


def write(notes: Notes) -> bytes:
    """As it lies in the ledger."""
    return json.dumps(asdict(notes)).encode()


def read(data: bytes) -> Notes:
    """Raises ValueError, TypeError or KeyError when it is not such a note."""
    found: dict[str, Any] = json.loads(data)
    final = found["final"]
    return Notes(
        final=Final(**{**final, "state": TaskState(final["state"])}) if final else None,
        troubles=found["troubles"],
        containers={name: (run, Trouble(**trouble)) for name, (run, trouble) in found["containers"].items()},
        ready_since=found.get("ready_since", 0.0),
        well=found.get("well", {}),
    )
