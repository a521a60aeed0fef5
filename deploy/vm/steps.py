"""What is to be so on an emulated machine, one step after the other: the name of each is a sentence."""

import time
from collections.abc import Callable, Sequence

from deploy.vm import supplies
from deploy.vm.machine import Machine, MachineFailed

Step = Callable[[Machine], None]
"""Raises MachineFailed or AssertionError where it is not so."""


def are_so(machine: Machine, steps: Sequence[Step], about: str) -> bool:
    """Tells each with its seconds; after the first that is not so, what the command `about` says of the machine."""
    for step in steps:
        sentence = step.__name__.replace("_", " ")
        begun = time.monotonic()
        try:
            step(machine)
        except (MachineFailed, AssertionError) as failure:
            supplies.say(f"FAILED  {sentence}\n{failure}")
            supplies.say(machine.ask(about)[1])
            return False
        supplies.say(f"ok  {sentence}  ({time.monotonic() - begun:.0f} s)")
    return True
