"""Filters say what their profiles mean: as a plain reading of the rules, and as libseccomp's filters say."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.seccomp import compiler, default, machines, profile
from tests.support import bpf, libseccomp

_EPERM, _ENOSYS = profile.ERRNO | 1, profile.ERRNO | profile.ENOSYS
_NUMBERS = machines.numbers(machines.X86_64)
_BIG = (1 << 64) - 1
_VALUES = (0, 1, 5, 7, 8, 38, 40, 0x20008, 0x10000000, 0xFFFFFFFF, 1 << 32, (5 << 32) | 7, _BIG)


def _filter(*entries: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **others: Any) -> bytes:
    config = {"defaultAction": default, "syscalls": list(entries), **others}
    return compiler.program(profile.parse(config, machines.X86_64))


def _allow(*names: str, **others: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **others}


def _ask(program: bytes, name: str, *arguments: int) -> int:
    return bpf.run(program, _NUMBERS[name], arguments)


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ({"action": "SCMP_ACT_KILL"}, 0),
        ({"action": "SCMP_ACT_KILL_THREAD"}, 0),
        ({"action": "SCMP_ACT_KILL_PROCESS"}, 0x80000000),
        ({"action": "SCMP_ACT_TRAP"}, 0x00030000),
        ({"action": "SCMP_ACT_ERRNO"}, 0x00050001),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 95}, 0x0005005F),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 7}, 0x7FF00007),
        ({"action": "SCMP_ACT_LOG"}, 0x7FFC0000),
        ({"action": "SCMP_ACT_NOTIFY"}, 0x7FC00000),
    ],
)
def test_every_action_is_what_the_kernel_calls_it(action: dict[str, Any], answer: int) -> None:
    program = _filter({"names": ["mkdir"], **action}, default="SCMP_ACT_ALLOW")

    assert _ask(program, "mkdir") == answer
    assert _ask(program, "rmdir") == profile.ALLOW


def test_what_is_newer_than_the_profile_is_not_there_and_the_rest_is_not_permitted() -> None:
    program = _filter(_allow("read", "statx"))

    assert _ask(program, "read") == profile.ALLOW
    assert _ask(program, "write") == _EPERM
    assert _ask(program, "clone3") == _ENOSYS  # its number is above that of statx
    assert bpf.run(program, 100_000) == _ENOSYS


def test_a_default_that_lets_through_has_nothing_newer_than_it() -> None:
    for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        program = _filter({"names": ["read"], "action": "SCMP_ACT_KILL"}, default=action)
        assert bpf.run(program, 100_000) not in {_ENOSYS, 0}


def test_an_error_number_of_the_default_is_given() -> None:
    program = _filter(_allow("openat2"), defaultErrnoRet=13)

    assert _ask(program, "read") == profile.ERRNO | 13


def test_calls_made_as_on_another_machine_kill() -> None:
    program = _filter(_allow("read"), default="SCMP_ACT_ALLOW")

    assert bpf.run(program, 3, machine=machines.X86.audit) == profile.KILL_PROCESS
    assert bpf.run(program, 63, machine=machines.AARCH64.audit) == profile.KILL_PROCESS


def test_x32_is_not_there_also_where_all_is_allowed() -> None:
    for config in (_filter(default="SCMP_ACT_ALLOW"), _filter(_allow("read"))):
        assert bpf.run(config, 0x40000000) == _ENOSYS
        assert bpf.run(config, 0x40000000 | 520) == _ENOSYS


def test_each_machine_of_a_profile_has_its_own_numbers() -> None:
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"]
    program = _filter(_allow("getppid", "socketcall", "statx"), architectures=architectures)

    assert bpf.run(program, 110) == profile.ALLOW
    assert bpf.run(program, 64) == _EPERM
    assert bpf.run(program, 64, machine=machines.X86.audit) == profile.ALLOW
    assert bpf.run(program, 102, machine=machines.X86.audit) == profile.ALLOW  # socketcall
    assert bpf.run(program, 110, machine=machines.X86.audit) == _EPERM


def test_names_that_nobody_knows_are_ignored() -> None:
    program = _filter(_allow("read", "no_such_call", "socketcall"))

    assert _ask(program, "read") == profile.ALLOW


_COMPARE = {
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "EQ": operator.eq,
    "GE": operator.ge,
    "GT": operator.gt,
}


@pytest.mark.parametrize("op", [*_COMPARE, "MASKED_EQ"])
@settings(deadline=None)
@given(
    value=st.sampled_from([0, 1, 5, 0xFFFFFFFF, 1 << 32, (5 << 32) | 7, 1 << 63, _BIG]),
    second=st.sampled_from([0, 1, 1 << 32, (5 << 32) | 7]),
    argument=st.one_of(
        st.sampled_from([0, 1, 5, 7, 0xFFFFFFFF, 1 << 32, (5 << 32) | 7, (5 << 32) | 8, 1 << 63, _BIG]),
        st.integers(0, _BIG),
    ),
    index=st.integers(0, 5),
)
def test_arguments_are_compared_in_all_their_64_bits(
    op: str, value: int, second: int, argument: int, index: int
) -> None:
    condition = {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{op}"}
    program = _filter(_allow("ioctl", args=[condition]))
    holds = argument & value == second if op == "MASKED_EQ" else _COMPARE[op](argument, value)

    arguments = [3] * 6
    arguments[index] = argument
    assert _ask(program, "ioctl", *arguments) == (profile.ALLOW if holds else _EPERM)


def test_on_a_32_bit_machine_arguments_have_32_bits() -> None:
    condition = {"index": 0, "value": _BIG, "op": "SCMP_CMP_EQ"}
    program = _filter(_allow("personality", args=[condition]), architectures=["SCMP_ARCH_X86"])

    assert bpf.run(program, 136, [0xFFFFFFFF], machines.X86.audit) == profile.ALLOW
    assert bpf.run(program, 135, [0xFFFFFFFF]) == _EPERM


def test_all_conditions_of_a_rule_must_hold() -> None:
    pair = [
        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 9, "op": "SCMP_CMP_GT"},
        {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"},
    ]
    program = _filter(_allow("socket", args=pair))

    answers = [_ask(program, "socket", *each) for each in ((2, 10, 0), (2, 9, 0), (1, 10, 0), (2, 10, 1))]
    assert answers == [profile.ALLOW, _EPERM, _EPERM, _EPERM]


def test_conditions_on_one_argument_are_alternatives_and_so_are_rules() -> None:
    either = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
    third = [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]
    trapped = {"names": ["socket"], "action": "SCMP_ACT_TRAP", "args": third}
    program = _filter(_allow("socket", args=either), trapped)

    assert [_ask(program, "socket", family) for family in (1, 2, 3, 4)] == [
        profile.ALLOW,
        profile.ALLOW,
        profile.TRAP,
        _EPERM,
    ]


def test_a_rule_without_conditions_decides_alone() -> None:
    conditional = {
        "names": ["mkdir"],
        "action": "SCMP_ACT_TRAP",
        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
    }
    for entries in ((conditional, _allow("mkdir")), (_allow("mkdir"), conditional)):
        assert _ask(_filter(*entries), "mkdir", 1) == profile.ALLOW


def test_jumps_reach_over_any_distance() -> None:
    """Hundreds of conditions on one call, and all calls on four machines."""
    many = [_allow("ioctl", args=[{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]) for value in range(300)]
    odd = [name for name, number in sorted(_NUMBERS.items()) if number % 2 and name != "ioctl"]
    program = _filter(*many, _allow(*odd), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_ARM"])

    assert [_ask(program, "ioctl", 0, value) for value in (0, 150, 299)] == [profile.ALLOW] * 3
    assert _ask(program, "ioctl", 0, 300) == _EPERM
    for name, number in _NUMBERS.items():
        if name != "ioctl" and number <= max(_NUMBERS[one] for one in odd):
            assert _ask(program, name) == (profile.ALLOW if number % 2 else _EPERM), name


def test_a_common_call_costs_few_instructions() -> None:
    program = default.program([], machines.X86_64)
    taken = {name: bpf.walk(program, _NUMBERS[name])[1] for name in ("read", "futex", "getppid", "openat")}

    assert max(taken.values()) <= 12, taken
    assert len(program) // 8 < 150


@pytest.mark.skipif(machines.native() is not machines.X86_64, reason="libseccomp compiles for x86-64 here")
@pytest.mark.parametrize("tree", [False, True])
def test_the_default_profile_answers_as_libseccomp_would_have_it(tree: bool) -> None:
    for capabilities in ([], ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]):
        config = default.of(capabilities, machines.X86_64)
        _same(config, [name for rule in config.rules for name in rule.names], tree=tree)


_ROWS = st.tuples(
    st.sampled_from(["read", "mkdir", "socket", "personality", "statx"]),
    st.sampled_from([*_COMPARE, "MASKED_EQ"]),
    st.integers(0, 2),
    st.sampled_from([0, 1, 7, 1 << 32, (5 << 32) | 7, _BIG]),
    st.booleans(),
)


def _random(rows: Iterable[Any]) -> profile.Profile:
    rules = [
        profile.Rule(
            [name], profile.ALLOW, [profile.Condition(index, op, value, value & 5)] if conditional else []
        )
        for name, op, index, value, conditional in rows
    ]
    return profile.Profile(_EPERM, [machines.X86_64, machines.X86], rules)


@settings(deadline=None)
@given(st.lists(_ROWS, min_size=1, max_size=5), st.lists(st.sampled_from(_VALUES), min_size=3, max_size=3))
def test_random_profiles_mean_what_they_say(rows: list[Any], arguments: list[int]) -> None:
    program = compiler.program(_random(rows))

    for name in {row[0] for row in rows}:
        allowed = any(
            not conditional
            or (arguments[i] & value == value & 5 if op == "MASKED_EQ" else _COMPARE[op](arguments[i], value))
            for one, op, i, value, conditional in rows
            if one == name
        )
        assert _ask(program, name, *arguments) == (profile.ALLOW if allowed else _EPERM)


@pytest.mark.skipif(machines.native() is not machines.X86_64, reason="libseccomp compiles for x86-64 here")
@settings(deadline=None, max_examples=60)
@given(st.lists(_ROWS, min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_random_profiles_answer_as_libseccomp_would_have_them(rows: list[Any]) -> None:
    """One rule a call: several on one argument libseccomp 2.5 merges wrongly (LT 0 with LT 2**32)."""
    _same(_random(rows), {row[0] for row in rows})


def _same(config: profile.Profile, names: Iterable[str], *, tree: bool = False) -> None:
    """On calls that the profile knows, and their neighbours; libseccomp has no answer for newer ones."""
    try:
        theirs = libseccomp.program(config, tree=tree)
    except libseccomp.Missing as missing:
        pytest.skip(str(missing))
    ours = compiler.program(config)
    known = {number for name in names if (number := _NUMBERS.get(name)) is not None}
    for number in known | {number + 1 for number in known if number < max(known)}:
        for value in _VALUES:
            arguments: Sequence[int] = [value] * 3
            assert bpf.run(ours, number, arguments) == bpf.run(theirs, number, arguments), (number, value)
