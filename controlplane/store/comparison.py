"""Whether a mirror and a fresh list tell the same. Pure.

The two are never of the same instant, so a difference is a suspicion at first: the event may be under way.
What the mirror still holds, unchanged, after a while was missed.
"""

from collections.abc import Mapping

from controlplane.store import port

Suspects = Mapping[str, tuple[int, int]]
"""For each key: the revision the mirror holds and the one the list has; 0 means the key is not there."""


def differences(held: Mapping[str, int], listing: port.Listing) -> Suspects:
    """Keys in which the mirror is behind the list; where it is ahead, it is simply newer."""
    listed = {entry.key: entry.modified for entry in listing.entries}
    behind = {
        key: (held.get(key, 0), modified) for key, modified in listed.items() if held.get(key, 0) < modified
    }
    undead = {
        key: (modified, 0)
        for key, modified in held.items()
        if key not in listed and modified <= listing.revision
    }
    return {**behind, **undead}


def remaining(suspects: Suspects, held: Mapping[str, int]) -> Suspects:
    """Suspects about which the mirror has heard nothing since."""
    return {key: pair for key, pair in suspects.items() if held.get(key, 0) == pair[0]}
