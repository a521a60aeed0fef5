"""What a build is asked for, and how it can go wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Order:
    """One `orchctl image build`."""

    context: Path
    """Directory with the files that may be copied."""
    dockerfile: str
    """Its text."""
    name: str = "Dockerfile"
    """What to call it when a line of it is wrong."""
    target: str = ""
    """The stage to stop at; empty: the last."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ignored: str = ""
    """The text of .dockerignore."""
    platform: str = ""
    """os/architecture; empty: this machine's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    use_cache: bool = True
    pull: bool = False
    """Ask registries again for images that are here."""
    has_own_registry: bool = False
    """Whether a name without a host may mean an image of the cluster's own registry, as it does in a manifest."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a user sees of a build."""

    step: int
    """1-based; 0 is about the whole build."""
    steps: int
    text: str
    """The instruction when a step begins; otherwise a line that it wrote, or CACHED."""
    kind: str
    """begin, output, cached, done."""
    seconds: float = 0.0


Say = Callable[[Progress], None]


class BuildFailed(Exception):
    """A sentence that begins with file and line."""
