"""Device rules as the eBPF program that cgroup v2 asks before a device is opened or made (pure).

It looks at the rules from the last to the first, as whoever wrote them means it. Register 2 holds the type
of the device, 3 what is still to be allowed, 4 and 5 its numbers.
"""

from agent.runtime import device_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.runtime.device_rules import Rule

_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE = 0xB4  # BPF_ALU | BPF_MOV | BPF_K
_MOVE_REGISTER = 0xBC  # BPF_ALU | BPF_MOV | BPF_X
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_SHIFT_RIGHT = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_JUMP_UNEQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_EXIT = 0x95
_TYPES = {"b": 1, "c": 2}

_PROLOGUE = (
    (_LOAD_WORD, 2, 1, 0, 0),  # access_type: the type in its low half, the access in its high half
    (_MOVE_REGISTER, 3, 2, 0, 0),
    (_AND, 2, 0, 0, 0xFFFF),
    (_SHIFT_RIGHT, 3, 0, 0, 16),
    (_LOAD_WORD, 4, 1, 4, 0),
    (_LOAD_WORD, 5, 1, 8, 0),
)


def program(rules: "Sequence[Rule]") -> bytes:
    """Instructions of 8 bytes; the first rule must be one on everything, as `device_rules.ordered` has it."""
    code = list(_PROLOGUE)
    for rule in reversed(rules):
        code += _block(rule)
    return b"".join(
        bytes([op, source << 4 | target])
        + offset.to_bytes(2, "little", signed=True)
        + value.to_bytes(4, "little")
        for op, target, source, offset, value in code
    )


def _block(rule: "Rule") -> list[tuple[int, int, int, int, int]]:
    """Falls through to the block after it where it does not decide."""
    allow, kind, major, minor, bits = rule
    checks = []
    if kind != "a":
        checks.append((2, _TYPES[kind]))
    if major != device_rules.ANY:
        checks.append((4, major))
    if minor != device_rules.ANY:
        checks.append((5, minor))
    body: list[tuple[int, int, int, int, int]]
    if bits == device_rules.ALL:
        body = [(_MOVE, 0, 0, 0, int(allow)), (_EXIT, 0, 0, 0, 0)]
    elif allow:
        kept = device_rules.ALL & ~bits
        body = [
            (_AND, 3, 0, 0, kept),
            (_JUMP_UNEQUAL, 3, 0, 2, 0),
            (_MOVE, 0, 0, 0, 1),
            (_EXIT, 0, 0, 0, 0),
        ]
    else:
        body = [
            (_JUMP_SET, 3, 0, 1, bits),
            (_JUMP, 0, 0, 2, 0),
            (_MOVE, 0, 0, 0, 0),
            (_EXIT, 0, 0, 0, 0),
        ]
    size = len(checks) + len(body)
    skips = [
        (_JUMP_UNEQUAL, register, 0, size - place - 1, value)
        for place, (register, value) in enumerate(checks)
    ]
    return skips + body
