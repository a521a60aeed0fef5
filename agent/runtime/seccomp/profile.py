"""A seccomp profile in the words of the OCI configuration → one whose every value the kernel knows (pure)."""

from agent.runtime import refusals
from agent.runtime.seccomp import machines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from agent.runtime.seccomp.machines import Machine

WHERE = "linux.seccomp."
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
_ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_MOST_ERRNO = 4095
_EPERM, ENOSYS = 1, 38
_MOST_ARGUMENT = (1 << 64) - 1


class Condition:
    """Compares one argument of a call; for MASKED_EQ `value` is the mask and `second` what must be left."""

    __slots__ = ("index", "operator", "second", "value")

    def __init__(self, index: int, operator: str, value: int, second: int = 0) -> None:
        self.index = index
        self.operator = operator
        self.value = value
        self.second = second


class Rule:
    """What happens to some calls when all conditions hold."""

    __slots__ = ("action", "conditions", "names")

    def __init__(self, names: "Sequence[str]", action: int, conditions: "Sequence[Condition]" = ()) -> None:
        self.names = tuple(names)
        self.action = action
        self.conditions = tuple(conditions)


class Profile:
    """What happens to every call."""

    __slots__ = ("default", "machines", "rules")

    def __init__(self, default: int, machines: "Sequence[Machine]", rules: "Sequence[Rule]") -> None:
        self.default = default
        self.machines = tuple(machines)
        """The first is this machine's own."""
        self.rules = tuple(rules)


def parse(config: "Mapping[str, Any]", native: "Machine") -> Profile:
    """LaunchFailed names the key that is wrong; calls that nobody knows are ignored, as runc does."""
    default = _action(config.get("defaultAction"), config.get("defaultErrnoRet"), "default")
    found = [native]
    for name in config.get("architectures") or []:
        machine = machines.BY_NAME.get(name)
        if machine is None and name not in machines.ELSEWHERE:
            raise refusals.refused(f"{WHERE}architectures", f"holds {name!r}, which is no machine")
        if machine and machine not in found:
            found.append(machine)
    rules = [
        rule
        for place, entry in enumerate(config.get("syscalls") or [])
        for rule in _rules(entry, f"syscalls[{place}].")
    ]
    return Profile(default, found, rules)


def _rules(entry: "Mapping[str, Any]", where: str) -> "Iterator[Rule]":
    names = entry.get("names") or ([entry["name"]] if entry.get("name") else [])
    if not names:
        raise refusals.refused(f"{WHERE}{where}names", "is empty; it lists system calls")
    action = _action(entry.get("action"), entry.get("errnoRet"), where)
    conditions = [_condition(one, f"{where}args") for one in entry.get("args") or []]
    if len({one.index for one in conditions}) == len(conditions):
        yield Rule(names, action, conditions)
        return
    for one in conditions:  # as runc: conditions on the same argument are alternatives
        yield Rule(names, action, [one])


def _action(name: "str | None", number: "int | None", where: str) -> int:
    key = f"{WHERE}{where}Action" if where == "default" else f"{WHERE}{where}action"
    if name not in _ACTIONS:
        raise refusals.refused(key, f"is {name!r}; it is one of {' '.join(_ACTIONS)}")
    action = _ACTIONS[name]
    if action in {ERRNO, TRACE}:
        value = _EPERM if number is None else number
        if not 0 <= value <= (_MOST_ERRNO if action == ERRNO else 0xFFFF):
            raise refusals.refused(key, f"has the error number {number}; the greatest is {_MOST_ERRNO}")
        return action | value
    if number is not None:
        raise refusals.refused(
            key, f"is {name} and has an error number; only SCMP_ACT_ERRNO and _TRACE take one"
        )
    return action


def _condition(entry: "Mapping[str, Any]", where: str) -> Condition:
    operator = str(entry.get("op", "")).removeprefix("SCMP_CMP_")
    index, value, second = entry.get("index", 0), entry.get("value", 0), entry.get("valueTwo") or 0
    if operator not in _OPERATORS:
        names = " ".join(f"SCMP_CMP_{one}" for one in _OPERATORS)
        raise refusals.refused(f"{WHERE}{where}.op", f"is {entry.get('op')!r}; it is one of {names}")
    if not 0 <= index <= 5:
        raise refusals.refused(f"{WHERE}{where}.index", f"is {index}; a system call has arguments 0 to 5")
    if not (0 <= value <= _MOST_ARGUMENT and 0 <= second <= _MOST_ARGUMENT):
        raise refusals.refused(f"{WHERE}{where}.value", "does not fit into 64 bits")
    return Condition(index, operator, value, second)
