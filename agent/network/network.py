"""The node's network as the rest of the agent sees it: tasks get a place, ports and names.

Everything that exists is in the kernel and in two folders, so an agent that was killed at any point
opens it again: what belongs to a recorded task is kept, what does not is removed.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self
from weakref import WeakValueDictionary

from agent.network import idranges, names, obstacles, ports, rules, spoofing, topology
from agent.network.addresses import Addresses, Subnet
from agent.network.attachment import Attached, NetworkError, Peer, Published
from agent.network.firewall import Firewall
from agent.network.overlay import Overlay
from agent.network.peering import Underlay
from agent.network.peers import Peers
from agent.network.policy import policy
from agent.network.pool import Pool
from agent.network.publishing import Publishing
from agent.network.records import Record, Records
from agent.network.services.reserved import RoutePorts
from agent.network.topology import RemoveSlot, Slot
from agent.network.workbench import Workbench
from orch.model.assignment import EndpointSection
from orch.model.names import ServiceName

DEFAULT_POOL_SIZE = 16
DEFAULT_UNDERLAY = Underlay()
NO_ROUTES = RoutePorts()
HOST_RESOLVERS = Path("/etc/resolv.conf")


class Network:
    """Made by `open`. One per network namespace and per run_dir."""

    def __init__(
        self,
        run_dir: Path,
        subnets: Sequence[Subnet],
        records: Records,
        workbench: Workbench,
        peers: Peers,
        pool: Pool,
        addresses: Addresses,
        firewall: Firewall,
        policy_: policy.Policy,
        resolver: names.Names,
    ) -> None:
        """Use `open`."""
        self._folder = run_dir / "netns"
        self._subnets = subnets
        self._records = records
        self._workbench = workbench
        self._workshop = workbench.workshop
        self._peers = peers
        self._pool = pool
        self._addresses = addresses
        self._firewall = firewall
        self._publishing = Publishing(firewall)
        self._policy = policy_
        self._resolver = resolver
        self._given: dict[str, Record] = {}
        self._broken: set[str] = set()
        self._service_range = firewall.service_range
        self._obstacles: tuple[str, ...] = ()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(
        cls,
        *,
        run_dir: Path,
        state_dir: Path,
        subnets: Sequence[str],
        cluster_range: str,
        node_address: str,
        service_range: str = "",
        pool_size: int = DEFAULT_POOL_SIZE,
        resolv_conf: Path = HOST_RESOLVERS,
        underlay: Underlay = DEFAULT_UNDERLAY,
        route_ports: RoutePorts = NO_ROUTES,
        settle: Callable[[int], None] = lambda _: None,
    ) -> Self:
        """In the node's network namespace. Adopts what is there and removes what is half made.

        `settle` is told the pid of orch-dns, which is to outlive the agent. Where HTTP routes are served nothing
        else is led.
        """
        parsed = [Subnet.parse(text) for text in subnets]
        workbench = await Workbench.open(run_dir / "netns", parsed)
        overlay = await workbench.do(Overlay, parsed, node_address, underlay)
        addresses = Addresses(parsed)
        network = cls(
            run_dir,
            parsed,
            Records(state_dir / "network"),
            workbench,
            Peers(workbench, overlay, underlay),
            Pool(pool_size, addresses, workbench),
            addresses,
            Firewall(_place(parsed, cluster_range, service_range), route_ports),
            policy.of_node(topology.BRIDGE, cluster_range, service_range, parsed),
            names.Names(
                run_dir / "dns",
                [each.own for each in parsed],
                [cluster_range, service_range],
                resolv_conf,
                settle,
            ),
        )
        try:
            await network._adopt()
        except BaseException:
            await network._peers.close()
            await workbench.close()
            raise
        return network

    def attached(self) -> dict[str, Attached]:
        """Every task that has a place, by its key."""
        return {task: self._attached(record) for task, record in self._given.items()}

    async def attach(self, task: str) -> Attached:
        """The task's place; the same one however often it is asked for, until `detach`."""
        async with self._turn(task):
            record = self._given.get(task)
            if record is None:
                record = await self._give(task)
            elif task in self._broken:
                await self._pool.remake(Slot(record.addresses))
                self._broken.discard(task)
            await self._policy.attached(task, record.addresses)
            return self._attached(record)

    async def detach(self, task: str) -> None:
        """The task's place is gone for callers at once; the kernel's part follows in the background."""
        await self.unpublish(task)
        async with self._turn(task):
            record = self._given.pop(task, None)
            if record is not None:
                self._records.forget(task)
                self._broken.discard(task)
                try:
                    await self._policy.detached(record.addresses)
                finally:
                    self._pool.give_back(Slot(record.addresses))

    async def publish(self, task: str, published: Sequence[Published]) -> None:
        """Exactly these ports of the node lead to the task from now on.

        Raises NetworkError naming a port that another process or task has; then nothing has changed.
        """
        for each in published:
            ports.check_sense(each)
        async with self._turn(task):
            record = self._given.get(task)
            if record is None:
                raise NetworkError(f"cannot publish ports of {task}: it is not attached")
            wanted = replace(record, published=tuple(published))
            self._publishing.check(record, wanted)
            self._keep(wanted)
            self._publishing.change(record, wanted)
            try:
                await self._firewall.commit()
            except BaseException:
                self._publishing.change(wanted, record)
                self._keep(record)
                raise

    async def unpublish(self, task: str) -> None:
        """Idempotent; raises NetworkError until the kernel has let go of the ports too."""
        async with self._turn(task):
            record = self._given.get(task)
            if record is not None and record.published:
                shut = replace(record, published=())
                self._publishing.change(record, shut)
                self._given[task] = shut
                with contextlib.suppress(OSError):  # a full disk keeps nobody's task from ending
                    self._records.write(shut)
            await self._firewall.commit()

    async def set_peers(self, peers: Sequence[Peer]) -> None:
        """What leads to the subnets of the other nodes, and to no others; raises NetworkError naming who is cut off."""
        await self._peers.set(peers)

    async def set_services(self, section: EndpointSection) -> None:
        """Virtual addresses and published ports lead to whom the section says; returns when the kernel has it."""
        await self._firewall.set_services(section)

    def set_owners(self, owners: Mapping[str, ServiceName]) -> None:
        """Of which service the tasks are that may be attached, by key."""
        self._policy.set_owners(owners)

    async def set_policy(self, section: EndpointSection) -> None:
        """Who may reach whom is as the services say; returns when the kernel has it."""
        await self._policy.tell(section.services)

    def problems(self) -> tuple[str, ...]:
        """What of the node keeps its network from being as it should, a sentence each; empty where nothing does."""
        return (*self._firewall.problems(), *self._peers.problems, *self._obstacles)

    async def look_around(self) -> None:
        """What others have done to the node's packet rules and settings is mended, or becomes a problem."""
        await self._firewall.verify()
        await self._peers.look_again()
        self._obstacles = await asyncio.to_thread(obstacles.look)

    async def verify_policy(self) -> bool:
        """Whether the rules of set_policy are there; where somebody has flushed them they are written anew."""
        return await self._policy.verify()

    async def set_names(self, lines: Mapping[str, str]) -> None:
        """All services, as agent.names says them; only what has changed goes to orch-dns."""
        await self._resolver.set(lines)

    def addresses_of(self, task: str) -> tuple[str, ...]:
        """One of each family; none where the task is not attached."""
        record = self._given.get(task)
        return record.addresses if record is not None else ()

    async def socket_inside(self, task: str, family: int, kind: int) -> socket.socket:
        """A socket of the task's own network, as if one of its processes had made it; it never blocks.

        Raises NetworkError where the task has no place.
        """
        record = self._given.get(task)
        if record is None:
            raise NetworkError(f"{task} is not attached to the network")
        return await self._workbench.do(self._workshop.socket_inside, Slot(record.addresses), family, kind)

    async def settle(self) -> None:
        """Returns when nothing is left of the tasks that were detached."""
        await self._pool.settle()

    async def close(self) -> None:
        """Leaves tasks, rules, routes and orch-dns in place."""
        await self._pool.close()
        self._firewall.close()
        self._resolver.close()
        self._policy.close()
        await self._peers.close()
        await self._workbench.close()

    async def cleanup(self) -> None:
        """Removes all that was ever made, and ends orch-dns."""
        await self._pool.close()
        await self._resolver.end()
        await self._firewall.remove()
        await self._policy.remove()
        await asyncio.to_thread(spoofing.remove)
        seen = await self._workbench.do(self._workshop.seen)
        await self._workbench.do(self._workshop.remove, _names(topology.leftovers((), seen)))
        await self._peers.remove()
        await self._workbench.do(self._workshop.tear_down)
        await self._workbench.close()
        self._records.remove()
        self._given.clear()

    async def _adopt(self) -> None:
        await self._workbench.do(self._workshop.prepare, await self._peers.first_mtu())
        await self._guard()
        await self._peers.prepare()
        if self._service_range:
            await self._workbench.do(self._workshop.route_services, self._service_range)
        starting = asyncio.create_task(self._resolver.start())
        try:
            await self._adopt_slots()
            await starting
        except BaseException:  # an agent that is told to end does not wait for orch-dns
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise
        self._pool.fill()
        self._obstacles = await asyncio.to_thread(obstacles.look)

    async def _guard(self) -> None:
        """Nobody sends as somebody else, from before there is anybody."""
        if self._subnets[0].family == 4:
            try:
                await asyncio.to_thread(spoofing.install, *self._subnets)
            except OSError as error:
                raise NetworkError(f"packets of tasks cannot be checked for their sender: {error}") from error

    async def _adopt_slots(self) -> None:
        for record in self._records.read():
            if record.addresses and all(map(self._is_ours, record.addresses)):
                self._given[record.task] = record
                self._addresses.keep(record.addresses)
                self._publishing.change(replace(record, published=()), record)
            else:
                self._records.forget(record.task)
        await self._firewall.commit()
        await self._policy.open({task: each.addresses for task, each in self._given.items()})
        seen = await self._workbench.do(self._workshop.seen)
        slots = {record.task: Slot(record.addresses) for record in self._given.values()}
        self._broken = {task for task, slot in slots.items() if not seen.whole(slot)}
        await self._workbench.do(self._workshop.remove, _names(topology.leftovers(slots.values(), seen)))

    def _turn(self, task: str) -> asyncio.Lock:
        """One thing at a time with a task; forgotten when nobody waits for it."""
        lock = self._turns.get(task)
        if lock is None:
            lock = self._turns[task] = asyncio.Lock()
        return lock

    async def _give(self, task: str) -> Record:
        slot = await self._pool.take()
        record = Record(task, slot.addresses)
        try:
            self._keep(record)
        except OSError as error:
            self._pool.give_back(slot)
            raise NetworkError(f"cannot record the addresses of {task}: {error}") from error
        return record

    def _keep(self, record: Record) -> None:
        self._records.write(record)
        self._given[record.task] = record

    def _attached(self, record: Record) -> Attached:
        slot = Slot(record.addresses)
        return Attached(
            record.task,
            str(self._folder / slot.name),
            record.addresses,
            self._subnets[0].gateway,
            idranges.first_id(self._subnets[0], record.addresses[0]),
        )

    def _is_ours(self, address: str) -> bool:
        return any(subnet.holds(address) for subnet in self._subnets)


def _place(subnets: Sequence[Subnet], cluster_range: str, service_range: str) -> rules.Place:
    """The packet rules know IPv4 so far."""
    own = [each for each in subnets if each.family == 4]
    networks = tuple(str(each.network) for each in own)
    return rules.Place(topology.BRIDGE, cluster_range, service_range, networks, own[0].gateway)


def _names(operations: Iterable[RemoveSlot]) -> list[str]:
    return [each.name for each in operations]
