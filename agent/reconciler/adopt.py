"""An agent that came back: the runtime's journal, the network's records, its notes → what is there (pure)."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from agent.images.image import Image
from agent.network.attachment import Attached
from agent.reconciler import learning, observed, run_name
from agent.reconciler.asked import Asked
from agent.reconciler.decide import is_init
from agent.reconciler.notes import Notes
from agent.reconciler.observed import Container, Observed, Probed
from agent.reconciler.run_name import RunName
from agent.runtime.container import Exited, Running
from orch.model.probe import Health

_WELL = Probed(Health.HEALTHY)
Found = dict[RunName, Running | Exited]


def by_task(containers: Mapping[str, Running | Exited]) -> dict[str, Found]:
    """The runs of each task; those that are not ours are left out."""
    tasks: defaultdict[str, Found] = defaultdict(dict)
    for name, state in containers.items():
        if parsed := run_name.parse(name):
            tasks[parsed.task][parsed] = state
    return dict(tasks)


def task(
    asked: Asked,
    found: Found,
    attached: Attached | None,
    notes: Notes,
    image_of: Callable[[str], Image | None],
) -> Observed:
    """The picture of one task. Of several runs of a container the last one counts."""
    seen = Observed(
        attached=attached, troubles=notes.troubles, final=notes.final, clean=not (found or attached)
    )
    images = {spec.image: image for spec in asked.all_containers() if (image := image_of(spec.image))}
    seen = replace(seen, images=images if found else {})
    for spec in asked.all_containers():
        runs = sorted((name for name in found if name.container == spec.name), key=lambda each: each.run)
        noted = notes.containers.get(spec.name)
        if not runs:
            if noted:
                seen = _with(seen, Container(spec.name, trouble=noted[1]))
            continue
        seen = replace(seen, old_runs=(*seen.old_runs, *map(str, runs[:-1])))
        digest = images[spec.image].digest if spec.image in images else ""
        trouble = noted[1] if noted else None
        container = Container(spec.name, run=runs[-1].run, id=str(runs[-1]), digest=digest, trouble=trouble)
        if notes.well.get(spec.name) == container.run:  # until its probes say otherwise
            container = replace(container, startup=_WELL, readiness=_WELL)
        seen = _last_run(asked, seen, container, found[runs[-1]], noted[0] if noted else 0)
    if not seen.running():  # its place may be gone with a reboot: it is asked for again, which costs little
        return replace(seen, attached=None)
    return replace(seen, published=True, ready_since=notes.ready_since)


def _last_run(
    asked: Asked, seen: Observed, container: Container, state: Running | Exited, noted_run: int
) -> Observed:
    if isinstance(state, Running):
        return _with(seen, replace(container, running=state))
    if noted_run == container.run:
        return _with(seen, replace(container, exited=state))
    was = Running(state.container, state.pid, 0, state.at)
    return learning.after(
        _with(seen, replace(container, running=was)), ended(asked, container.name, state, state.at)
    )


def ended(asked: Asked, name: str, exited: Exited, at: float) -> observed.Ended:
    """The fact that a run is over, with what the service says of it."""
    policy = asked.template.restart
    may_end = is_init(asked, name) or policy.policy != "always"
    return observed.Ended(name, exited, at, policy.reset_after, may_end)


def _with(seen: Observed, container: Container) -> Observed:
    return replace(seen, containers={**seen.containers, container.name: container})
