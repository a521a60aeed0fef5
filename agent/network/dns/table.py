"""All services that orch-dns knows, as the lines in which they came: a line is read when somebody asks for it."""

from agent.network.dns import entry
from agent.network.dns.entry import Entry
from agent.network.dns.reverse import Reverse

REMEMBERED_ENTRIES = 256
"""Read lines that are kept: few services are asked for often."""


class Table:
    """Keys are `web.default`."""

    def __init__(self) -> None:
        """Empty; to be filled by `put`."""
        self._lines: dict[str, bytes] = {}
        self._namespaces: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._reverse = Reverse()
        self._read: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, line: bytes) -> None:
        """One service as it is now. A line that nobody wrote raises ValueError and changes nothing."""
        name, said = entry.split(line)
        before = self._lines.get(name, b"")
        if said == before:
            return
        addresses = Entry(said).addresses() if said else []
        self._read.pop(name, None)
        if before:
            self._forget(name, before)
        if said:
            self._lines[name] = said
            self._namespaces[_namespace(name)] = self._namespaces.get(_namespace(name), 0) + 1
            self._reverse.add(addresses, self._number(name))

    def names(self) -> set[str]:
        """Of all services."""
        return set(self._lines)

    def find(self, name: str) -> Entry | None:
        """The service `web.default`."""
        known = self._read.get(name)
        if known is None and (line := self._lines.get(name)) is not None:
            if len(self._read) >= REMEMBERED_ENTRIES:
                self._read.clear()
            known = self._read[name] = Entry(line)
        return known

    def has_namespace(self, namespace: str) -> bool:
        """Whether some service is in it."""
        return namespace in self._namespaces

    def owner(self, address: bytes) -> str:
        """The service that has the address; empty for nobody's."""
        number = self._reverse.owner(address)
        return self._names[number] if number is not None else ""

    def _forget(self, name: str, line: bytes) -> None:
        del self._lines[name]
        namespace = _namespace(name)
        self._namespaces[namespace] -= 1
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
        number = self._numbers.pop(name)
        self._reverse.remove(Entry(line).addresses(), number)
        self._names[number] = ""
        self._free.append(number)

    def _number(self, name: str) -> int:
        number = self._free.pop() if self._free else len(self._names)
        if number == len(self._names):
            self._names.append("")
        self._names[number] = name
        self._numbers[name] = number
        return number


def _namespace(name: str) -> str:
    return name.rpartition(".")[2]
