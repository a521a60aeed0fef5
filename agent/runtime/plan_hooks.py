"""The hooks of an OCI configuration → what is run when, and the state that each is told (pure)."""

from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Hooks = dict[str, list[dict[str, Any]]]

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
"""In the order of a life. Prestart is the old word for createRuntime; both run, prestart first."""


def plan(hooks: "Mapping[str, Any]") -> "Hooks":
    """By kind; a kind without hooks is left out."""
    return {
        kind: [_hook(f"hooks.{kind}[{number}]", entry) for number, entry in enumerate(hooks[kind])]
        for kind in KINDS
        if hooks.get(kind)
    }


def _hook(where: str, entry: "Mapping[str, Any]") -> "dict[str, Any]":
    path = entry.get("path") or ""
    if not path.startswith("/"):
        raise refusals.refused(f"{where}.path", f"{path or 'nothing'} is not an absolute path")
    timeout = entry.get("timeout")
    if timeout is not None and timeout <= 0:
        raise refusals.refused(f"{where}.timeout", f"{timeout} is not above zero")
    pairs = [one.partition("=") for one in entry.get("env") or []]
    return {
        "path": path,
        "args": list(entry.get("args") or [path]),
        "env": {name: value for name, _, value in pairs if name},
        "timeout": timeout,
    }
