"""What is there of a task, and the facts that change it (pure; `learning` says how).

A step's outcome, an exit, a probe's word: all come as facts, so that nothing that happens while a step is
carried out is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.images.image import Image
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
    pulling: "Pulling | None" = None
    """How far the pull under way is; None without one."""
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
class Pulling:
    """An image is on its way: so many bytes of so many."""

    reference: str
    done: int
    total: int


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
    Pulling
    | ImagePulled
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
