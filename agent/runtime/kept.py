"""What the shim holds of one container: its entry in the journal, and descriptors."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from agent.runtime import births

    Entry = dict[str, Any]
    Reply = Callable[..., None]


class Container:
    """One container, from its start until it is removed."""

    __slots__ = ("birth", "entry", "fifos", "hooks", "memory_limit", "pidfd", "reply", "terminal")

    def __init__(self, entry: "Entry") -> None:
        self.entry = entry
        self.pidfd = -1
        self.fifos: list[int] = []
        self.terminal = -1
        """The master of its terminal; the logger has it too, so that one of us can give it to the other."""
        self.hooks: births.Birth | None = None
        self.memory_limit = 0
        self.birth: births.Birth | None = None
        self.reply: Reply | None = None
