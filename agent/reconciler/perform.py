"""Carries one step out in the room that can, and says what came of it. Decides nothing."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from agent.images.image import Image
from agent.linux import permitted
from agent.network.attachment import Attached
from agent.probes.schedule import Target
from agent.reconciler import (
    accounts,
    advice,
    confinement,
    health,
    image_files,
    log_tail,
    naming,
    observed,
    pulling,
    run_name,
    step,
    trouble,
    volumes,
)
from agent.reconciler.asked import Asked
from agent.reconciler.configuration import Mounted, configuration
from agent.reconciler.naming import Naming
from agent.reconciler.observed import Fact, Observed
from agent.reconciler.report import MOST_TAIL_LINES
from agent.reconciler.rooms import Network, Rooms
from agent.runtime import host_devices, logs
from agent.runtime.container import Launch, LaunchFailed, NoSuchContainer
from orch.model.container import ContainerSpec
from orch.model.probe import Health
from orch.oci.auth import Credentials

_log = logging.getLogger(__name__)

WRITTEN_WITHIN_SECONDS = 5.0
"""What a container said last; orch-log may just be on its way up again."""

Tell = Callable[[str, Fact], None]
"""A fact that comes later, and the key of the task it is about."""


class Performer:
    def __init__(self, rooms: Rooms, incarnation: int, clock: Callable[[], float], tell: Tell) -> None:
        self.rooms = rooms
        self._incarnation = incarnation
        self._clock = clock
        self._tell = tell

    async def perform(self, asked: Asked, seen: Observed, what: step.Step) -> Fact:
        """What came of it; a failure is a fact too."""
        try:
            return await self._do(asked, seen, what)
        except Exception as error:
            return self._failure(what, error)

    def _failure(self, what: step.Step, error: Exception) -> Fact:
        doing = _DOING.get(type(what), type(what).__name__)
        found = trouble.explain(error, doing)
        if found.reason == "NodeError":
            _log.error("%s failed", doing, exc_info=error)
        if isinstance(what, step.CleanUp):
            return observed.CleanUpFailed(found.message, self._clock())
        container = what.container if isinstance(what, step.Launch) else ""
        return observed.Troubled(found.reason, found.message, self._clock(), container, found.permanent)

    async def _do(self, asked: Asked, seen: Observed, what: step.Step) -> Fact:
        match what:
            case step.PullImage():
                return await self._pull(asked, what)
            case step.WireNetwork():
                return observed.NetworkWired(await self._network.attach(asked.key))
            case step.PublishPorts():
                await self._network.publish(asked.key, what.ports)
                return observed.PortsPublished()
            case step.PrepareFiles():
                return self._prepare(asked, seen)
            case step.Launch():
                return await self._launch(asked, seen, what)
            case step.StartProbes():
                return self._probe(asked, seen, what)
            case step.ReadTail():
                return await self._read_tail(asked, seen, what)
            case step.Discard():
                return await self._discard(asked, seen, what)
            case step.Condemn():
                fact = observed.Signalled(what.container, self._clock(), what.reason, what.message)
                return await self._signal(asked.key, seen, what.signal, fact)
            case step.Signal():
                fact = observed.Signalled(what.container, self._clock())
                return await self._signal(asked.key, seen, what.signal, fact)
            case step.Kill():
                await self.rooms.runtime.kill(seen.container(what.container).id)
                return observed.Killed(what.container)
            case step.UnpublishPorts():
                await self._network.unpublish(asked.key)
                return observed.PortsUnpublished()
            case step.CleanUp():
                runs = [each.id for each in seen.containers.values() if each.id]
                await self.clean_up(asked.key, (*runs, *seen.old_runs))
                return observed.CleanedUp()
            case step.Conclude():
                return observed.Concluded(
                    observed.Final(what.state, what.reason, what.message, self._clock())
                )
            case _:
                assert_never(what)

    @property
    def _network(self) -> Network:
        if self.rooms.network is None:
            raise RuntimeError("the node has no address range yet")
        return self.rooms.network

    # -- to start --------------------------------------------------------------------------------------

    async def _pull(self, asked: Asked, what: step.PullImage) -> Fact:
        said = pulling.Said(what.reference, lambda fact: self._tell(asked.key, fact))
        known: dict[str, dict[str, Credentials]] = {}

        def who(registry: str) -> Credentials | None:
            """The secrets are read only when there is something to fetch."""
            if not known:
                known[""] = self.rooms.files.credentials(asked.id.namespace)
            return known[""].get(registry)

        image = await self.rooms.images.pull(
            what.reference, policy=what.policy, on_progress=said.at, credentials=who
        )
        return observed.ImagePulled(image, what.reference)

    def _prepare(self, asked: Asked, seen: Observed) -> Fact:
        attached = _attached(seen)
        found = {spec.name: _owner(spec, seen, attached) for spec in asked.all_containers()}
        self.rooms.prepared[asked.key] = self.rooms.files.prepare(asked, _naming(asked, attached), found)
        return observed.FilesPrepared()

    async def _launch(self, asked: Asked, seen: Observed, what: step.Launch) -> Fact:
        spec = _spec(asked, what.container)
        if failure := advice.hopeless(spec):
            raise failure
        image = seen.images[spec.image]
        logs = f"{self.rooms.logs}/{asked.key}"
        os.makedirs(logs, 0o750, exist_ok=True)  # noqa: PTH103  this is where tasks start: strings are faster
        files = self.rooms.prepared[asked.key][spec.name]
        first_id = _attached(seen).first_id
        launch = Launch(
            container=str(run_name.RunName(asked.key, spec.name, self._incarnation, what.run)),
            sandbox=asked.key,
            config=configuration(
                spec,
                image.config,
                account_of(spec, seen),
                hostname=asked.hostname,
                netns=_attached(seen).netns,
                first_id=first_id,
                files=files,
                volumes=self._volumes(asked.key, spec, image, files, first_id),
                ours=permitted.capabilities(),
                devices=host_devices.found() if spec.security.privileged else (),
            ),
            layers=image.layers,
            logs=logs,
            init=spec.init,
            stdin=spec.stdin,
        )
        try:
            running = await self.rooms.runtime.launch(launch)
        except LaunchFailed as failure:
            raise advice.of(failure, spec, image.layers, launch.config["process"]) from failure
        return observed.Launched(spec.name, what.run, running, image.digest)

    def _volumes(
        self, key: str, spec: ContainerSpec, image: Image, files: tuple[Mounted, ...], first_id: int
    ) -> tuple[Mounted, ...]:
        if not image.config.volumes:
            return ()
        targets = volumes.declared(spec, image.config, files)
        owner = first_id if confinement.has_own_users(spec) else 0
        return self.rooms.volumes.prepare(key, spec.name, targets, owner)

    def _probe(self, asked: Asked, seen: Observed, what: step.StartProbes) -> Fact:
        spec, container = _spec(asked, what.container), seen.container(what.container)
        ports = {each.name: each.target for each in asked.template.ports if each.name}
        target = Target(container.id, _attached(seen).addresses[0], ports)

        def said(probe: str, health: Health, words: str) -> None:
            fact = observed.ProbeSaid(spec.name, container.run, probe, observed.Probed(health, words))
            self._tell(asked.key, fact)

        self.rooms.prober.start(target, health.probes(spec, seen), said)
        return observed.ProbesStarted(spec.name)

    # -- to end ----------------------------------------------------------------------------------------

    async def _signal(self, key: str, seen: Observed, word: str, fact: observed.Signalled) -> Fact:
        """Noted before it is sent: the end that follows may be told sooner than that it was sent."""
        container = seen.container(fact.container)
        self.rooms.prober.stop(container.id)
        self._tell(key, fact)
        try:
            await self.rooms.runtime.signal(container.id, _signal_number(word))
        except NoSuchContainer:
            _log.debug("%s had ended when it was to be told so", container.id)
        return fact

    async def _read_tail(self, asked: Asked, seen: Observed, what: step.ReadTail) -> Fact:
        """An end is often told sooner than what was said before it is written."""
        ended = seen.container(what.container).exited
        if ended is None:
            return observed.TailRead(what.container, ())
        directory = self.rooms.logs / asked.key
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN_WITHIN_SECONDS):
                await logs.written(directory, ended.container)
        return observed.TailRead(what.container, log_tail.read(directory, ended.container, MOST_TAIL_LINES))

    async def _discard(self, asked: Asked, seen: Observed, what: step.Discard) -> Fact:
        """The logs of the run before are kept, for `logs --previous`."""
        for run in what.runs:
            await self.rooms.runtime.remove(run)
        for container in seen.containers.values():
            keep = {container.id, *(each for each in what.runs[-1:])}
            prefix = f"{asked.key}.{container.name}"
            if any(each.startswith(prefix + ".") for each in what.runs):
                log_tail.forget_old(self.rooms.logs / asked.key, prefix, frozenset(keep))
        return observed.Discarded(what.runs)

    async def clean_up(self, key: str, runs: tuple[str, ...]) -> None:
        """Idempotent; the logs stay."""
        for run in runs:
            self.rooms.prober.stop(run)
        await asyncio.gather(*(self.rooms.runtime.remove(run) for run in runs))
        await self.rooms.runtime.remove_sandbox(key)
        if self.rooms.network is not None:
            await self.rooms.network.detach(key)
        self.rooms.prepared.pop(key, None)
        self.rooms.files.remove(key)
        await asyncio.to_thread(self.rooms.volumes.remove, key)


_DOING: dict[type, str] = {
    step.PullImage: "pull the image",
    step.WireNetwork: "give the task its network",
    step.PublishPorts: trouble.PUBLISHING,
    step.PrepareFiles: "lay out its files",
    step.Launch: "start the container",
    step.CleanUp: "clean up",
}


def _signal_number(word: str) -> int:
    """SIGTERM, TERM or 15."""
    if word.isdigit():
        return int(word)
    return signal.Signals["SIG" + word.upper().removeprefix("SIG")].value


def _attached(seen: Observed) -> Attached:
    if seen.attached is None:
        raise RuntimeError("the task has no network yet")
    return seen.attached


def _spec(asked: Asked, name: str) -> ContainerSpec:
    return next(each for each in asked.all_containers() if each.name == name)


def account_of(spec: ContainerSpec, seen: Observed) -> accounts.Account:
    """Who a container runs as. Raises UnknownUser."""
    image = seen.images[spec.image]
    return image_files.account_of(spec.user or image.config.user, image.layers)


def _owner(spec: ContainerSpec, seen: Observed, attached: Attached) -> accounts.Account:
    """The account as the host knows it: files made for a container belong to that."""
    found = account_of(spec, seen)
    first = attached.first_id if confinement.has_own_users(spec) else 0
    return replace(found, uid=first + found.uid, gid=first + found.gid)


def _naming(asked: Asked, attached: Attached) -> Naming:
    task, template = asked.id, asked.template
    return Naming(
        asked.hostname,
        f"{task.slot}.{task.service}.{task.namespace}.{naming.DOMAIN}",
        task.namespace,
        attached.addresses,
        attached.gateway,
        template.extra_hosts,
        template.dns.search,
        template.dns.options,
    )
