"""RUN: a container on the image so far; what it wrote is the new layer.

As unprivileged as a task: a user namespace, the usual capabilities, the default seccomp filter. Its output goes to
whoever waits for the build.
"""

import asyncio
import hashlib
import os
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.builds import mount_points
from agent.builds.sources import CannotPlace
from agent.builds.workshop import Workshop
from agent.network.attachment import Attached
from agent.reconciler import image_files
from agent.reconciler.confinement import USUAL
from agent.runtime import capabilities, logs, spec
from agent.runtime.container import Exited, Launch, Running
from orch.dockerfile import instructions as i
from orch.dockerfile.steps import Execute

_RESOLV = "/etc/resolv.conf"
_SECRETS = "/run/secrets"
_LARGEST_TMPFS_BYTES = 1 << 30
_OF_A_BUILD = re.compile(r"build-[0-9a-f]{8}-\d+\.run-\d+")


class Runtime(Protocol):
    """agent.runtime.client.Runtime."""

    @property
    def state_dir(self) -> Path: ...
    async def launch(self, launch: Launch) -> Running: ...
    async def containers(self) -> Mapping[str, Running | Exited]: ...
    async def wait(self, container: str) -> Exited: ...
    async def remove(self, container: str) -> None: ...
    async def remove_sandbox(self, sandbox: str) -> None: ...


