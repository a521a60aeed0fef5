"""What the proxy says of requests, a line each, counted by service and revision (pure)."""

from dataclasses import dataclass, field

from agent.routes.asking import revision_of
from orch.model.names import ServiceName
from orch.model.traffic import RevisionTraffic, bucket

MOST_REVISIONS = 5000
_MARK = b"R"
_SWITCHED = 101
_WORDS = 6


@dataclass(slots=True)
class _Count:
    service: ServiceName
    revision: int
    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)


class Tally:
    """Of what came since the last `drain`."""

    def __init__(self) -> None:
        self._counts: dict[tuple[ServiceName, int], _Count] = {}
        self._known: dict[tuple[bytes, bytes], _Count | None] = {}
        self._rest = b""

    def take(self, data: bytes) -> None:
        """`R BACKEND SERVER STATUS MILLISECONDS COUNTS`, as it comes out of a pipe: the last line may go on."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            words = line.split(b" ")
            if len(words) == _WORDS and words[0] == _MARK:
                self._add(words)

    def drain(self) -> list[RevisionTraffic]:
        """Everything, and begins anew."""
        found = [
            RevisionTraffic(
                each.service,
                each.revision,
                each.requests,
                each.client_errors,
                each.server_errors,
                each.latency,
            )
            for each in self._counts.values()
        ]
        self._counts, self._known = {}, {}
        return found

    def _add(self, words: list[bytes]) -> None:
        place = (words[1], words[2])
        count = self._known[place] if place in self._known else self._find(place)
        if count is None:
            return
        status = int(words[3])
        number = int(words[5]) if words[5].isdigit() else 1  # of those that this one stands for
        count.requests += number
        if status >= 500:
            count.server_errors += number
        elif status >= 400:
            count.client_errors += number
        if status > 0 and status != _SWITCHED:  # one that was given up, and one that never ends, took no time
            at = bucket(int(words[4]))
            count.latency[at] = count.latency.get(at, 0) + number

    def _find(self, place: tuple[bytes, bytes]) -> _Count | None:
        service = _service(place[0].decode())
        found = None
        if service is not None and len(self._counts) < MOST_REVISIONS:
            key = (service, revision_of(place[1].decode()))
            found = self._counts.get(key)
            if found is None:
                found = self._counts[key] = _Count(*key)
        self._known[place] = found
        return found


def _service(backend: str) -> ServiceName | None:
    """`web.default:http` → web of default; those that are the proxy's own are of no service."""
    name, colon, _ = backend.partition(":")
    service, dot, namespace = name.partition(".")
    return ServiceName(namespace, service) if colon and dot else None
