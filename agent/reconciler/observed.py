"""What is there of a task, and how each fact changes the picture (pure).

A step's outcome, an exit, a probe's word: all come as facts, so that nothing that happens while a step is
carried out is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from agent.images.library import Image
from agent.network.attachment import Attached
from agent.runtime.container import Exited, Running
from orch.model.probe import Health
from orch.model.task import TaskState


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong last, and how often in a row."""

    reason: str
    """One CamelCase word."""
    message: str
    at: float
    count: int = 1
    crash: bool = False
    """It ran and ended; otherwise it never ran."""
    permanent: bool = False
    """It can never work on this node."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe says."""

    health: Health = Health.UNKNOWN
    answer: str = ""
    """Its last answer, in words."""


@dataclass(frozen=True, slots=True)
class Final:
    """How the task ended; never changes."""

    state: TaskState
    reason: str
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a task: its last run."""

    name: str
    run: int = 0
    """Counts launches; 0 is before the first."""
    id: str = ""
    """The run's name in the runtime."""
    digest: str = ""
    running: Running | None = None
    exited: Exited | None = None
    tail: tuple[str, ...] | None = None
    """The last lines of the run that ended last; None while nobody has read them."""
    trouble: Trouble | None = None
    condemned: str = ""
    """Why it was told to end though the task goes on: a reason."""
    condemned_message: str = ""
    signalled_at: float = 0.0
    killed: bool = False
    probing: bool = False
    startup: Probed = Probed()
    readiness: Probed = Probed()
    liveness: Probed = Probed()

    @property
    def ended_well(self) -> bool:
        """Its last run ended by itself, with 0."""
        return self.exited is not None and self.exited.exit_code == 0 and not self.condemned


@dataclass(frozen=True, slots=True)
class Observed:
    """All that is there of one task."""

    containers: Mapping[str, Container] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    """By reference."""
    attached: Attached | None = None
    published: bool = False
    files_ready: bool = False
    old_runs: tuple[str, ...] = ()
    """Runs that ended and were followed by another; still to be removed."""
    trouble: Trouble | None = None
    """Of the task as a whole: image, network, ports, files."""
    clean_up_trouble: Trouble | None = None
    troubles: int = 0
    """All troubles so far, of the task and its containers."""
    ready_since: float = 0.0
    clean: bool = False
    """Nothing of it is left on the node but its logs."""
    final: Final | None = None

    def container(self, name: str) -> Container:
        """As it is, or as one that never ran."""
        return self.containers.get(name) or Container(name)

    def running(self) -> list[Container]:
        """Those that run now."""
        return [each for each in self.containers.values() if each.running is not None]


# --- facts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImagePulled:
    image: Image
    reference: str


@dataclass(frozen=True, slots=True)
class NetworkWired:
    attached: Attached


@dataclass(frozen=True, slots=True)
class PortsPublished:
    pass


@dataclass(frozen=True, slots=True)
class PortsUnpublished:
    pass


@dataclass(frozen=True, slots=True)
class FilesPrepared:
    pass


@dataclass(frozen=True, slots=True)
class Launched:
    container: str
    run: int
    running: Running
    digest: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A run is over."""

    container: str
    exited: Exited
    at: float
    reset_after: float
    """A run that lasted so long forgets the crashes before it."""
    may_end: bool = False
    """Ending with 0 is what it is for: no trouble, no restart."""


@dataclass(frozen=True, slots=True)
class ProbesStarted:
    container: str


@dataclass(frozen=True, slots=True)
class ProbeSaid:
    """`probe` is startup, readiness or liveness; `run` is the run that was asked."""

    container: str
    run: int
    probe: str
    probed: Probed


@dataclass(frozen=True, slots=True)
class TailRead:
    container: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Discarded:
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signalled:
    container: str
    at: float
    condemned: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Killed:
    container: str


@dataclass(frozen=True, slots=True)
class CleanedUp:
    pass


@dataclass(frozen=True, slots=True)
class Concluded:
    final: Final


@dataclass(frozen=True, slots=True)
class Troubled:
    """A step failed. `container` is empty when it was none of a single container."""

    reason: str
    message: str
    at: float
    container: str = ""
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class CleanUpFailed:
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class BecameReady:
    at: float
    """0: it is not ready any more."""


Fact = (
    ImagePulled
    | NetworkWired
    | PortsPublished
    | PortsUnpublished
    | FilesPrepared
    | Launched
    | Ended
    | ProbesStarted
    | ProbeSaid
    | TailRead
    | Discarded
    | Signalled
    | Killed
    | CleanedUp
    | Concluded
    | Troubled
    | CleanUpFailed
    | BecameReady
)


def after(seen: Observed, fact: Fact) -> Observed:
    """The picture with the fact in it."""
    match fact:
        case ImagePulled():
            return replace(seen, images={**seen.images, fact.reference: fact.image}, trouble=None)
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
    return replace(seen, trouble=trouble)
