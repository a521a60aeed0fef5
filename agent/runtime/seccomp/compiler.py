"""A profile → the program that the kernel runs at every system call (pure).

Which machine the call is for, then a binary search over the numbers of the calls: neighbours with the same
answer are one step, so a few comparisons find any. Calls that are always allowed meet nothing that depends
on their arguments, so that the kernel can remember them and skip the program altogether.
"""

from agent.runtime import refusals
from agent.runtime.seccomp import assembler, machines, profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from agent.runtime.seccomp.assembler import Assembler
    from agent.runtime.seccomp.machines import Machine
    from agent.runtime.seccomp.profile import Condition, Profile, Rule

    Answer: TypeAlias = "int | tuple[Rule, ...]"
    Steps: TypeAlias = "list[tuple[int, Answer]]"

_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_LOW = 0xFFFFFFFF
_X32 = 0x40000000
_PERMISSIVE = (profile.ALLOW, profile.LOG, profile.TRACE)
_ACTION = 0xFFFF0000


def program(config: "Profile") -> bytes:
    """Instructions of 8 bytes; the same for the same profile."""
    out = assembler.Assembler()
    other = out.end(profile.KILL_PROCESS)  # a call made as on a machine that the profile does not know
    blocks = [(one, _block(out, config, one)) for one in reversed(config.machines)]
    for machine, block in blocks:
        other = out.branch(assembler.JUMP_EQUAL, machine.audit, block, other)
    out.load(_MACHINE, other)
    if len(out.code) > assembler.MOST_INSTRUCTIONS:
        why = (
            f"makes a filter of {len(out.code)} instructions; the kernel takes {assembler.MOST_INSTRUCTIONS}"
        )
        raise refusals.refused("linux.seccomp", why)
    return out.program()


def _block(out: "Assembler", config: "Profile", machine: "Machine") -> int:
    return out.load(_NUMBER, _search(out, steps(config, machine), config.default, machine))


def steps(config: "Profile", machine: "Machine") -> "Steps":
    """From each number on the answer, up to the next one; the first begins at 0."""
    known = _answers(config, machine)
    found: Steps = [(0, config.default)]
    for number in sorted(known):
        _put(found, number, known[number])
        _put(found, number + 1, config.default)
    newer = profile.ERRNO | profile.ENOSYS
    if known and not _lets_through(config.default):
        # Programs take "not permitted" for an error and "not implemented" for an older kernel
        _put(found, max(known) + 1, newer)
    if machine is machines.X86_64:
        _put(found, _X32, newer)
    return found


def _lets_through(action: int) -> bool:
    return action & _ACTION in _PERMISSIVE


def _put(found: "Steps", number: int, answer: "Answer") -> None:
    if found[-1][0] == number:
        found.pop()
    if not found or found[-1][1] != answer:
        found.append((number, answer))


def _answers(config: "Profile", machine: "Machine") -> "dict[int, Answer]":
    """A rule without conditions decides for its calls, whatever other rules say of them."""
    table = machines.numbers(machine)
    known: dict[int, Answer] = {}
    for rule in config.rules:
        for name in rule.names:
            number = table.get(name)
            if number is None or isinstance(before := known.get(number, ()), int):
                continue
            known[number] = (*before, rule) if rule.conditions else rule.action
    return known


def _search(out: "Assembler", found: "Steps", default: int, machine: "Machine") -> int:
    if len(found) == 1:
        answer = found[0][1]
        return out.end(answer) if isinstance(answer, int) else _chain(out, answer, default, machine)
    middle = len(found) // 2
    above = _search(out, found[middle:], default, machine)
    below = _search(out, found[:middle], default, machine)
    return out.branch(assembler.JUMP_NOT_BELOW, found[middle][0], above, below)


def _chain(out: "Assembler", rules: "Sequence[Rule]", default: int, machine: "Machine") -> int:
    """The first rule all of whose conditions hold."""
    place = out.end(default)
    for rule in reversed(rules):
        then = out.end(rule.action)
        for condition in reversed(rule.conditions):
            then = _compare(out, condition, machine, then, place)
        place = then
    return place


def _compare(out: "Assembler", condition: "Condition", machine: "Machine", yes: int, no: int) -> int:
    """Arguments have 64 bits and the program 32: first the upper half, and the lower where that says nothing."""
    operator, value, second = condition.operator, condition.value, condition.second
    if operator in {"NE", "LT", "LE"}:
        operator = {"NE": "EQ", "LT": "GE", "LE": "GT"}[operator]
        yes, no = no, yes
    offset = _ARGUMENTS + 8 * condition.index
    if operator == "MASKED_EQ":
        if machine.bits == 64 and second & ~value:
            return no
        place = _masked(out, offset, value & _LOW, second & _LOW, yes, no)
        if machine.bits == 64 and value >> 32:
            place = _masked(out, offset + 4, value >> 32, second >> 32, place, no)
        return place
    test = {
        "EQ": assembler.JUMP_EQUAL,
        "GE": assembler.JUMP_NOT_BELOW,
        "GT": assembler.JUMP_GREATER,
    }[operator]
    place = out.load(offset, out.branch(test, value & _LOW, yes, no))
    if machine.bits == 32:
        return place
    high = value >> 32
    place = out.branch(assembler.JUMP_EQUAL, high, place, no)
    if operator != "EQ":
        place = out.branch(assembler.JUMP_GREATER, high, yes, place)
    return out.load(offset + 4, place)


def _masked(out: "Assembler", offset: int, mask: int, value: int, yes: int, no: int) -> int:
    return out.load(offset, out.mask(mask, out.branch(assembler.JUMP_EQUAL, value, yes, no)))
