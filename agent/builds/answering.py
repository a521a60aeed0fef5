"""A user's build on this node: the context comes in, the image is made, named and pushed, the words go back."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

from agent.builds import executing, shipping
from agent.builds.builder import Builder
from agent.builds.cache import Cache
from agent.builds.order import BuildFailed, Order, Progress
from agent.builds.workshop import Workshop
from agent.images.images import Images, is_ours
from agent.images.limits import Limits
from agent.own_registry import OwnRegistry
from orch.oci import reference
from orch.oci.failure import ImageFailure
from orch.oci.reference import Reference
from orch.oci.registry import Registry
from orch.oci.routes import Routes
from orch.v1 import control_pb2

_CONTEXT_LIMITS = Limits(ratio=100_000)
"""A context is the user's own: a file of zeros in it is no bomb."""

_WORDS_WAITING = 1000
_TIDIED_EVERY_SECONDS = 3600.0


class User(Protocol):
    """agent.answers.user.User."""

    async def say(self, **kind: Any) -> None: ...
    async def hear(self) -> Any: ...
    async def wait_gone(self) -> None: ...


class Builds:
    def __init__(
        self, directory: Path, images: Images, own: OwnRegistry, registries: Routes, hands: executing.Hands
    ) -> None:
        self._images = images
        self._own = own
        self._registries = registries
        self._hands = hands
        self._workshop = Workshop(directory)
        self._under_way = 0
        self._tidying = asyncio.Lock()
        self._tidied_at = -_TIDIED_EVERY_SECONDS
        self._cache = Cache(directory / "cache", images.library, self._workshop.blobs)

    def open(self) -> None:
        self._workshop.open()
        self._hands.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._hands.secrets.iterdir():
            left.unlink()
        self._images.hold_only(self._cache.open())
        self._clearing = asyncio.create_task(executing.remove_leftovers(self._hands.runtime))

    async def _tidy_now_and_then(self) -> None:
        """Between builds: nothing that one is about to use may go."""
        async with self._tidying:
            if self._under_way or time.monotonic() - self._tidied_at < _TIDIED_EVERY_SECONDS:
                return
            self._tidied_at = time.monotonic()
            await asyncio.to_thread(self._workshop.tidy)
            self._images.hold_only(await asyncio.to_thread(self._cache.open))

    async def answer(self, start: control_pb2.BuildStart, user: User) -> None:
        """Until the image is pushed, the build has failed, or the user has gone."""
        await asyncio.wait({self._clearing})
        async with self._tidying:
            self._under_way += 1
        building = asyncio.create_task(self._answer(start, user))
        gone = asyncio.create_task(user.wait_gone())
        try:
            await asyncio.wait({building, gone}, return_when=asyncio.FIRST_COMPLETED)
            if building.done():
                await building
        finally:
            gone.cancel()
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            self._under_way -= 1
            await self._tidy_now_and_then()

    async def _answer(self, start: control_pb2.BuildStart, user: User) -> None:
        async with self._workshop.bench() as bench:
            context = bench / "source"
            try:
                await self._receive(start.context_size, context, user)
                digest = await self._build(start, context, user)
            except BuildFailed as failure:
                end = control_pb2.BuildEnd(problem=str(failure))
            except ImageFailure as failure:
                end = control_pb2.BuildEnd(problem=failure.message)
            else:
                end = control_pb2.BuildEnd(digest=digest, names=start.names)
        await user.say(build=control_pb2.BuildOutput(end=end))

    async def _receive(self, size: int, context: Path, user: User) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            while (heard := await user.hear()) is not None and heard.WhichOneof("kind") == "context":
                yield heard.context

        await self._images.unpackers.from_chunks(
            pieces(),
            context,
            size=size,
            digest="",
            diff_id="",
            limits=_CONTEXT_LIMITS,
            received=lambda _: None,
        )

    async def _build(self, start: control_pb2.BuildStart, context: Path, user: User) -> str:
        names = [reference.of_own(name) for name in start.names]
        order = replace(
            _order(start, context), has_own_registry=self._own.door(reference.CLUSTER) is not None
        )
        async with self._registry(start.grant) as registry:
            builder = Builder(
                order,
                f"build-{uuid.uuid4().hex[:8]}",
                self._images,
                self._workshop,
                self._cache,
                self._hands,
            )
            async with _Telling(user) as telling:
                image = await builder.build(telling.say)
                known_as = (
                    names if is_ours(image.config.platform) else [n.pinned(image.digest) for n in names]
                )
                await asyncio.to_thread(self._images.name, image.digest, known_as)
                for name in names:
                    await self._push(image, name, registry, builder.origins, telling.say)
        return image.digest

    async def _push(
        self,
        image: Any,
        name: Reference,
        registry: Registry,
        origins: dict[str, Reference],
        say: Callable[[Progress], None],
    ) -> None:
        began = time.monotonic()
        say(Progress(0, 0, f"push {name.familiar.removeprefix(f'{reference.CLUSTER}/')}", "begin"))
        await shipping.push(image, name, self._images, registry, self._workshop.blobs, origins)
        say(Progress(0, 0, "", "done", time.monotonic() - began))

    def _registry(self, grant: str) -> Registry:
        return Registry(routes_=self._registries, door=lambda name: self._own.door(name, grant))


class _Telling:
    """Words go to the user in order, while the build goes on; too many wait for one who reads slowly."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._words: asyncio.Queue[Progress | None] = asyncio.Queue(_WORDS_WAITING)
        self._left_out = 0

    def say(self, progress: Progress) -> None:
        try:
            self._words.put_nowait(progress)
        except asyncio.QueueFull:
            self._left_out += 1

    async def __aenter__(self) -> Self:
        self._telling = asyncio.create_task(self._tell())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is asyncio.CancelledError:
            self._telling.cancel()
            return
        if self._left_out:
            await self._words.put(Progress(0, 0, f"({self._left_out} lines were left out)", "output"))
        await self._words.put(None)
        await self._telling

    async def _tell(self) -> None:
        while (one := await self._words.get()) is not None:
            said = control_pb2.BuildProgress(
                step=one.step, steps=one.steps, text=one.text, kind=one.kind, seconds=one.seconds
            )
            await self._user.say(build=control_pb2.BuildOutput(progress=said))


def _order(start: control_pb2.BuildStart, context: Path) -> Order:
    return Order(
        context=context,
        dockerfile=start.dockerfile,
        name=start.dockerfile_name or "Dockerfile",
        target=start.target,
        arguments=dict(start.arguments),
        secrets=dict(start.secrets),
        ignored=start.ignored,
        platform=start.platform,
        labels=dict(start.labels),
        use_cache=not start.no_cache,
        pull=start.pull,
    )
