"""Which task has which addresses and ports, on disk: the agent may be killed between any two lines.

One small file a task, put in place whole by a rename. They are not synced: after a power failure nothing
that they speak of exists any more, and a task without a record simply gets new addresses.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from agent.linux import whole
from agent.network.attachment import Published

_WHOLE, _HALF = ".json", ".new"


@dataclass(frozen=True, slots=True)
class Record:
    """What a task was given."""

    task: str
    addresses: tuple[str, ...]
    published: tuple[Published, ...] = ()


class Records:
    """The folder of records."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> Iterator[Record]:
        """Every record; half-written ones are removed."""
        for entry in sorted(os.scandir(self._folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            record = _parse(path.read_bytes()) if path.suffix == _WHOLE else None
            if record is None:
                path.unlink()
            else:
                yield record

    def write(self, record: Record) -> None:
        """Raises OSError, for example on a full disk; then what stood there before still stands."""
        path = self._path(record.task)
        half = path.removesuffix(_WHOLE) + _HALF
        published = [asdict(each) for each in record.published]
        value = {"task": record.task, "addresses": record.addresses, "published": published}
        try:
            whole.put(path, half, json.dumps(value).encode(), 0o644)
        except OSError:
            Path(half).unlink(missing_ok=True)
            raise

    def forget(self, task: str) -> None:
        """Idempotent."""
        Path(self._path(task)).unlink(missing_ok=True)

    def remove(self) -> None:
        """Every record and the folder."""
        for entry in os.scandir(self._folder):
            Path(entry.path).unlink()
        self._folder.rmdir()

    def _path(self, task: str) -> str:
        return f"{self._folder}/{quote(task, safe='')}{_WHOLE}"


def _parse(text: bytes) -> Record | None:
    """None where a power failure cut it off."""
    try:
        value = json.loads(text)
        published = tuple(Published(**each) for each in value["published"])
        return Record(value["task"], tuple(value["addresses"]), published)
    except (ValueError, TypeError, KeyError):
        return None
