"""For all tests: Ctrl-C means what it means at a terminal, also when a script started the run in the background.

A shell without job control lets its background processes ignore SIGINT, and whatever they start inherits that.
No property is false because the machine was busy: examples have no deadline.
"""

import signal

from hypothesis import settings

settings.register_profile("orch", deadline=None)
settings.load_profile("orch")


def pytest_configure() -> None:
    """Before the first test, so that the programs that tests start inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
