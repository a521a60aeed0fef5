"""Keeps the policy of services in the kernel: a table of its own, changed by difference.

Written anew once in an agent's life, in one transaction, so that there is no moment without it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address

from agent.network import nfnetlink
from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError
from agent.network.policy import limits, text
from agent.network.policy.limits import Chain
from agent.network.policy.wanted import Book, Element, Elements, IsOurs, possible
from agent.network.services import kernel, messages
from orch.model.assignment import ServiceEndpoints
from orch.model.names import ServiceName

_log = logging.getLogger(__name__)
Difference = tuple[list[Element], Elements]
"""Elements that go, and that come."""


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
        self._elements: Elements = {}
        self._turn = asyncio.Lock()

    async def open(self, attached: Mapping[str, Sequence[str]]) -> None:
        """With the tasks that are there, by key; nothing is known of services yet."""
        async with self._turn:
            for task, addresses in attached.items():
                self._book.local.update(dict.fromkeys(addresses, task))
            if not attached:
                await self._bring()
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

    async def set(self, services: tuple[ServiceEndpoints, ...]) -> None:
        """All services. Returns when the kernel has it."""
        async with self._turn:
            chains = self._book.chains if self._chains is not None else None
            changed = self._book.told(services)
            if chains is None or self._chains is None or chains != self._book.chains:
                await self._bring()
            else:
                await self._follow_services(changed)

    async def verify(self) -> bool:
        """Whether the table is there; where somebody flushed it, it is written anew."""
        async with self._turn:
            if self._chains is None:
                return True
            found = await asyncio.to_thread(self._present)
            if not found:
                self._chains = None
                await self._bring()
            return found

    async def remove(self) -> None:
        """Nothing of ours stays."""
        async with self._turn:
            self._chains, self._elements = None, {}
            await asyncio.to_thread(kernel.run_nft, text.removal())
            self.close()

    def close(self) -> None:
        """Leaves everything in place; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _follow_local(self, addresses: Sequence[str]) -> None:
        chains = self._chains or {}
        sets = limits.sets_in(chains.values())
        after: Elements = {}
        for address in addresses:
            after |= self._book.of_local(address, sets)
        if self._chains is not None:
            mine = {each for address in addresses for each in possible(address, sets)}
            await self._apply(mine & self._elements.keys(), after)
        elif after:
            await self._add_to_earlier(after)

    async def _add_to_earlier(self, new: Elements) -> None:
        """To the table of an earlier life of the agent, which is not known; in no case nothing."""
        try:
            await _shielded(lambda: self._transact((), new))
        except OSError:
            await self._bring()

    async def _follow_services(self, changed: Iterable[ServiceName]) -> None:
        """The chains are the same: only who is in which set."""
        whole = await asyncio.to_thread(self._book.elements, self._is_ours) if changed else self._elements
        await self._apply(self._elements.keys(), whole)

    async def _apply(self, before: Iterable[Element], after: Elements) -> None:
        lost = [each for each in before if each not in after or after[each] != self._elements[each]]
        new = {each: chain for each, chain in after.items() if self._elements.get(each) != chain}
        if not lost and not new:
            return
        try:
            await _shielded(lambda: self._transact(lost, new))
        except OSError as refusal:
            _log.warning("the policy in the kernel is not as it was left (%s): it is written anew", refusal)
            self._chains = None
            await self._bring()
            return
        for each in lost:
            self._elements.pop(each, None)
        self._elements |= new

    async def _bring(self) -> None:
        """Another vocabulary: in nft's own words."""
        before, chains = self._chains, self._book.chains
        elements = await asyncio.to_thread(self._book.elements, self._is_ours)
        if before is None:
            said = text.whole(self._place, chains, elements)
        else:
            lost = [each for each, chain in self._elements.items() if elements.get(each) != chain]
            new = {each: chain for each, chain in elements.items() if self._elements.get(each) != chain}
            said = text.change(self._place, before, chains, lost, new)
        self._chains = None
        try:
            await _shielded(lambda: kernel.run_nft(said))
        except NetworkError:
            if before is None:
                raise
            await _shielded(lambda: kernel.run_nft(text.whole(self._place, chains, elements)))
        self._chains, self._elements = chains, elements

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
