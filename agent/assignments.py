"""What the control plane says, taken over section by section: checked, written down, handed to its room."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from agent import names
from agent.ledger import Ledger
from agent.network.attachment import NetworkError, Peer
from agent.network.network import Network
from agent.reconciler import asked, notes
from agent.reconciler.files import Files
from agent.reconciler.loop import Loop
from agent.reconciler.rooms import Rooms
from orch.model.assignment import EndpointSection, FileSection, PeerSection, Section, TaskSection
from orch.model.cluster import Stamp

_log = logging.getLogger(__name__)

OpenNetwork = Callable[[PeerSection], Awaitable[Network]]
LeadHttp = Callable[[EndpointSection], Awaitable[None]]
NO_RANGE = "the node's address range"
AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a network that could not be set up is tried again; the last one goes on."""
NO_CONTACT = "a word from the control plane (onNodeLoss.stopAfter)"


class Assignments:
    def __init__(
        self,
        ledger: Ledger,
        files: Files,
        rooms: Rooms,
        loop: Loop,
        clock: Callable[[], float],
        open_network: OpenNetwork,
        lead_http: LeadHttp,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._rooms = rooms
        self._loop = loop
        self._clock = clock
        self._open_network = open_network
        self._lead_http = lead_http
        self._tasks: TaskSection | None = None
        self._peers: PeerSection | None = None
        self._endpoints: EndpointSection | None = None
        self._lines = names.Lines()
        self._have: frozenset[asked.FileKey] = frozenset()
        self._network: Network | None = None
        self._peers_turn = asyncio.Lock()
        self._unmet: PeerSection | None = None
        """Peers that could not be followed yet."""
        self._unmet_endpoints: EndpointSection | None = None
        self._has_unmet = asyncio.Event()
        self._is_fresh = False
        self._is_swept = False
        self.problem = ""

    async def recall(self) -> None:
        """What the ledger holds from before: it is gone on with, but nothing is removed because of it."""
        files: FileSection | None = self._ledger.section("files")
        self._have = await asyncio.to_thread(self._files.keep, files.files if files else ())
        self._tasks = self._ledger.section("tasks")
        self._endpoints = self._ledger.section("endpoints")
        if (peers := self._ledger.section("peers")) is not None:
            try:
                await self._follow(peers)
            except (NetworkError, OSError) as error:
                self.problem = f"the network could not be set up: {error}"
        kept = {key: found for key, data in self._ledger.kept("note").items() if (found := _note(key, data))}
        attached = self._network.attached() if self._network else {}
        containers = await self._rooms.runtime.containers()
        self._loop.adopt(self._asked(), containers, attached, kept)

    async def take(self, section: Section) -> str:
        """The refusal; empty when it was taken over."""
        if isinstance(section, TaskSection) and not asked.is_whole(section):
            return "it is not whole: a task has no template"
        if why := self._ledger.accept(section):
            self.problem = f"refused what the control plane said: {why}"
            return why
        try:
            await self._apply(section)
        except (NetworkError, OSError) as error:
            self.problem = f"what the control plane said could not be carried out: {error}"
            return self.problem
        self.problem = ""
        await self._ledger.settle()
        return ""

    async def _apply(self, section: Section) -> None:
        match section:
            case TaskSection():
                self._tasks, self._is_fresh = section, True
                self._ask()
                await self._sweep_once()
            case FileSection():
                self._have = await asyncio.to_thread(self._files.keep, section.files)
                self._ask()
                if self._endpoints is not None:
                    await self._lead_http(self._endpoints)  # a certificate may be new
            case EndpointSection():
                self._endpoints = self._unmet_endpoints = section
                await self._lead()
            case PeerSection():
                await self._follow(section)
                self._ask()
                await self._sweep_once()

    def heard(self) -> None:
        """The control plane is there."""
        first = self._loop.contact is None
        self._loop.heard()
        if first:
            self._ask()

    def kept_images(self) -> tuple[str, ...]:
        """What the services of our tasks may go back to."""
        return self._tasks.kept_images if self._tasks else ()

    def peers(self) -> PeerSection | None:
        """The node's own ranges and the other nodes, as last told."""
        return self._peers

    def accepted(self) -> Stamp | None:
        """The newest stamp that was taken over."""
        return self._ledger.accepted

    async def _sweep_once(self) -> None:
        """What nobody asks for goes when the control plane has said in this agent's life what it asks for."""
        if self._is_fresh and not self._is_swept and self._network is not None:
            self._is_swept = True
            await self._loop.remove_leftovers()

    def _ask(self) -> None:
        if self._tasks is not None:
            self._tell_owners()
            self._loop.ask(self._asked())

    def _tell_owners(self) -> None:
        """Before a task of them is attached: what its service says of its network holds from the beginning."""
        if self._network is not None and self._tasks is not None:
            self._network.set_owners({each.id.key: each.id.owner for each in self._tasks.tasks})

    def _asked(self) -> dict[str, asked.Asked]:
        if self._tasks is None:
            return {}
        missing = () if self._network else (NO_RANGE,)
        alone = (NO_CONTACT,) if self._loop.contact is None else ()
        return asked.tasks_of(self._tasks, self._have, self._loop.asked, self._clock(), missing, alone)

    async def try_again(self) -> None:
        """For ever: nobody says the same section twice, and what stood in the way may be gone."""
        while True:
            await self._has_unmet.wait()
            self._has_unmet.clear()
            pauses = iter(AGAIN_SECONDS)
            while self._unmet is not None or self._unmet_endpoints is not None:
                await asyncio.sleep(next(pauses, AGAIN_SECONDS[-1]))
                try:
                    await self._follow_again()
                except (NetworkError, OSError) as error:
                    self.problem = f"the network could not be set up: {error}"

    async def _follow_again(self) -> None:
        async with self._peers_turn:
            if self._unmet is not None:
                await self._take_peers(self._unmet)
                self._unmet = None
        if self._unmet_endpoints is not None:
            await self._lead()
        self.problem = ""
        self._ask()
        await self._sweep_once()

    async def _follow(self, section: PeerSection) -> None:
        async with self._peers_turn:
            self._unmet = section
            self._has_unmet.set()
            await self._take_peers(section)
            self._unmet = None
            self._has_unmet.clear()

    async def _take_peers(self, section: PeerSection) -> None:
        if not section.subnets:
            return
        if self._network is None:
            self._network = self._rooms.network = await self._open_network(section)
            self._tell_owners()
            self._unmet_endpoints = self._endpoints
        elif self._peers is not None and section.subnets != self._peers.subnets:
            self.problem = "the node's address range has changed: restart orch-agent to use the new one"
        self._peers = section
        await self._network.set_peers([Peer(each.name, each.address, each.subnets) for each in section.peers])
        if self._unmet_endpoints is not None:
            await self._lead()

    async def _lead(self) -> None:
        """Connections, rules and names are as the endpoints say. What fails keeps nothing else from being done."""
        network, section = self._network, self._endpoints
        if network is None or section is None:
            return
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            partial(network.set_services, section),
            partial(network.set_policy, section),
            partial(network.set_names, self._lines.of(section)),
            partial(self._lead_http, section),
        )
        failures = []
        for step in steps:
            try:
                await step()
            except (NetworkError, OSError) as error:
                failures.append(str(error))
            except Exception as error:  # whatever is wrong with one of them, the node is not lost by it
                _log.exception("what the endpoints ask for failed")
                failures.append(f"{type(error).__name__}: {error}; the agent's log has the details")
        if failures:
            self._has_unmet.set()
            raise NetworkError("; ".join(failures))
        if self._unmet_endpoints is section:
            self._unmet_endpoints = None


def _note(key: str, data: bytes) -> notes.Notes | None:
    try:
        return notes.read(data)
    except (ValueError, TypeError, KeyError) as error:
        _log.warning("what was noted of task %s cannot be read: %r", key, error)
        return None
