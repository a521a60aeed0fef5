"""Device rules mean the same in order, as a program of v2, and as the lines of v1."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime import container, device_program, device_rules

_NOTHING: dict[str, Any] = {"allow": False, "access": "rwm"}
_EVERYTHING: dict[str, Any] = {"allow": True, "type": "a", "access": "rwm"}
_FUSE: dict[str, Any] = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}


def _allows(entries: list[dict[str, Any]], kind: str, major: int, minor: int, access: int) -> bool:
    rules = device_rules.ordered(entries)
    asked = device_rules.allows(rules, kind, major, minor, access)
    assert _run(device_program.program(rules), kind, major, minor, access) == asked
    return asked


def test_the_usual_devices_are_there_whatever_the_rules_say() -> None:
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 7)):
        assert _allows([_NOTHING], "c", major, minor, device_rules.READ | device_rules.WRITE)
    assert not _allows([_NOTHING], "c", 1, 1, device_rules.READ)  # /dev/mem
    assert not _allows([_NOTHING], "b", 1, 3, device_rules.READ)


def test_a_disk_can_be_made_and_not_opened() -> None:
    assert _allows([_NOTHING], "b", 8, 0, device_rules.MKNOD)
    assert not _allows([_NOTHING], "b", 8, 0, device_rules.READ)
    assert not _allows([], "b", 8, 0, device_rules.READ)


def test_the_last_rule_on_a_device_wins() -> None:
    no_writing = _FUSE | {"allow": False, "access": "w"}
    both = device_rules.READ | device_rules.WRITE

    assert _allows([_NOTHING, _FUSE], "c", 10, 229, both)
    assert not _allows([_NOTHING, _FUSE, no_writing], "c", 10, 229, both)
    assert _allows([_NOTHING, _FUSE, no_writing], "c", 10, 229, device_rules.READ)
    assert not _allows([_FUSE, _NOTHING], "c", 10, 229, device_rules.READ)
    assert not _allows([_EVERYTHING, no_writing], "c", 10, 229, both)
    assert _allows([_NOTHING, _EVERYTHING], "b", 8, 0, device_rules.ALL)


def test_two_rules_together_allow_what_neither_does_alone() -> None:
    one, other = _FUSE | {"access": "r"}, _FUSE | {"access": "w"}

    assert _allows([_NOTHING, one, other], "c", 10, 229, device_rules.READ | device_rules.WRITE)


def test_v1_is_told_line_by_line() -> None:
    everywhere = {"allow": True, "type": "c", "major": 10, "access": "r"}

    rows = list(device_rules.v1_rows(device_rules.ordered([_EVERYTHING, _NOTHING, everywhere])))

    assert [row[1:3] for row in rows[:3]] == [
        ["devices.deny", "a"],
        ["devices.allow", "c 10:* r"],
        ["devices.allow", "c *:* m"],
    ]


@pytest.mark.parametrize("entry", [{"type": "x"}, {"access": "rx"}, {"type": "p"}])
def test_a_rule_that_cannot_be_is_refused_by_its_place(entry: dict[str, Any]) -> None:
    with pytest.raises(container.LaunchFailed, match=r"linux\.resources\.devices\[1\]"):
        device_rules.ordered([_NOTHING, {"allow": True, **entry}])


_NUMBERS = st.integers(0, 2)
_RULES = st.fixed_dictionaries(
    {
        "allow": st.booleans(),
        "type": st.sampled_from("abc"),
        "access": st.sampled_from(["r", "w", "rw", "rwm"]),
    },
    optional={"major": _NUMBERS, "minor": _NUMBERS},
)


@settings(deadline=None)
@given(st.lists(_RULES, max_size=6), st.sampled_from("bc"), _NUMBERS, _NUMBERS, st.integers(1, 7))
def test_the_program_does_what_the_rules_mean(
    entries: list[dict[str, Any]], kind: str, major: int, minor: int, access: int
) -> None:
    _allows(entries, kind, major, minor, access)


def _run(program: bytes, kind: str, major: int, minor: int, access: int) -> bool:
    """The instructions that such programs are made of, as the kernel carries them out."""
    code = [program[place : place + 8] for place in range(0, len(program), 8)]
    context = {0: access << 16 | {"b": 1, "c": 2}[kind], 4: major, 8: minor}
    registers = dict.fromkeys(range(11), 0)
    at = 0
    while True:
        op, target, source = code[at][0], code[at][1] & 15, code[at][1] >> 4
        offset = int.from_bytes(code[at][2:4], "little", signed=True)
        value = int.from_bytes(code[at][4:8], "little")
        at += 1
        match op:
            case 0x61:
                registers[target] = context[offset]
            case 0xB4:
                registers[target] = value
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0x55:
                at += offset if registers[target] != value else 0
            case 0x45:
                at += offset if registers[target] & value else 0
            case 0x05:
                at += offset
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unknown instruction {op:#x}")
