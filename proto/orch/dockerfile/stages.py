"""Instructions → stages, and which of them a target needs (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orch.dockerfile import instructions as i
from orch.dockerfile import words
from orch.dockerfile.problem import DockerfileError, nearest
from orch.dockerfile.steps import PROXIES

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Stage:
    number: int
    name: str
    """After AS; empty without one."""
    base: str
    """An image, the name of an earlier stage, or `scratch`; variables replaced."""
    platform: str
    line: int
    instructions: tuple[i.Placed, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole Dockerfile."""

    stages: tuple[Stage, ...]
    defaults: Mapping[str, str]
    """ARGs before the first FROM, with what was given for them: what an ARG without a default gets."""

    def find(self, name: str) -> Stage | None:
        """By name or number; the last one of a name, as Docker does."""
        if name.isdecimal():
            return self.stages[int(name)] if int(name) < len(self.stages) else None
        return next((one for one in reversed(self.stages) if one.name == name.lower()), None)

    def target(self, name: str) -> Stage:
        if not name:
            return self.stages[-1]
        if found := self.find(name):
            return found
        names = [one.name for one in self.stages if one.name]
        raise DockerfileError(0, f"has no stage {name}", nearest(name, names) or f"it has {', '.join(names)}")

    def before(self, stage: Stage, name: str) -> Stage | None:
        """The earlier stage that `name` means inside `stage`; None when it means an image."""
        found = self.find(name)
        return found if found and found.number < stage.number else None

    def needed(self, target: Stage) -> tuple[Stage, ...]:
        """What the target is made from and copies from, in an order in which they can be built."""
        wanted = {target.number}
        for stage in reversed(self.stages[: target.number + 1]):
            if stage.number in wanted:
                wanted |= {one.number for name in _uses(stage) if (one := self.before(stage, name))}
        return tuple(stage for stage in self.stages if stage.number in wanted)


def recipe(placed: tuple[i.Placed, ...], given: Mapping[str, str], platform: Mapping[str, str]) -> Recipe:
    """The stages; `given` are the build arguments, `platform` what TARGETPLATFORM and its like mean."""
    defaults: dict[str, str] = {}
    scope = dict(platform)
    stages: list[Stage] = []
    for at, one in enumerate(placed):
        match one.instruction:
            case i.From() as start:
                stages.append(_stage(len(stages), start, one, tuple(_until_from(placed[at + 1 :])), scope))
            case i.Arg() if not stages:
                for name, default in one.instruction.pairs:
                    value = given.get(name, _expanded(default or "", scope, one.line))
                    if default is not None or name in given:
                        defaults[name] = scope[name] = value
            case _ if not stages:
                raise DockerfileError(one.line, "stands before the first FROM", "only ARG may")
    if not stages:
        raise DockerfileError(0, "holds no FROM", "the first instruction is FROM image")
    return Recipe(tuple(stages), {**platform, **defaults})


def _stage(
    number: int, start: i.From, one: i.Placed, inside: tuple[i.Placed, ...], scope: Mapping[str, str]
) -> Stage:
    base = _expanded(start.image, scope, one.line)
    if not base:
        raise DockerfileError(
            one.line, f"FROM {start.image} names no image", "an ARG before FROM has no default"
        )
    return Stage(number, start.name, base, _expanded(start.platform, scope, one.line), one.line, inside)


def _until_from(placed: tuple[i.Placed, ...]) -> Iterator[i.Placed]:
    for one in placed:
        if isinstance(one.instruction, i.From):
            return
        yield one


def _uses(stage: Stage) -> Iterator[str]:
    yield stage.base
    for one in stage.instructions:
        match one.instruction:
            case i.Copy(stage=name) if name:
                yield name
            case i.Run(mounts=mounts):
                yield from (mount.stage for mount in mounts if mount.stage)


def _expanded(text: str, scope: Mapping[str, str], line: int) -> str:
    try:
        return words.expand(text, scope)
    except words.BadWord as error:
        raise DockerfileError(line, str(error)) from error


def unused(placed: tuple[i.Placed, ...], given: Mapping[str, str]) -> tuple[str, ...]:
    """Build arguments for which there is no ARG; those that mean something to the builder itself are left out."""
    declared = {
        name for one in placed if isinstance(one.instruction, i.Arg) for name, _ in one.instruction.pairs
    }
    known = declared | PROXIES | {"SOURCE_DATE_EPOCH"}
    return tuple(name for name in given if name not in known and not name.startswith("BUILDKIT_"))