class Network(Protocol):
    """agent.network.network.Network."""

    async def attach(self, task: str) -> Attached: ...
    async def detach(self, task: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Hands:
    """What of the node a RUN needs."""

    runtime: Runtime
    network: Callable[[], Network]
    secrets: Path
    """A directory in memory that only root reads."""
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Of caches that one step uses at a time: locked ones, and private ones, which nobody shares."""
    under_way: set[str] = field(default_factory=set)
    """Names of builds, and of their places in the network."""


class Failed(Exception):
    """The command ended with something else than 0."""


async def remove_leftovers(runtime: Runtime) -> None:
    """What builds of an agent before this one left running: nobody waits for them any more."""
    for name in await runtime.containers():
        if _OF_A_BUILD.fullmatch(name):
            await runtime.remove(name)
            await runtime.remove_sandbox(name.partition(".")[0])


class Executor:
    """For one build; `close` it."""

    def __init__(self, hands: Hands, workshop: Workshop, name: str, secrets: Mapping[str, bytes]) -> None:
        self._hands = hands
        self._workshop = workshop
        self._name = name
        self._secrets = secrets
        self._count = 0
        self._shown_secrets: list[Path] = []
        self._attached: Attached | None = None
        self._asked_for_network = False

    async def run(
        self,
        step: Execute,
        layers: Sequence[str],
        bench: Path,
        binds: Mapping[i.Mount, Path],
        say: Callable[[str], None],
    ) -> tuple[Path, int]:
        """(the directory with what was written, the host's id of its root). Raises Failed, LaunchFailed."""
        self._count += 1
        container = f"{self._name}.run-{self._count}"
        attached = await self._attach()
        config = self._configuration(step, layers, bench, binds, attached)
        launch = Launch(
            container=container,
            sandbox=self._name,
            config=config,
            layers=tuple(layers),
            logs=str(bench),
        )
        upper = bench / "upper"
        async with AsyncExitStack() as held:
            for identity in sorted({mount.id for mount in step.mounts if mount.sharing != "shared"}):
                await held.enter_async_context(self._hands.locks[identity])  # all in one order: no ring
            await self._carry_out(launch, bench, upper, say)
        targets = [mount["destination"] for mount in config["mounts"]]
        await asyncio.to_thread(mount_points.forget, upper, layers, targets)
        return upper, attached.first_id

    async def _carry_out(self, launch: Launch, bench: Path, upper: Path, say: Callable[[str], None]) -> None:
        container = launch.container
        try:
            await self._hands.runtime.launch(launch)
            exited = await self._follow(container, bench, say)
            if exited.exit_code != 0:
                raise Failed(_ending(exited))
            written = self._hands.runtime.state_dir / "roots" / container / "upper"
            await asyncio.to_thread(_move, written, upper)
        finally:
            await self._hands.runtime.remove(container)
            self._forget_secrets()

    async def close(self) -> None:
        self._forget_secrets()
        if not self._count:
            return
        try:
            await self._hands.runtime.remove_sandbox(self._name)
        finally:
            await self._detach()

    async def _detach(self) -> None:
        """From now on a place that is left over may be swept."""
        try:
            if self._asked_for_network:  # also when the answer never came
                await self._hands.network().detach(self._name)
        finally:
            self._hands.under_way.discard(self._name)

    def _forget_secrets(self) -> None:
        for path in self._shown_secrets:
            path.unlink(missing_ok=True)
        self._shown_secrets.clear()

    async def _attach(self) -> Attached:
        if self._attached is None:
            self._asked_for_network = True
            self._hands.under_way.add(self._name)
            self._attached = await self._hands.network().attach(self._name)
        return self._attached

    async def _follow(self, container: str, bench: Path, say: Callable[[str], None]) -> Exited:
        async def tell() -> None:
            async for line in logs.read(bench, container, follow=True):
                say(line.text)

        telling = asyncio.create_task(tell())
        try:
            exited = await self._hands.runtime.wait(container)
            await telling
        finally:
            telling.cancel()
        return exited

    def _configuration(
        self,
        step: Execute,
        layers: Sequence[str],
        bench: Path,
        binds: Mapping[i.Mount, Path],
        attached: Attached,
    ) -> dict[str, Any]:
        environment = dict(step.environment)
        account = image_files.account_of(step.user, layers)
        environment.setdefault("HOME", account.home or "/")
        argv = list(step.argv)
        resolv = _write(bench / "resolv.conf", f"nameserver {attached.gateway}\n".encode(), 0o644)
        mounts = [spec.bind(str(resolv), _RESOLV, readonly=True)]
        if step.script:
            script = _write(bench / "script", step.script.encode(), 0o755)
            mounts.append(spec.bind(str(script), "/dev/pipes/script", readonly=True))
            argv = ["/dev/pipes/script"]
        for mount in step.mounts:
            mounts += self._mount(mount, bench, binds, environment, attached.first_id)
        offline = step.network == "none"
        return spec.config(
            argv,
            env=environment,
            cwd=step.cwd,
            uid=account.uid,
            gid=account.gid,
            groups=account.groups,
            hostname="build",
            network="" if offline else attached.netns,
            mounts=mounts,
            dropped_capabilities=[name for name in capabilities.DEFAULT if name not in USUAL],
            first_id=0 if offline else attached.first_id,
            no_new_privileges=False,  # setuid programs of a base image (su, sudo) are common in builds
        )

    def _mount(
        self,
        mount: i.Mount,
        bench: Path,
        binds: Mapping[i.Mount, Path],
        environment: dict[str, str],
        first_id: int,
    ) -> list[dict[str, Any]]:
        match mount.kind:
            case "tmpfs":
                return [spec.tmpfs(mount.target, size_bytes=_size(mount.size))]
            case "cache":
                return [spec.bind(str(self._cache(mount)), mount.target, readonly=mount.readonly, idmap=True)]
            case "bind":
                return [spec.bind(str(binds[mount]), mount.target, readonly=mount.readonly, idmap=True)]
            case _:
                return self._secret(mount, bench, environment, first_id)

    def begin_cache(self, content: Path | None, place: Path, mount: i.Mount) -> None:
        """A cache that was not there, empty or with a first content; whoever is first at it wins."""
        fresh = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}")
        if content is not None and content.is_dir():
            shutil.move(content, fresh)
        else:
            fresh.mkdir(mode=0o755)
        fresh.chmod(mount.mode if mount.mode is not None else 0o755)
        os.chown(fresh, mount.uid, mount.gid)
        try:
            fresh.rename(place)
        except OSError:
            shutil.rmtree(fresh)

    def _cache(self, mount: i.Mount) -> Path:
        path = self._workshop.cache(mount.id)
        if not path.exists():
            self.begin_cache(None, path, mount)
        os.utime(path)
        return path

    def _secret(
        self, mount: i.Mount, bench: Path, environment: dict[str, str], first_id: int
    ) -> list[dict[str, Any]]:
        identity = mount.id or mount.source
        content = self._secrets.get(identity)
        if content is None:
            if mount.required:
                raise CannotPlace(f"the secret {identity} was not given: --secret id={identity},src=FILE")
            return []
        if mount.env:
            environment[mount.env] = content.decode(errors="surrogateescape")
            if not mount.target:
                return []
        target = mount.target or f"{_SECRETS}/{identity}"
        name = hashlib.sha256(f"{bench}{identity}".encode()).hexdigest()[:16]
        path = _write(self._hands.secrets / name, content, mount.mode if mount.mode is not None else 0o400)
        self._shown_secrets.append(path)
        os.chown(path, first_id + mount.uid, first_id + mount.gid)
        return [spec.bind(str(path), target, readonly=True)]


def _move(written: Path, upper: Path) -> None:
    upper.rmdir()
    shutil.move(written, upper)


def _write(path: Path, content: bytes, mode: int) -> Path:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    path.chmod(mode)
    return path


def _size(text: str) -> int:
    units = {"k": 10, "m": 20, "g": 30}
    number = text.lower().rstrip("b")
    if not number:
        return _LARGEST_TMPFS_BYTES
    shift = units.get(number[-1], 0)
    digits = number[:-1] if shift else number
    if not digits.isdecimal():
        raise CannotPlace(f"size={text} is no number of bytes: write 64m or 1g")
    return int(digits) << shift


def _ending(exited: Exited) -> str:
    if exited.oom_killed:
        return "the command was killed: no memory was left"
    if exited.signal:
        return f"the command was killed by signal {exited.signal}"
    return f"the command ended with exit code {exited.exit_code}"
