"""Keeps the packet rules as they should be: doors of tasks, and virtual addresses and doors of services.

The kernel's tables are the memory: an agent that returns finds what its predecessor wrote and goes on from there.
A change is one transaction of what differs; changes that arrive while one is under way go together in the next.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from agent.network import ports, rules
from agent.network.attachment import NetworkError
from agent.network.rules import Door, Place, Target
from agent.network.services import difference, flows, groups
from agent.network.services.admission import Admission
from agent.network.services.difference import Chains, Change, Step
from agent.network.services.groups import Element, Form, Key, Value
from agent.network.services.kernel import Kernel
from agent.network.services.reserved import RoutePorts, is_reserved, why_not
from agent.network.services.wanted import Wanted
from orch.model.assignment import EndpointSection

NOWHERE = RoutePorts()

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """What the kernel holds, as far as this process has seen or written it."""

    table: str
    chains: Chains
    doors: dict[Element, Value]
    gone: frozenset[bytes]
    services: dict[Element, Value] | None
    """As they were found; None once this process has brought them to what it was told."""


class Firewall:
    """Doors are wanted or not; `commit` and `set_services` return when the kernel has what is wanted."""

    def __init__(self, place: Place, route_ports: RoutePorts = NOWHERE) -> None:
        """Changes nothing yet."""
        self._route_ports = route_ports
        self._reserved: frozenset[int] = frozenset()
        self.service_range = place.service_range
        self._virtual = IPv4Network(place.service_range or "255.255.255.255/32")
        self._kernel = Kernel(place)
        self._doors: dict[Door, Target] = {}
        self._wanted = Wanted()
        self._admission = Admission()
        self._is_told = False
        """Of the services; what is there of them stays until then."""
        self._known: _Known | None = None
        self._generation = -1
        """Of the kernel's packet filter, when it was found whole."""
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

    def problems(self) -> tuple[str, ...]:
        """Published ports of services that this node cannot give; those of tasks that HTTP routes came to later."""
        late = sorted((each for each in self._doors if self.is_reserved(each)), key=str)
        return (*self._admission.problems(), *map(why_not, late))

    def is_reserved(self, door: Door) -> bool:
        """HTTP routes are served there."""
        return is_reserved(door, self._reserved)

    async def commit(self) -> None:
        """Who comes while another's transaction is under way shares the next one with all who wait."""
        async with self._turn:
            if self._known is None or dict(rules.elements(self._doors)) != self._known.doors:
                await self._bring(None)

    async def set_services(self, section: EndpointSection) -> None:
        """All services, and who is behind them."""
        async with self._turn:
            await self._bring(section)

    async def verify(self) -> bool:
        """Whether all is as we left it; what somebody has flushed is written anew, ports that became free are taken."""
        async with self._turn:
            known = self._known
            if known is None or self._admission.outside:
                await self._bring(None)
            if known is None:
                return False
            whole = await asyncio.to_thread(self._is_whole, known.table)
            if not whole:
                _log.warning("somebody has removed the packet rules of this node: they are written anew")
                self._known = None
                await self._bring(None)
            return whole

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

    def _is_whole(self, table: str) -> bool:
        generation = self._kernel.generation()
        if generation == self._generation:
            return True
        self._generation = generation
        return self._kernel.is_whole(table)

    def _bring_all(self, doors: dict[Element, Value], section: EndpointSection | None) -> None:
        known, self._known = self._known, None
        try:
            if known is not None:
                try:
                    self._step(known, doors, section)
                except OSError as refusal:
                    _log.warning(
                        "the packet rules are not as they were left (%s): they are read anew", refusal
                    )
                    known = None
            if known is None:
                known = self._read()
                self._step(known, doors, section)
        except OSError as refusal:
            raise NetworkError(f"the kernel refused the packet rules of this node: {refusal}") from refusal
        self._known = known

    def _read(self) -> _Known:
        held = self._kernel.adopt()
        doors = {each: value for each, value in held.elements.items() if each[0] in rules.DOOR_MAPS}
        services = {each: value for each, value in held.elements.items() if each[0] in rules.SERVICE_MAPS}
        gone = frozenset(key for name, key in held.elements if name == difference.GONE)
        return _Known(held.table, Chains(held.chains), doors, gone, services)

    def _step(self, known: _Known, doors: dict[Element, Value], section: EndpointSection | None) -> None:
        step = Step()
        step.elements.between(known.doors, doors)
        led: Mapping[Key, Change] = {}
        if section is not None or self._is_told:
            self._is_told = True
            led = self._lead(known, section, step)
            counted = (
                led if known.services is None else {key: (None, after) for key, (_, after) in led.items()}
            )
            step.missing, step.spare = known.chains.change(counted), known.chains.take_spare()
        self._kernel.change(known.table, step)
        if any(after and not self._is_virtual(key) for key, (_, after) in led.items()):
            self._kernel.let_localhost_out(known.table)
        if any(_leaves_clients(change) for change in led.values()):
            self._kernel.forget_clients(known.table, self._wanted.groups)
        self._kernel.forget_flows(
            flows.stale(itertools.chain(flows.of_doors(known.doors, doors), led.items()))
        )
        known.doors, known.gone = doors, (known.gone - step.back) | step.gone
        if self._is_told:
            known.services = None

    def _lead(self, known: _Known, section: EndpointSection | None, step: Step) -> Mapping[Key, Change]:
        """What changes of the services, and into `step` what the kernel must be told of it."""
        held = known.services
        before = difference.groups_in(held) if held else {}
        taken = self._wanted.take(section, before) if section is not None else None
        again: Mapping[Key, Change] = {}
        if section is not None:
            self._reserved = self._route_ports.reserved(section)
            again = dict(self._admission.reserve(self._reserved, self._wanted.groups))
        if held is None:
            changes = {**again, **(taken.changes if taken else {})}
            led = self._admission.admit(changes, self._is_virtual, ports.is_taken)
            difference.of_groups(led, step.elements)
        else:
            led = self._admission.admit(dict(self._all(before)), self._is_virtual, ports.is_taken)
            there = ((key, after) for key, (_, after) in led.items() if after)
            step.elements.between(
                held, dict(each for key, group in there for each in groups.elements(key, group))
            )
        step.gone = frozenset(taken.gone) if taken else frozenset()
        step.back = frozenset(each for each in known.gone if self._wanted.has(each))
        return led

    def _all(self, before: Mapping[Key, groups.Group]) -> Iterator[tuple[Key, Change]]:
        """Every group there is or was."""
        wanted = self._wanted.groups
        for key in before.keys() | wanted.keys():
            yield key, (before.get(key), wanted.get(key))

    def _is_virtual(self, key: Key) -> bool:
        """It is not the node that has the address: nobody else can have the port."""
        return key.form is Form.VIRTUAL or (
            key.form is Form.AT and IPv4Address(key.fields[:4]) in self._virtual
        )


def _leaves_clients(change: Change) -> bool:
    """Whether some may stay with one who is not there any more."""
    before, after = change
    sticky = any(each and each.affinity_seconds for each in change)
    return sticky and before is not None and bool(set(before.seats) - set(after.seats if after else ()))
