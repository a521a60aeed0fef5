"""How each fact changes the picture of a task (pure)."""

from dataclasses import replace
from typing import assert_never

from agent.reconciler.observed import (
    BecameReady,
    CleanedUp,
    CleanUpFailed,
    Concluded,
    Container,
    Discarded,
    Ended,
    Fact,
    FilesPrepared,
    ImagePulled,
    Killed,
    Launched,
    NetworkWired,
    Observed,
    PortsPublished,
    PortsUnpublished,
    Probed,
    ProbeSaid,
    ProbesStarted,
    Pulling,
    Signalled,
    TailRead,
    Trouble,
    Troubled,
)
from orch.model.probe import Health


def after(seen: Observed, fact: Fact) -> Observed:
    """The picture with the fact in it."""
    match fact:
        case Pulling():
            return replace(seen, pulling=fact)
        case ImagePulled():
            images = {**seen.images, fact.reference: fact.image}
            return replace(seen, images=images, pulling=None, trouble=None)
        case NetworkWired():
            return replace(seen, attached=fact.attached, clean=False, trouble=None)
        case PortsPublished():
            return replace(seen, published=True, trouble=None)
        case PortsUnpublished():
            return replace(seen, published=False)
        case FilesPrepared():
            return replace(seen, files_ready=True, clean=False, trouble=None)
        case Launched():
            return _launched(seen, fact)
        case Ended():
            return _ended(seen, fact)
        case ProbesStarted():
            return _with(seen, replace(seen.container(fact.container), probing=True))
        case ProbeSaid():
            return _probed(seen, fact)
        case TailRead():
            return _with(seen, replace(seen.container(fact.container), tail=fact.lines))
        case Discarded():
            return replace(seen, old_runs=tuple(each for each in seen.old_runs if each not in fact.runs))
        case Signalled():
            return _signalled(seen, fact)
        case Killed():
            return _with(seen, replace(seen.container(fact.container), killed=True))
        case CleanedUp():
            return _cleaned_up(seen)
        case Concluded():
            return replace(seen, final=fact.final)
        case Troubled():
            return _troubled(seen, fact)
        case CleanUpFailed():
            return replace(seen, clean_up_trouble=_again(seen.clean_up_trouble, fact))
        case BecameReady():
            return replace(seen, ready_since=fact.at)
        case _:
            assert_never(fact)


def _with(seen: Observed, container: Container) -> Observed:
    return replace(seen, containers={**seen.containers, container.name: container})


def _launched(seen: Observed, fact: Launched) -> Observed:
    before = seen.container(fact.container)
    container = Container(
        fact.container,
        run=fact.run,
        id=fact.running.container,
        digest=fact.digest,
        running=fact.running,
        exited=before.exited,
        tail=before.tail,
        trouble=before.trouble,
    )
    old = (*seen.old_runs, before.id) if before.id else seen.old_runs
    return replace(_with(seen, container), old_runs=old, clean=False)


def _ended(seen: Observed, fact: Ended) -> Observed:
    before = seen.container(fact.container)
    if before.id != fact.exited.container or before.running is None:
        return seen
    container = replace(
        before,
        running=None,
        exited=fact.exited,
        tail=None,
        probing=False,
        startup=Probed(),
        readiness=Probed(),
    )
    if (before.signalled_at and not before.condemned) or (fact.may_end and container.ended_well):
        return _with(seen, replace(container, trouble=None))
    container = replace(container, trouble=_crash(before, container, fact))
    return replace(_with(seen, container), troubles=seen.troubles + 1)


def _crash(before: Container, after_it: Container, fact: Ended) -> Trouble:
    lasted = fact.exited.at - (before.running.started_at if before.running else fact.exited.at)
    again = before.trouble is not None and lasted < fact.reset_after
    count = before.trouble.count + 1 if again and before.trouble else 1
    reason, message = how_it_ended(after_it)
    return Trouble(reason, message, fact.at, count, crash=True)


def how_it_ended(container: Container) -> tuple[str, str]:
    """A reason and a sentence for the last end of a container."""
    ended = container.exited
    name = f"container {container.name}"
    if container.condemned:
        return container.condemned, container.condemned_message
    if ended is None:
        return "", ""
    if ended.oom_killed:
        return (
            "OOMKilled",
            f"{name} used more memory than its limit allows and was killed: raise resources.limits.memory",
        )
    if ended.signal is not None:
        return "Killed", f"{name} was ended by signal {ended.signal}"
    if ended.exit_code is None:
        return "ExitUnknown", f"{name} ended while nobody was left who could see how"
    if ended.exit_code == 0:
        return "Ended", f"{name} ended by itself with exit code 0"
    return "ExitCode", f"{name} ended with exit code {ended.exit_code}; `orchctl logs` shows its last words"


def _probed(seen: Observed, fact: ProbeSaid) -> Observed:
    container = seen.container(fact.container)
    if container.run != fact.run or container.running is None:
        return seen
    match fact.probe:
        case "startup":
            return _with(seen, replace(container, startup=_since(container.startup, fact.probed)))
        case "readiness":
            return _with(seen, replace(container, readiness=_since(container.readiness, fact.probed)))
        case _:
            return _with(seen, replace(container, liveness=fact.probed))


def _since(known: Probed, said: Probed) -> Probed:
    """A probe that has not made up its mind since the agent came back undoes nothing."""
    return replace(said, health=known.health) if said.health is Health.UNKNOWN else said


def _signalled(seen: Observed, fact: Signalled) -> Observed:
    container = seen.container(fact.container)
    if container.running is None:
        return seen
    return _with(
        seen,
        replace(container, signalled_at=fact.at, condemned=fact.condemned, condemned_message=fact.message),
    )


def _cleaned_up(seen: Observed) -> Observed:
    return replace(
        seen,
        attached=None,
        published=False,
        files_ready=False,
        old_runs=(),
        clean=True,
        clean_up_trouble=None,
    )


def _again(known: Trouble | None, fact: CleanUpFailed) -> Trouble:
    return Trouble("CleanUpFailed", fact.message, fact.at, known.count + 1 if known else 1)


def _troubled(seen: Observed, fact: Troubled) -> Observed:
    known = seen.container(fact.container).trouble if fact.container else seen.trouble
    count = known.count + 1 if known else 1
    trouble = Trouble(fact.reason, fact.message, fact.at, count, permanent=fact.permanent)
    seen = replace(seen, troubles=seen.troubles + 1)
    if fact.container:
        return _with(seen, replace(seen.container(fact.container), trouble=trouble))
    return replace(seen, trouble=trouble, pulling=None)
