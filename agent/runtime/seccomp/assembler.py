"""Instructions of the kernel's packet filters, written from the last to the first (pure).

All jumps go forward, so an instruction knows its targets when it is written. A place is the number of
instructions that stand behind it. Where a target is too far for the 8 bits of a conditional jump, a long
jump is put in between.
"""

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_NOT_BELOW = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
MOST_INSTRUCTIONS = 4096
_REACH = 253


class Assembler:
    def __init__(self) -> None:
        self.code: list[tuple[int, int, int, int]] = []
        self.returns: dict[int, int] = {}

    def end(self, value: int) -> int:
        """The place of an instruction that ends with this answer."""
        place = self.returns.get(value)
        if place is None or len(self.code) - place > _REACH:
            place = self.returns[value] = self._add(RETURN, 0, 0, value)
        return place

    def branch(self, test: int, value: int, then: int, otherwise: int) -> int:
        """Compare what was loaded last, and go on at one of two places."""
        if then == otherwise:
            return then
        then, otherwise = self._near(then), self._near(otherwise)
        then = self._near(then)  # a long jump for the other one may have pushed it out of reach
        last = len(self.code) - 1
        return self._add(test, last - then, last - otherwise, value)

    def load(self, offset: int, then: int) -> int:
        self._next(then)
        return self._add(LOAD, 0, 0, offset)

    def mask(self, value: int, then: int) -> int:
        self._next(then)
        return self._add(AND, 0, 0, value)

    def program(self) -> bytes:
        """8 bytes an instruction; it begins with the one that was written last."""
        return b"".join(
            op.to_bytes(2, "little") + bytes([yes, no]) + value.to_bytes(4, "little")
            for op, yes, no, value in reversed(self.code)
        )

    def _near(self, place: int) -> int:
        last = len(self.code) - 1
        return place if last - place <= _REACH else self._add(JUMP, 0, 0, last - place)

    def _next(self, place: int) -> None:
        """Make it the very next instruction."""
        last = len(self.code) - 1
        if place != last:
            self._add(JUMP, 0, 0, last - place)

    def _add(self, op: int, yes: int, no: int, value: int) -> int:
        self.code.append((op, yes, no, value))
        return len(self.code) - 1
