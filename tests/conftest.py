"""For all tests: signals mean what they mean at a terminal, whoever started the run.

A shell without job control lets its background processes ignore SIGINT and SIGQUIT, other starters let them ignore
more, and whatever they start inherits that.
No property is false because the machine was busy: examples have no deadline.
"""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from agent.linux import syscalls

settings.register_profile("orch", deadline=None)
settings.load_profile("orch")


def pytest_configure() -> None:
    """Before the first test, so that the programs that tests start inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _ignored() - {
        signal.SIGINT,
        signal.SIGPIPE,
        signal.SIGXFSZ,
    }:  # Python ignores the last two itself
        syscalls.default_signal(number)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `pytest -n`: who runs single files need not have it."""
    from tests.support.abreast import Abreast

    return Abreast(config, log)


def _ignored() -> set[int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
