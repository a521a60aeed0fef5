"""Keeps the policy of services in the kernel: a table of its own, changed by difference.

Written anew once in an agent's life, in one transaction, so that there is no moment without it. While no service has
limits it is dormant: packets do not pass its chains.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address

from agent.network import nfnetlink
from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError
from agent.network.policy import limits, text
from agent.network.policy.limits import Chain
from agent.network.policy.wanted import Book, Element, Elements, Holder, IsOurs
from agent.network.services import kernel, messages
from orch.model.assignment import ServiceEndpoints
from orch.model.names import ServiceName

_log = logging.getLogger(__name__)


class Policy:
    """One per network namespace. What changes it is done one after the other."""

    def __init__(self, place: text.Place, is_ours: IsOurs) -> None:
        """Changes nothing yet."""
        self._place = place
        self._is_ours = is_ours
        self._book = Book()
        self._socket: nfnetlink.Socket | None = None
        self._chains: dict[str, Chain] | None = None
        """As they are in the kernel; None where that is not known: then the table is written anew."""
        self._elements: dict[Element, tuple[str, Holder]] = {}
        """In the kernel: the chain that it leads to, and who gave it last."""
        self._given: dict[Holder, Elements] = {}
        self._sets: frozenset[str] = frozenset()
        """That chains ask."""
        self._is_dormant = True
        """As far as we know; to wake what is awake changes nothing."""
        self._turn = asyncio.Lock()

    async def open(self, attached: Mapping[str, Sequence[str]]) -> None:
        """With the tasks that are there, by key; nothing is known of services yet."""
        async with self._turn:
            for task, addresses in attached.items():
                self._book.local.update(dict.fromkeys(addresses, task))
            if not attached:
                await self._write_anew()
            # What an earlier life of the agent wrote stays until we are told of services: it knew more.

    def set_owners(self, owners: Mapping[str, ServiceName]) -> None:
        """Whose the tasks are that may be attached, by key; one that is not in it is no service's."""
        book = self._book
        kept = {task: book.owners[task] for task in book.local.values() if task in book.owners}
        book.owners = kept | dict(owners)

    async def attached(self, task: str, addresses: Sequence[str]) -> None:
        """Returns when the kernel knows whom the task may reach, and who may reach it."""
        async with self._turn:
            self._book.local.update(dict.fromkeys(addresses, task))
            await self._follow_local(addresses)

    async def detached(self, addresses: Sequence[str]) -> None:
        """Nobody has them any more; idempotent."""
        async with self._turn:
            for address in addresses:
                self._book.local.pop(address, None)
            await self._follow_local(addresses)

    async def tell(self, services: tuple[ServiceEndpoints, ...]) -> None:
        """All services. Returns when the kernel has it."""
        async with self._turn:
            book = self._book
            had_limits = bool(book.limits)
            changed = book.told(services)
            if self._chains is None or had_limits != bool(book.limits):
                await self._write_anew()
                return
            affected: set[Holder] = {*changed}
            before = self._sets
            if book.chains.keys() != self._chains.keys():
                self._sets = limits.sets_in(book.chains.values())
                affected |= book.in_sets(self._sets ^ before)
            affected |= {address for address, task in book.local.items() if book.owners.get(task) in affected}
            await self._follow(affected)

    async def verify(self) -> bool:
        """Whether the table is there; where somebody flushed it, it is written anew."""
        async with self._turn:
            if self._chains is None:
                return True
            found = await asyncio.to_thread(self._present)
            if not found:
                await self._write_anew()
            return found

    async def remove(self) -> None:
        """Nothing of ours stays."""
        async with self._turn:
            self._chains, self._elements, self._given = None, {}, {}
            await asyncio.to_thread(kernel.run_nft, text.removal())
            self.close()

    def close(self) -> None:
        """Leaves everything in place; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _follow_local(self, addresses: Sequence[str]) -> None:
        if self._chains is not None:
            await self._follow(set(addresses))
            return
        new: Elements = {}
        for address in addresses:
            new |= self._book.of_local(address, frozenset())
        try:  # to the table of an earlier life of the agent, which is not known
            await _shielded(lambda: self._awake(lambda: self._transact((), new)))
        except OSError:
            await self._write_anew()

    async def _follow(self, affected: set[Holder]) -> None:
        """Only what these give is looked at."""
        before = chains = self._chains or {}
        given = {each: self._of(each) for each in affected}
        lost, new = self._difference(given)
        if before.keys() != self._book.chains.keys():
            chains = dict(self._book.chains)
            work = partial(kernel.run_nft, text.change(self._place, before, chains, lost, new))
        elif lost or new:
            work = partial(self._transact, lost, new)
        else:
            self._note(given, lost)  # not a thread's while for nothing: a task that starts waits here
            return
        self._chains = None
        try:
            await _shielded(partial(self._awake, work) if new or chains else work)
        except (OSError, NetworkError) as refusal:
            _log.warning("the policy in the kernel is not as it was left (%s): it is written anew", refusal)
            await self._write_anew()
            return
        self._chains = chains
        self._note(given, lost)
        if not self._chains and not self._elements and not self._is_dormant:
            await _shielded(lambda: self._set_dormant(True))

    async def _write_anew(self) -> None:
        """The whole table, in one transaction."""
        self._chains = None
        chains = dict(self._book.chains)
        self._sets = limits.sets_in(chains.values())
        given = await asyncio.to_thread(self._book.elements, self._is_ours)
        whole: Elements = {}
        for each in given.values():
            whole |= each
        await _shielded(lambda: kernel.run_nft(text.whole(self._place, chains, whole)))
        self._elements, self._given, self._chains = {}, {}, chains
        self._is_dormant = not chains and not whole
        self._note(given, ())

    def _of(self, holder: Holder) -> Elements:
        if isinstance(holder, str):
            return self._book.of_local(holder, self._sets)
        return self._book.of_service(holder, self._sets, self._is_ours)

    def _difference(self, given: Mapping[Holder, Elements]) -> tuple[list[Element], Elements]:
        """Elements that go or change, and that come or change. What another gave since is not taken away."""
        new: Elements = {}
        for after in given.values():
            new |= {
                each: chain
                for each, chain in after.items()
                if each not in self._elements or self._elements[each][0] != chain
            }
        coming = {each for after in given.values() for each in after}
        lost = [
            each
            for holder in given
            for each in self._given.get(holder, ())
            if each not in coming and self._elements[each][1] == holder
        ]
        return [*lost, *(each for each in new if each in self._elements)], new

    def _note(self, given: Mapping[Holder, Elements], lost: Iterable[Element]) -> None:
        for each in lost:
            self._elements.pop(each, None)
        for holder, after in given.items():
            if after:
                self._given[holder] = after
                self._elements.update((each, (chain, holder)) for each, chain in after.items())
            else:
                self._given.pop(holder, None)

    def _awake(self, work: Callable[[], None]) -> None:
        """It judges from before there is anybody to judge."""
        if self._is_dormant:
            self._set_dormant(False)
        work()

    def _set_dormant(self, dormant: bool) -> None:
        self._open().transact(*messages.transaction([messages.table(text.TABLE, dormant=dormant)]))
        self._is_dormant = dormant

    def _transact(self, lost: Iterable[Element], new: Elements) -> None:
        by_set: dict[str, tuple[list[bytes], list[tuple[bytes, bytes | str]]]] = {}
        for name, key in lost:
            by_set.setdefault(name, ([], []))[0].append(_packed(key))
        for (name, key), chain in new.items():
            by_set.setdefault(name, ([], []))[1].append((_packed(key), chain or b""))
        wishes: list[bytes] = []
        for name, (gone, come) in by_set.items():
            wishes += messages.lost_elements(text.TABLE, name, gone)
            wishes += messages.new_elements(text.TABLE, name, come, messages.JUMP)
        self._open().transact(*messages.transaction(wishes))

    def _present(self) -> bool:
        tables = {messages.read_chain(body) for body in self._open().dump(messages.ask_chains())}
        return (text.TABLE, "passing") in tables

    def _open(self) -> nfnetlink.Socket:
        if self._socket is None:
            self._socket = nfnetlink.Socket()
        return self._socket


def of_node(bridge: str, cluster_range: str, service_range: str, subnets: Sequence[Subnet]) -> Policy:
    """The packet rules know IPv4 so far."""
    own = [each.network for each in subnets if each.family == 4]
    prefixes = {int(each.netmask): int(each.network_address) for each in own}
    return Policy(text.Place(bridge, cluster_range, str(own[0]), service_range), IsOurs(prefixes))


def _packed(key: tuple[str, ...]) -> bytes:
    return b"".join(IPv4Address(each).packed for each in key)


async def _shielded(work: Callable[[], None]) -> None:
    """A thread cannot be stopped, and nobody else may begin beside it."""
    going = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(going)
    except asyncio.CancelledError:
        await asyncio.wait([going])
        raise
