"""Which etcd is fit to keep a cluster's memory."""

import re

from controlplane.store import port

_OLDEST = (3, 4, 0)
_INCONSISTENT = ((3, 5, 0), (3, 5, 2))
_SOUND_WATCH = (3, 5, 13)


def judge(version: str) -> str | None:
    """A warning worth a line in the log, or None; raises Refused for a version that must not be used."""
    number = _number(version)
    if number < _OLDEST:
        raise port.Refused(f"etcd {version} is too old: 3.4 or later is needed")
    if _INCONSISTENT[0] <= number <= _INCONSISTENT[1]:
        raise port.Refused(
            f"etcd {version} can corrupt its data when it is killed (3.5.0 to 3.5.2 do): use 3.5.13 or later"
        )
    if number < _SOUND_WATCH:
        return f"etcd {version} can lose watch events, which the mirror's comparison repairs; 3.5.13 cannot"
    return None


def _number(version: str) -> tuple[int, ...]:
    """`3.6.0-rc.1` is (3, 6, 0)."""
    plain = re.split(r"[-+]", version, maxsplit=1)[0]
    try:
        return tuple(int(part) for part in plain.split("."))
    except ValueError:
        raise port.Refused(f"etcd says its version is {version!r}, which is not a version") from None
