"""A fold that remembers what it was told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.store import port


@dataclass
class Recorder:
    """`mirror.Fold` as a dict, with the story of how it came about."""

    values: dict[str, bytes] = field(default_factory=dict)
    replaced: int = 0
    events: list[port.Event] = field(default_factory=list)

    def replace(self, entries: Sequence[port.Entry], revision: int) -> None:
        self.values = {entry.key: entry.value for entry in entries}
        self.replaced += 1

    def update(self, batch: port.Batch) -> None:
        for event in batch.events:
            self.events.append(event)
            if isinstance(event, port.Changed):
                self.values[event.key] = event.entry.value
            else:
                self.values.pop(event.key, None)
