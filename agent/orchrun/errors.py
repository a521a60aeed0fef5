"""What goes wrong for the caller: a sentence, and the exit code that runc would give."""


class Failed(Exception):
    """Told in one line; nothing more is known that would help."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Misused(Failed):
    """Options or arguments that make no sense; the usage is shown with it."""


class NoContainer(Failed):
    """The words are runc's: containerd looks for them to tell a lost container from a fault."""

    def __init__(self) -> None:
        super().__init__("container does not exist")
