"""What the cluster's names stand for: one immutable table, replaced whole when the agent sends a new one."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.network.dns import message

DOMAIN = "orch"
TTL_SECONDS = 2
"""Short: an address may leave a service at any moment."""


class Zone:
    """Full names in lower case, without a last dot, and their addresses."""

    def __init__(self, records: Mapping[str, Sequence[str]]) -> None:
        """Names may come in any case."""
        self._records = {name.rstrip(".").lower(): tuple(addresses) for name, addresses in records.items()}
        self._parents = {parent for name in self._records for parent in _parents(name)}

    def __len__(self) -> int:
        return len(self._records)

    def reply(self, query: message.Query) -> bytes | None:
        """None where somebody else must be asked."""
        if query.edns_version:
            return message.failure(query, message.BADVERS)
        if query.opcode:
            return message.failure(query, message.NOTIMP)
        if query.klass != message.IN:
            return message.failure(query, message.REFUSED)
        addresses = self._records.get(query.name)
        if addresses is not None:
            shuffled = random.sample(addresses, len(addresses))
            return message.answer(query, shuffled, ttl_seconds=TTL_SECONDS)
        if query.name in self._parents:
            return message.answer(query, (), ttl_seconds=TTL_SECONDS)
        if query.name == DOMAIN or query.name.endswith("." + DOMAIN):
            return message.no_such_name(query, ttl_seconds=TTL_SECONDS)
        return None


def read(path: Path) -> Zone:
    """An empty zone where there is no file yet, or a power failure cut it off: the agent sends it again."""
    try:
        return Zone(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return Zone({})


def _parents(name: str) -> set[str]:
    labels = name.split(".")
    return {".".join(labels[at:]) for at in range(1, len(labels))} if labels[-1] == DOMAIN else set()
