"""What the runtime calls one run of one container of a task (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunName:
    """Unique for ever: no two agents of a node share an incarnation, and each counts its runs."""

    task: str
    """The task's key."""
    container: str
    incarnation: int
    run: int

    def __str__(self) -> str:
        return f"{self.task}.{self.container}.{self.incarnation:x}.{self.run}"


def parse(text: str) -> RunName | None:
    """None when it is no run of ours."""
    parts = text.split(".")
    if len(parts) != 4 or not parts[3].isdigit():
        return None
    try:
        return RunName(parts[0], parts[1], int(parts[2], 16), int(parts[3]))
    except ValueError:
        return None
