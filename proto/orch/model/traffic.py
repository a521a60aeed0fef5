"""HTTP requests as a node's proxy saw them: how many of each revision, how they ended, how long they took.

Times are counted in buckets that are at most an eighth wide, from 1 ms to 10 minutes, so that counts of many
nodes can be added and a percentile read from the sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orch.model.names import ServiceName

_EXACT = 16
"""Below so many milliseconds each has a bucket of its own."""
_PARTS = 8
LONGEST_MS = 600_000


@dataclass(frozen=True, slots=True)
class RevisionTraffic:
    """What is new since the word before. Revision 0 are requests that reached no endpoint."""

    service: ServiceName
    revision: int
    requests: int = 0
    client_errors: int = 0
    """Answered with 4xx."""
    server_errors: int = 0
    """Answered with 5xx, by the service or because it could not."""
    latency: dict[int, int] = field(default_factory=dict)
    """Bucket → requests, of those that were answered."""


def bucket(milliseconds: int) -> int:
    """Where a time is counted."""
    if milliseconds < _EXACT:
        return max(0, milliseconds)
    value = min(milliseconds, LONGEST_MS)
    shift = value.bit_length() - 4
    return _EXACT + (shift - 1) * _PARTS + (value >> shift) - _PARTS


def bounds(number: int) -> tuple[int, int]:
    """What is counted in a bucket: from, and below, milliseconds."""
    if number < _EXACT:
        return number, number + 1
    shift, part = divmod(number - _EXACT, _PARTS)
    return (part + _PARTS) << (shift + 1), (part + _PARTS + 1) << (shift + 1)


def quantile(latency: Mapping[int, int], part: float) -> float:
    """Milliseconds within which this part of the requests was answered; 0 where there were none."""
    rank = part * sum(latency.values())
    for number in sorted(latency):
        if rank <= latency[number]:
            low, high = bounds(number)
            return low + (high - low) * rank / latency[number]
        rank -= latency[number]
    return 0.0
