"""Builds the agent from its rooms, in the order in which they need each other, and takes it apart again."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from agent import clock, contact, facts
from agent.answers import place, top
from agent.answers.answers import Answers
from agent.answers.place import Refused
from agent.answers.reaching import watch
from agent.answers.reaching.answering import Reaching
from agent.assignments import Assignments
from agent.builds import executing
from agent.builds.answering import Builds
from agent.duties import Duties
from agent.errors import CannotStart
from agent.housekeeping import Housekeeping
from agent.images.giving import Giving
from agent.images.images import Images
from agent.images.sharing import Sharing
from agent.ledger import Ledger, next_incarnation
from agent.membership import Membership
from agent.network.network import Network
from agent.network.services.reserved import RoutePorts
from agent.own_registry import OwnRegistry
from agent.probes.prober import Prober
from agent.reconciler.files import Files
from agent.reconciler.loop import Loop
from agent.reconciler.rooms import Rooms
from agent.reconciler.volumes import Volumes
from agent.routing import Routing
from agent.runtime.client import Runtime
from agent.runtime.container import Exited
from agent.session.conversation import Conversation
from agent.session.outbox import Outbox
from agent.settings import Settings
from orch.model.assignment import PeerSection
from orch.oci.failure import ImageFailure

_log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0


class Node:
    """What runs on a node. It may be killed at any time; what it started goes on without it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing = contextlib.AsyncExitStack()
        self._has_begun = False
        self._membership = Membership(settings)
        self._own_registry = OwnRegistry(lambda: self._membership.credentials)
        self._open: Network | None = None
        self._watch = watch.Watch(self._surroundings)

    async def start(self) -> None:
        """Everything but the conversation. What ran before is adopted."""
        settings = self._settings
        await self._membership.open()
        self._ledger = Ledger.open(settings.state_dir)
        self._closing.push_async_callback(self._ledger.close)
        incarnation = next_incarnation(self._ledger, clock.now())
        self._outbox = Outbox()
        files = Files(settings.run_dir, settings.resolv_conf)
        files.open()
        self._contact = contact.Contact(settings.run_dir, facts.boot_id())
        self._routing = Routing(settings.run_dir, files, settings.http_port, settings.https_port)
        self._closing.push_async_callback(self._routing.close)
        self._rooms = await self._open_rooms(files)
        self._routing.open(self._runtime.take_in)
        self._loop = Loop(
            self._rooms,
            node=settings.name,
            incarnation=incarnation,
            clock=clock.now,
            publish=self._outbox.put,
            remember=lambda key, data: self._ledger.keep("note", key, data),
        )
        self._has_begun = True
        self._closing.push_async_callback(self._loop.close)
        self._loop.contact = self._contact.last()
        self._assignments = Assignments(
            self._ledger, files, self._rooms, self._loop, clock.now, self._open_network, self._routing.set
        )
        await self._assignments.recall()
        self._housekeeping = Housekeeping(
            self._loop, self._assignments, self._images, settings.image_marks, lambda: self._open
        )
        self._duties = Duties(
            settings,
            incarnation,
            address=self._address,
            ledger=self._ledger,
            assignments=self._assignments,
            loop=self._loop,
            contact=self._contact,
            network=lambda: self._open,
            watch=self._watch,
            routing=self._routing,
            registry=self._own_registry,
            housekeeping=self._housekeeping,
            answers=self._answers(),
        )

    async def work(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Until told to stop; containers keep running."""
        member = self._membership
        addresses = member.credentials.addresses
        conversation = Conversation(addresses, member.connect, self._duties, self._outbox)
        tasks = [
            asyncio.create_task(conversation.keep(), name="conversation"),
            asyncio.create_task(member.keep_renewed(), name="renewal"),
            asyncio.create_task(member.join_again(conversation.expelled), name="joining again"),
            asyncio.create_task(self._housekeeping.look_around(), name="look around"),
            asyncio.create_task(self._housekeeping.look_at_network(), name="look at the network"),
            asyncio.create_task(self._watch.keep(), name="watching the network"),
            asyncio.create_task(self._assignments.try_again(), name="trying again"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        ready()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """In the opposite order. Nothing depends on it: an agent may also just be killed."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closing.aclose()
        except TimeoutError:
            _log.warning("the agent ends though not all of it was closed within %g s", CLOSE_SECONDS)

    # -- parts -----------------------------------------------------------------------------------------

    async def _open_rooms(self, files: Files) -> Rooms:
        settings = self._settings
        runtime = await Runtime.open(
            run_dir=settings.run_dir / "runtime",
            state_dir=settings.state_dir / "runtime",
            cgroup_root=settings.cgroup_root,
            on_exit=self._exited,
        )
        self._closing.push_async_callback(runtime.close)
        self._runtime = runtime
        images = await Images.open(
            settings.state_dir / "images",
            routes_=settings.registries,
            door=self._own_registry.door,
            giving=self._giving(),
        )
        self._closing.push_async_callback(images.close)
        self._images = images
        await self._import(images)
        prober = Prober(runtime)
        self._closing.push_async_callback(prober.close)
        logs = settings.state_dir / "logs"
        logs.mkdir(mode=0o750, parents=True, exist_ok=True)
        volumes = Volumes(settings.state_dir / "volumes")
        return Rooms(runtime, images, files, prober, logs, volumes)

    def _giving(self) -> Giving | None:
        """To other nodes, what this one gets from the cluster's own registry."""
        if not self._settings.share_port:
            return None

        def identity() -> tuple[bytes, bytes, bytes]:
            held = self._membership.credentials
            return held.certificate, held.key, held.ca

        directory = self._settings.state_dir / "images"
        giving = Giving(Sharing(directory), self._address, self._settings.share_port, identity)
        self._own_registry.offer = lambda: giving.offer
        return giving

    async def _import(self, images: Images) -> None:
        for archive in self._settings.imports:
            try:
                found = await images.import_tar(archive)
            except (ImageFailure, OSError) as error:
                raise CannotStart(f"cannot import {archive}: {error}") from error
            _log.info("imported from %s: %s", archive, ", ".join(each.reference for each in found))

    def _exited(self, one: Exited) -> None:
        """What ended before there is a loop, the loop finds in the runtime's journal."""
        if self._has_begun:
            self._loop.exited(one)

    async def _open_network(self, section: PeerSection) -> Network:
        settings = self._settings
        network = await Network.open(
            run_dir=settings.run_dir,
            state_dir=settings.state_dir,
            subnets=section.subnets,
            cluster_range=section.task_range,
            service_range=section.service_range,
            node_address=self._address(),
            pool_size=settings.pool_size,
            resolv_conf=settings.resolv_conf,
            underlay=settings.underlay,
            route_ports=RoutePorts(settings.http_port, settings.https_port),
            settle=self._runtime.take_in,
        )
        self._closing.push_async_callback(network.close)
        self._open = network
        return network

    def _address(self) -> str:
        """Where other nodes reach this one."""
        return facts.address(self._settings.address, self._membership.credentials.addresses)

    def _place(self, key: str, name: str) -> place.Place | None:
        asked, seen = self._loop.look_up(key)
        return place.of(asked, seen, name) if asked and seen else None

    def _answers(self) -> Answers:
        """Who answers users."""
        name, cpu = self._settings.name, facts.cpu_of_machine(self._settings.cpu)
        meter = top.Meter(name, cpu, self._runtime.stats, self._loop.look_up)
        library = self._images.library
        builds, under_way = self._builds()
        reaching = Reaching(name, self._address, self._insides, under_way)
        logs = self._rooms.logs
        return Answers(self._runtime, logs, self._place, builds, meter, library, self._insides, reaching)

    def _builds(self) -> tuple[Builds, set[str]]:
        """And the keys of what has a place in the network without being a task."""
        settings = self._settings
        hands = executing.Hands(self._runtime, self._network, settings.run_dir / "build-secrets")
        self._rooms.others = hands.under_way
        directory = settings.state_dir / "builds"
        builds = Builds(directory, self._images, self._own_registry, settings.registries, hands)
        builds.open()
        return builds, hands.under_way

    def _network(self) -> executing.Network:
        if self._rooms.network is None:
            raise RuntimeError("the node has no address range yet")
        return self._rooms.network

    def _surroundings(self) -> watch.Surroundings | None:
        section = self._assignments.peers()
        if self._open is None or section is None:
            return None
        name, gateway = self._settings.name, watch.gateway(section.subnets)
        return watch.Surroundings(name, self._address(), gateway, section.peers, self._open)

    def _insides(self) -> Network:
        if self._open is None:
            raise Refused("the node has no address range yet")
        return self._open
