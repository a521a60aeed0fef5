"""What was asked of this node, on disk: it survives the agent and the machine.

SQLite in its write-ahead mode: what was written survives a killed agent at once, and a power failure costs at
most the last moments, which the control plane says again. Writing happens on a thread of its own, in batches.
"""

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from orch import wire
from orch.model.assignment import (
    EndpointSection,
    FileSection,
    PeerSection,
    Section,
    ServiceEndpoints,
    TaskSection,
)
from orch.model.cluster import Stamp

_log = logging.getLogger(__name__)

_KINDS: dict[str, type[Any]] = {
    "tasks": TaskSection,
    "files": FileSection,
    "endpoints": EndpointSection,
    "peers": PeerSection,
}
_SERVICE = "service"
"""Of rows: the endpoints of one service."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept
    (kind TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
"""


def refusal(accepted: Stamp | None, known: Stamp | None, offered: Stamp) -> str:
    """Why a section is not taken over; empty when it is.

    `accepted` is the newest stamp of all, `known` that of the same section. After a restore of the store the
    incarnation is greater and epoch and revision may be smaller.
    """
    if accepted is None:
        return ""
    if offered.cluster != accepted.cluster:
        return f"it is of cluster {offered.cluster or '(none)'}; this node belongs to {accepted.cluster}"
    if offered.incarnation < accepted.incarnation:
        return f"it is of an earlier life of the cluster ({offered.incarnation} < {accepted.incarnation})"
    if known is None or offered.incarnation > known.incarnation:
        return ""
    if (offered.epoch, offered.revision) < (known.epoch, known.revision):
        here = f"{known.epoch}/{known.revision}"
        return f"it is older ({offered.epoch}/{offered.revision}) than what is here ({here})"
    return ""


class Ledger:
    """One per state directory. Answers from memory; `problem` says what is wrong with its disk."""

    def __init__(self, database: sqlite3.Connection, kept: dict[str, dict[str, bytes]]) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "orch-ledger")
        self._sections = _read_sections(kept.pop("section", {}), kept.pop(_SERVICE, {}))
        self._services: dict[str, ServiceEndpoints] = {}
        """As they are on the disk, or on their way there."""
        self._stamps = {kind: section.stamp for kind, section in self._sections.items()}
        self._kept = kept
        self._pending: dict[tuple[str, str], bytes | None] = {}
        self._writing: asyncio.Task[None] | None = None
        self.problem = ""

    @classmethod
    def open(cls, directory: Path) -> "Ledger":
        """A ledger that cannot be read is put aside; then nothing is known until we are told."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "ledger.db"
        try:
            return cls(*_open(path))
        except (sqlite3.DatabaseError, ValueError) as error:
            _log.error("the ledger %s cannot be read (%s): put aside as ledger.broken", path, error)
            path.replace(directory / "ledger.broken")
            for rest in ("ledger.db-wal", "ledger.db-shm"):
                (directory / rest).unlink(missing_ok=True)
            return cls(*_open(path))

    @property
    def accepted(self) -> Stamp | None:
        """The newest stamp of all sections."""
        return max(self._stamps.values(), default=None)

    def section(self, kind: str) -> Any:
        """The section as the ledger had it when it was opened; None when there is none. Answered once."""
        section = self._sections.pop(kind, None)
        if isinstance(section, EndpointSection):
            self._services = {_row(each): each for each in section.services}
        return section

    def kept(self, kind: str) -> dict[str, bytes]:
        """What was kept when the ledger was opened. Answered once."""
        return self._kept.pop(kind, {})

    def accept(self, section: Section) -> str:
        """Take it over, or say why not."""
        kind = kind_of(section)
        if why := refusal(self.accepted, self._stamps.get(kind), section.stamp):
            return why
        self._stamps[kind] = section.stamp
        if isinstance(section, EndpointSection):
            section = self._keep_services(section)
        self.keep("section", kind, wire.encode(_without_secrets(section)))
        return ""

    def _keep_services(self, section: EndpointSection) -> EndpointSection:
        """Each service lies apart, and is written when it is another than before; returns what is left."""
        before, now = self._services, {_row(each): each for each in section.services}
        for name, each in now.items():
            if before.get(name) is not each and before.get(name) != each:
                self.keep(_SERVICE, name, wire.encode(each))
        for name in before.keys() - now.keys():
            self.keep(_SERVICE, name, None)
        self._services = now
        return replace(section, services=())

    def keep(self, kind: str, name: str, data: bytes | None) -> None:
        """Written soon, together with whatever else comes by then. None removes it."""
        self._pending[kind, name] = data
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def settle(self) -> None:
        """Returns when all is written, or `problem` says why not."""
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        await self.settle()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()

    async def _write(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, {}
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, _commit, self._database, batch)
                self.problem = ""
        except sqlite3.Error as error:
            self.problem = f"the ledger cannot be written ({error}): is the disk of the state directory full?"
            _log.error("%s", self.problem)
            self._pending = {**batch, **self._pending}
        finally:
            self._writing = None


def next_incarnation(ledger: Ledger, now: float) -> int:
    """Greater than that of any agent before, also where the ledger was lost."""
    before = int(ledger.kept("agent").get("incarnation", b"0"))
    found = max(before + 1, int(now))
    ledger.keep("agent", "incarnation", str(found).encode())
    return found


def kind_of(section: Section) -> str:
    """tasks, files, endpoints or peers."""
    return next(kind for kind, each in _KINDS.items() if isinstance(section, each))


def _open(path: Path) -> tuple[sqlite3.Connection, dict[str, dict[str, bytes]]]:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        path.chmod(0o600)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        kept: dict[str, dict[str, bytes]] = {}
        for kind, name, data in database.execute("SELECT kind, name, data FROM kept"):
            kept.setdefault(kind, {})[name] = data
    except BaseException:
        database.close()
        raise
    return database, kept


def _commit(database: sqlite3.Connection, batch: dict[tuple[str, str], bytes | None]) -> None:
    database.execute("BEGIN")
    try:
        for (kind, name), data in batch.items():
            if data is None:
                database.execute("DELETE FROM kept WHERE kind = ? AND name = ?", (kind, name))
            else:
                database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (kind, name, data))
        database.execute("COMMIT")
    except BaseException:
        database.rollback()
        raise


def _row(each: ServiceEndpoints) -> str:
    return f"{each.service.namespace}/{each.service.name}"


def _read_sections(kept: dict[str, bytes], services: dict[str, bytes]) -> dict[str, Section]:
    from google.protobuf.message import DecodeError

    try:
        found = {kind: wire.decode(data, _KINDS[kind]) for kind, data in kept.items() if kind in _KINDS}
        if "endpoints" in found and services:
            behind = tuple(wire.decode(services[name], ServiceEndpoints) for name in sorted(services))
            found["endpoints"] = replace(found["endpoints"], services=behind)
    except DecodeError as error:
        raise ValueError(f"a section is damaged: {error}") from error
    return found


def _without_secrets(section: Section) -> Section:
    """Of a secret only its reference is on the disk."""
    if not isinstance(section, FileSection):
        return section
    return replace(
        section, files=tuple(replace(each, data={}) if each.secret else each for each in section.files)
    )
