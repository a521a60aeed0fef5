"""Signals as `kill` takes them."""

import signal

import pytest

from agent.orchrun import signals
from agent.orchrun.errors import Failed


@pytest.mark.parametrize("name", [one.name for one in signal.Signals])
def test_every_signal_of_this_machine_has_its_number(name: str) -> None:
    number = int(signal.Signals[name])

    assert signals.number(name) == number
    assert signals.number(name.removeprefix("SIG").lower()) == number
    assert signals.number(str(number)) == number


def test_real_time_signals_are_counted_from_both_ends() -> None:
    assert signals.number("RTMIN+3") == 37
    assert signals.number("SIGRTMAX-14") == 50
    assert signals.number("0") == 0


@pytest.mark.parametrize("text", ["BOGUS", "SIG", "", "-9", "65", "RTMIN+40", "RTMAX+1", "RTMIN3", "9x"])
def test_what_is_no_signal_is_refused_in_runcs_words(text: str) -> None:
    with pytest.raises(Failed) as refused:
        signals.number(text)

    assert refused.value.message == f'unknown signal "{text}"'
