"""What we must not pass on to a payload: ignored, blocked and handled signals of whoever called us."""

from agent.linux import syscalls

_LAST_SIGNAL = 64
_KEPT = {9, 13, 19}
"""KILL and STOP have no action; PIPE stays ignored in us, and a child resets it last."""


def let_go() -> None:
    syscalls.unblock_signals()
    for number in range(1, _LAST_SIGNAL + 1):
        if number not in _KEPT:
            syscalls.default_signal(number)
