"""Amounts of cpu and memory that can be added and compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from orch.model.container import ResourceSpec


@dataclass(frozen=True, slots=True)
class Resources:
    """Thousandths of a core, and bytes."""

    cpu: int = 0
    memory: int = 0

    @classmethod
    def requested_by(cls, spec: ResourceSpec) -> Self:
        """A missing request is its limit."""
        return cls(spec.requests.cpu or spec.limits.cpu, spec.requests.memory or spec.limits.memory)

    @classmethod
    def sum_of(cls, many: Iterable["Resources"]) -> Self:
        """All of them together."""
        cpu = memory = 0
        for each in many:
            cpu += each.cpu
            memory += each.memory
        return cls(cpu, memory)

    def at_least(self, others: Iterable["Resources"]) -> "Resources":
        """The greater of each amount."""
        cpu, memory = self.cpu, self.memory
        for each in others:
            cpu, memory = max(cpu, each.cpu), max(memory, each.memory)
        return Resources(cpu, memory)

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.cpu + other.cpu, self.memory + other.memory)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(self.cpu - other.cpu, self.memory - other.memory)

    def fits_in(self, room: "Resources") -> bool:
        """Whether there is room for it."""
        return self.cpu <= room.cpu and self.memory <= room.memory
