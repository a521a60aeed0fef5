"""What a configuration asks for and cannot have, as an error that names its key.

Imported by programs that start an interpreter for each call: no heavy imports.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class LaunchFailed(Exception):
    """A container did not start; nothing of it is left."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message


def raise_for(answer: "Mapping[str, Any]") -> None:
    """What a shim answers when it could not."""
    if failure := answer.get("error"):
        raise LaunchFailed(*failure)


def refused(key: str, why: str) -> LaunchFailed:
    return LaunchFailed("config", f"{key} {why}")


def unsupported(values: "Mapping[str, Any]", prefix: str, keys: str) -> None:
    """Refuse the specification's own keys that we cannot do; what it does not know is ignored, as it says."""
    for key in keys.split():
        if values.get(key) not in (None, {}, [], "", False):
            raise refused(f"{prefix}{key}", "is not supported; take it out of the configuration")
