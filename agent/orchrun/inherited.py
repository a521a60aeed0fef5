"""What a payload must not have of us: signals as our caller had them, and a way to look into us."""

from agent.linux import constants as c
from agent.linux import syscalls

_LAST_SIGNAL = 64
_KEPT = {9, 13, 19}
"""KILL and STOP have no action; PIPE stays ignored in us, and a child resets it last."""


def let_go() -> None:
    syscalls.prctl(c.PR_SET_DUMPABLE, 0)
    syscalls.unblock_signals()
    for number in range(1, _LAST_SIGNAL + 1):
        if number not in _KEPT:
            syscalls.default_signal(number)
