"""Builds the agent from its rooms, in the order in which they need each other, and takes it apart again."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from ipaddress import ip_network

import grpc.aio

from agent import clock, contact, facts
from agent.answers import top
from agent.answers.answers import Answers
from agent.answers.place import Place, Refused
from agent.answers.reaching import watch
from agent.answers.reaching.answering import Reaching
from agent.assignments import Assignments
from agent.builds import executing
from agent.builds.answering import Builds
from agent.errors import CannotStart
from agent.images.giving import Giving
from agent.images.images import Images
from agent.images.sharing import Sharing
from agent.ledger import Ledger, next_incarnation
from agent.membership import Membership
from agent.network.attachment import NetworkError
from agent.network.network import Network
from agent.network.services.reserved import RoutePorts
from agent.own_registry import OwnRegistry
from agent.probes.prober import Prober
from agent.reconciler import configuration, perform
from agent.reconciler.asked import Asked
from agent.reconciler.files import Files
from agent.reconciler.loop import Loop
from agent.reconciler.rooms import Rooms
from agent.reconciler.volumes import Volumes
from agent.routing import Routing
from agent.runtime.client import Runtime, RuntimeBroken
from agent.runtime.container import Exited
from agent.session.conversation import Conversation
from agent.session.outbox import Outbox
from agent.settings import Settings
from orch import wire
from orch.model.assignment import PeerSection, Section
from orch.oci.failure import ImageFailure
from orch.v1 import sessions_pb2

_log = logging.getLogger(__name__)

LOOK_AROUND_SECONDS = 60.0
LOOK_AT_NETWORK_SECONDS = 10.0
"""Nothing says that somebody flushed the host's packet rules or started a firewall."""
CLOSE_SECONDS = 5.0


