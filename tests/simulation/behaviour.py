"""What containers of an image do when they are run: the script of the simulated machines."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Seconds; None is never."""

    prepare: float = 0.1
    """Pulling the image, wiring the network."""
    ready: float | None = 0.2
    """From the start to the first passed probe."""
    crash: float | None = None
    """From the start to an exit with 1."""
    finish: float | None = None
    """From the start to an exit with 0."""
    stop: float = 0.1
    """From the signal to the end."""
    missing: bool = False
    """No registry has it."""


def parse(words: str, known: Behaviour) -> Behaviour:
    """`crashes`, `crashes after 3s`, `is never ready`, `is ready after 2s`, `stops in 5s`, `is missing`,
    `ends after 1s`, `is well`.
    """
    match words.split():
        case ["crashes"]:
            return replace(known, crash=0.1, ready=None)
        case ["crashes", "after", time]:
            return replace(known, crash=seconds(time))
        case ["ends", "after", time]:
            return replace(known, finish=seconds(time))
        case ["is", "never", "ready"]:
            return replace(known, ready=None)
        case ["is", "ready", "after", time]:
            return replace(known, ready=seconds(time))
        case ["stops", "in", time]:
            return replace(known, stop=seconds(time))
        case ["is", "missing"]:
            return replace(known, missing=True)
        case ["is", "well"]:
            return Behaviour()
    raise ValueError(f"no image does this: {words}")


def seconds(word: str) -> float:
    """`1.5s`, `200ms`, `2m`."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if word.endswith(unit):
            return float(word.removesuffix(unit)) * factor
    raise ValueError(f"{word!r} is no time: write 10s")
