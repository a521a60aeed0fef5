"""Keeps the packet rules as they should be: doors of tasks, and virtual addresses and doors of services.

The kernel's tables are the memory: an agent that returns finds what its predecessor wrote and goes on from there.
A change is one transaction of what differs; changes that arrive while one is under way go together in the next.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from agent.network import rules
from agent.network.attachment import NetworkError
from agent.network.rules import Door, Place, Target
from agent.network.services import groups
from agent.network.services.difference import Chains, Difference, Value, groups_in, of_groups
from agent.network.services.groups import Element
from agent.network.services.kernel import Kernel
from agent.network.services.wanted import Wanted
from orch.model.assignment import EndpointSection

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """What the kernel holds, as far as this process has seen or written it."""

    table: str
    chains: Chains
    doors: dict[Element, Value]
    services: dict[Element, Value] | None
    """What a predecessor wrote of services; None once this process has written them itself."""


class Firewall:
    """Doors are wanted or not; `commit` and `set_services` return when the kernel has what is wanted."""

    def __init__(self, place: Place) -> None:
        """Changes nothing yet."""
        self.service_range = place.service_range
        self._kernel = Kernel(place)
        self._doors: dict[Door, Target] = {}
        self._wanted = Wanted()
        self._is_told = False
        """Of the services; what is there of them stays until then."""
        self._known: _Known | None = None
        self._turn = asyncio.Lock()

    def open_door(self, door: Door, target: Target) -> None:
        """From the next commit on."""
        self._doors[door] = target

    def shut_door(self, door: Door) -> None:
        """From the next commit on; idempotent."""
        self._doors.pop(door, None)

    def doors(self) -> dict[Door, Target]:
        """What is wanted."""
        return dict(self._doors)

    async def commit(self) -> None:
        """Who comes while another's transaction is under way shares the next one with all who wait."""
        async with self._turn:
            if self._known is None or dict(rules.elements(self._doors)) != self._known.doors:
                await self._bring(None)

    async def set_services(self, section: EndpointSection) -> None:
        """All services, and who is behind them."""
        async with self._turn:
            await self._bring(section)

    async def remove(self) -> None:
        """Nothing of ours stays."""
        async with self._turn:
            self._doors.clear()
            self._known = None
            await asyncio.to_thread(self._kernel.remove)

    def close(self) -> None:
        """Leaves everything in place."""
        self._kernel.close()

    async def _bring(self, section: EndpointSection | None) -> None:
        doors = dict(rules.elements(self._doors))
        work = asyncio.ensure_future(asyncio.to_thread(self._bring_all, doors, section))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # the thread cannot be stopped, and nobody else may begin beside it
            raise

    def _bring_all(self, doors: Mapping[Element, Value], section: EndpointSection | None) -> None:
        try:
            if self._known is not None:
                try:
                    self._step(self._known, doors, section)
                except OSError as refusal:
                    _log.warning(
                        "the packet rules are not as they were left (%s): they are read anew", refusal
                    )
                else:
                    return
            self._known = None
            self._known = known = self._read()
            try:
                self._step(known, doors, section)
            except BaseException:
                self._known = None
                raise
        except OSError as refusal:
            raise NetworkError(f"the kernel refused the packet rules of this node: {refusal}") from refusal

    def _read(self) -> _Known:
        held = self._kernel.adopt()
        doors = {each: value for each, value in held.elements.items() if each[0] in rules.DOOR_MAPS}
        services = {each: value for each, value in held.elements.items() if each[0] in rules.SERVICE_MAPS}
        return _Known(held.table, Chains(held.chains), doors, services)

    def _step(self, known: _Known, doors: Mapping[Element, Value], section: EndpointSection | None) -> None:
        change = Difference()
        change.between(known.doors, doors)
        missing, spare = [], []
        if section is not None or (self._is_told and known.services is not None):
            seats = groups_in(known.services) if known.services else {}
            changes = self._wanted.take(section, seats) if section is not None else {}
            self._is_told = True
            if known.services is None:
                of_groups(changes, change)
            else:
                changes = {key: (None, group) for key, group in self._wanted.groups.items()}
                whole = dict(
                    each for key, group in self._wanted.groups.items() for each in groups.elements(key, group)
                )
                change.between(known.services, whole)
            missing, spare = known.chains.change(changes), known.chains.take_spare()
        self._kernel.change(known.table, change, missing, spare)
        known.doors = dict(doors)
        if self._is_told:
            known.services = None