class Node:
    """What runs on a node. It may be killed at any time; what it started goes on without it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing = contextlib.AsyncExitStack()
        self._has_begun = False
        self._membership = Membership(settings)
        self.own_registry = OwnRegistry(lambda: self._membership.credentials)
        self._happened: list[sessions_pb2.NodeEvent] = []
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
        self._duties = _Duties(self, incarnation)

    async def work(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Until told to stop; containers keep running."""
        member = self._membership
        addresses = member.credentials.addresses
        conversation = Conversation(addresses, member.connect, self._duties, self._outbox)
        tasks = [
            asyncio.create_task(conversation.keep(), name="conversation"),
            asyncio.create_task(member.keep_renewed(), name="renewal"),
            asyncio.create_task(member.join_again(conversation.expelled), name="joining again"),
            asyncio.create_task(self._look_around(), name="look around"),
            asyncio.create_task(self._look_at_network(), name="look at the network"),
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
            door=self.own_registry.door,
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
        giving = Giving(Sharing(directory), self.address, self._settings.share_port, identity)
        self.own_registry.offer = lambda: giving.offer
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
            node_address=self.address(),
            pool_size=settings.pool_size,
            resolv_conf=settings.resolv_conf,
            underlay=settings.underlay,
            route_ports=RoutePorts(settings.http_port, settings.https_port),
            settle=self._runtime.take_in,
        )
        self._closing.push_async_callback(network.close)
        self._open = network
        return network

    def address(self) -> str:
        """Where other nodes reach this one."""
        if self._settings.address:
            return self._settings.address
        with (
            contextlib.suppress(OSError, IndexError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
        ):
            host, _, port = self._membership.credentials.addresses[0].rpartition(":")
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
        return ""

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AROUND_SECONDS)
            await self._tidy_images()
            try:
                await self._loop.look_around()
            except RuntimeBroken as error:
                _log.warning("looking around failed: %s", error)

    async def _look_at_network(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_NETWORK_SECONDS)
            if self._open is None:
                continue
            try:
                await self._open.look_around()
            except (NetworkError, OSError) as error:
                _log.warning("looking at the network failed: %s", error)

    async def _tidy_images(self) -> None:
        """Room on the disk, without what tasks have or services may go back to."""
        digests, references = self._loop.images_in_use()
        references.update(self._assignments.kept_images())
        wanted = {image.digest for each in references if (image := self._images.find(each))}
        try:
            freed = await self._images.tidy(digests | wanted, self._settings.image_marks)
        except OSError as error:
            _log.warning("unused images could not be removed: %s", error)
            return
        if freed.images:
            _log.info("%s", freed)
            self._happened.append(sessions_pb2.NodeEvent(reason="ImagesRemoved", message=str(freed)))

    async def traffic(self) -> sessions_pb2.Traffic | None:
        """What is new of HTTP requests; told once."""
        return await self._routing.traffic()

    def happened(self) -> list[sessions_pb2.NodeEvent]:
        """What is to be told as events; told once."""
        told, self._happened = self._happened, []
        return told

    def place(self, key: str, name: str) -> Place | None:
        """A container, for logs and commands."""
        asked, seen = self._loop.look_up(key)
        if asked is None or seen is None:
            return None
        spec = next((each for each in asked.all_containers() if each.name == (name or _first(asked))), None)
        if spec is None:
            return None
        image = seen.images.get(spec.image)
        words = (
            configuration.environment(spec, image.config, perform.account_of(spec, seen), asked.hostname)
            if image
            else spec.environment
        )
        layers = image.layers if image else ()
        return Place(asked, seen.container(spec.name), layers, dict(words), seen.final is not None)

    def hello(self, incarnation: int) -> sessions_pb2.Hello:
        """Who and what we are, and all our tasks."""
        settings = self._settings
        accepted = self._assignments.accepted()
        return sessions_pb2.Hello(
            node=settings.name,
            incarnation=incarnation,
            facts=wire.to_wire(facts.gather(settings, self.address())),
            labels=settings.labels,
            accepted=wire.to_wire(accepted) if accepted else None,
            statuses=[wire.to_wire(status) for status in self._loop.statuses()],
            problems=self.problems(),
        )

    def problems(self) -> list[str]:
        """What is wrong with this node."""
        own = [self._ledger.problem, self._assignments.problem]
        found = facts.problems(self._settings.state_dir)
        network = self._open.problems() if self._open is not None else ()
        here = (*self._routing.problems(), *network, *self._watch.problems())
        return [*found, *(each for each in own if each), *here]

    async def take(self, section: Section) -> str:
        """A section of the control plane's."""
        return await self._assignments.take(section)

    def heard(self) -> None:
        """The control plane is there."""
        self._assignments.heard()
        self._contact.note(clock.now())

    def answers(self) -> Answers:
        """Who answers users."""
        name, cpu = self._settings.name, facts.cpu_of_machine(self._settings.cpu)
        meter = top.Meter(name, cpu, self._runtime.stats, self._loop.look_up)
        library = self._images.library
        builds, under_way = self._builds()
        reaching = Reaching(name, self.address, self._insides, under_way)
        logs = self._rooms.logs
        return Answers(self._runtime, logs, self.place, builds, meter, library, self._insides, reaching)

    def _builds(self) -> tuple[Builds, set[str]]:
        """And the keys of what has a place in the network without being a task."""
        settings = self._settings
        hands = executing.Hands(self._runtime, self._network, settings.run_dir / "build-secrets")
        self._rooms.others = hands.under_way
        directory = settings.state_dir / "builds"
        builds = Builds(directory, self._images, self.own_registry, settings.registries, hands)
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
        gateways = [str(ip_network(each)[1]) for each in section.subnets if ":" not in each]
        name, address = self._settings.name, self.address()
        return watch.Surroundings(name, address, gateways[0], section.peers, self._open)

    def _insides(self) -> Network:
        if self._open is None:
            raise Refused("the node has no address range yet")
        return self._open


class _Duties:
    """What the conversation asks of the node."""

    def __init__(self, node: Node, incarnation: int) -> None:
        self._node = node
        self._incarnation = incarnation
        self._answers = node.answers()
        self.problems = node.problems
        self.happened = node.happened
        self.traffic = node.traffic
        self.take = node.take
        self.heard = node.heard
        self.images_are_at = node.own_registry.is_at
        self.hung_up = self._answers.hung_up

    def hello(self) -> sessions_pb2.Hello:
        return self._node.hello(self._incarnation)

    async def answer(self, ask: sessions_pb2.StreamAsk, channel: grpc.aio.Channel) -> None:
        await self._answers.answer(ask, channel)


def _first(asked: Asked) -> str:
    return asked.template.containers[0].name
