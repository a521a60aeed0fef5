"""Signals by name or number, as `kill` takes them (pure; the module signal would import enum)."""

from agent.orchrun.errors import Failed

_NAMES = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE"),
    *("ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ"),
    *("VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
_OTHER = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
_REALTIME_FIRST = 34
_REALTIME_LAST = 64


def number(text: str) -> int:
    """9, KILL, SIGKILL, sigkill, RTMIN+3, SIGRTMAX-1; 0 only asks whether there is somebody."""
    if text.isascii() and text.isdigit():
        if int(text) > _REALTIME_LAST:
            raise Failed(f'unknown signal "{text}"')
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in _NAMES:
        return _NAMES.index(name) + 1
    if name in _OTHER:
        return _OTHER[name]
    if found := _realtime(name):
        return found
    raise Failed(f'unknown signal "{text}"')


def _realtime(name: str) -> int:
    for start, first in (("RTMIN", _REALTIME_FIRST), ("RTMAX", _REALTIME_LAST)):
        rest = name.removeprefix(start)
        if rest == name:
            continue
        if not rest:
            return first
        if rest[0] in "+-" and rest[1:].isdigit():
            value = first + int(rest)
            return value if _REALTIME_FIRST <= value <= _REALTIME_LAST else 0
    return 0
