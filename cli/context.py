"""The user's saved clusters: where they answer, and with which certificate to come.

One JSON file a cluster under `~/.config/orch/contexts`, and a file that names the current one; `$ORCH_CONFIG`
puts both elsewhere. Nothing here is secret: keys stay in files of their own, and only their paths are kept.
"""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SERVER_NAME = "orch-controlplane"
"""The name in every control plane's certificate, whatever address is dialled."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class ContextError(Exception):
    """There is no such cluster, or none at all; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """One cluster."""

    name: str
    addresses: tuple[str, ...]
    ca: Path
    certificate: Path
    key: Path
    server_name: str = SERVER_NAME


def save(
    name: str,
    addresses: Sequence[str],
    ca: Path | str,
    certificate: Path | str,
    key: Path | str,
    server_name: str = SERVER_NAME,
) -> Context:
    """Write a cluster down; one with the same name is replaced."""
    if not _NAME.fullmatch(name):
        raise ContextError(f"{name!r} cannot be the name of a context: use letters, digits, '.', '_' and '-'")
    made = Context(name, tuple(addresses), Path(ca), Path(certificate), Path(key), server_name)
    written = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(made).items()}
    _write(_file_of(name), json.dumps(written, indent=2) + "\n")
    return made


def use(name: str) -> None:
    """From now on this one is meant where none is named. Raises ContextError."""
    load(name)
    _write(_home() / "current", name + "\n")


def remove(name: str) -> None:
    """Forget a cluster. Removing twice is fine."""
    _file_of(name).unlink(missing_ok=True)
    if _current_name() == name:
        (_home() / "current").unlink(missing_ok=True)


def load(name: str) -> Context:
    """One cluster. Raises ContextError naming those that there are."""
    try:
        found = json.loads(_file_of(name).read_text())
        paths = {key: Path(found[key]) for key in ("ca", "certificate", "key")}
        return Context(
            name, tuple(found["addresses"]), **paths, server_name=found.get("server_name", SERVER_NAME)
        )
    except FileNotFoundError:
        known = ", ".join(names()) or "none"
        raise ContextError(f"there is no context {name!r} (known: {known})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ContextError(f"{_file_of(name)} is damaged ({error}); write it again, or remove it") from None


def names() -> list[str]:
    """All saved clusters."""
    return sorted(path.stem for path in (_home() / "contexts").glob("*.json"))


def current(name: str = "") -> Context:
    """The named one; else `$ORCH_CONTEXT`, else the one in use, else the only one. Raises ContextError."""
    chosen = name or os.environ.get("ORCH_CONTEXT", "") or _current_name()
    if chosen:
        return load(chosen)
    known = names()
    if len(known) == 1:
        return load(known[0])
    if known:
        raise ContextError(f"several clusters are known ({', '.join(known)}); name one: --context NAME")
    raise ContextError("no cluster is known; try: orchctl dev up --nodes 3")


def _home() -> Path:
    configured = os.environ.get("ORCH_CONFIG")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "orch"


def _file_of(name: str) -> Path:
    return _home() / "contexts" / f"{name}.json"


def _current_name() -> str:
    with contextlib.suppress(OSError):
        return (_home() / "current").read_text().strip()
    return ""


def _write(path: Path, text: str) -> None:
    """All of it or nothing: two `dev up` at once must not leave half a file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
