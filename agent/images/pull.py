"""From a reference to an image in the library: the flow on one screen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import assert_never

from agent.images import flights
from agent.images.giving import Giving
from agent.images.image import Image
from agent.images.library import Library
from agent.images.limits import Limits
from agent.images.unpacking import Unpackers
from orch.oci import image_config, manifest
from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.manifest import Descriptor, Index, Manifest, Platform
from orch.oci.reference import CLUSTER, Reference
from orch.oci.registry import Fetched, Registry

LIES = {Reason.DIGEST_MISMATCH, Reason.BAD_IMAGE}
"""What may be a mirror's fault, and not the registry's; a next attempt there would end alike."""
LAYERS_AT_ONCE = 6
"""As podman and skopeo: enough that one slow layer holds up no other, few enough for a small registry."""


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    diff_id: str


class Puller:
    """Fetches images; what two pulls have in common is fetched once."""

    def __init__(
        self,
        library: Library,
        platform: Platform,
        limits: Limits,
        unpackers: Unpackers,
        giving: Giving | None = None,
    ) -> None:
        self._library = library
        self._unpackers = unpackers
        self._giving = giving
        self._platform = platform
        self._limits = limits
        self._layers: flights.Flights[str, None] = flights.Flights()
        self._turn = asyncio.Semaphore(LAYERS_AT_ONCE)

    async def pull(
        self,
        ref: Reference,
        on_progress: flights.Progress,
        registry: Registry,
        foreign: Platform | None = None,
    ) -> Image:
        """The image `ref` stands for in its registry now; `registry` knows who asks.

        One for a foreign platform is known by its digest only: under the name it would be taken for one that runs.
        """
        if (
            foreign is None
            and self._library.find(ref)
            and (known := self._library.find(ref.pinned(await registry.resolve(ref))))
        ):
            await asyncio.to_thread(self._library.name, known.digest, [ref])
            return replace(known, reference=str(ref))
        if self._giving and ref.registry == CLUSTER:
            await self._giving.open()
        warming = asyncio.create_task(self._unpackers.warm())
        try:
            named = await registry.manifest(ref)
        finally:
            await warming
        chosen = await self._for_platform(foreign or self._platform, ref, named, registry)
        if foreign and (known := self._library.find(ref.pinned(chosen.digest))):
            return known
        parsed = _an_image(chosen, ref)
        config_body = await registry.small_blob(ref, parsed.config)
        config = image_config.read(config_body)
        if foreign:
            _check_platform(config.platform, foreign, ref)
        layers = _layers(parsed, config, ref)
        with self._library.holding([layer.diff_id for layer in layers]):
            await self._fetch_missing(ref, layers, on_progress, registry)
            own_names = () if foreign else (ref, ref.pinned(named.digest))
            names = (*own_names, ref.pinned(chosen.digest))
            return await asyncio.to_thread(self._library.add, chosen.body, config_body, names)

    async def _for_platform(
        self, platform: Platform, ref: Reference, named: Fetched, registry: Registry
    ) -> Fetched:
        """At most two levels: an index of indexes is nobody's honest image."""
        parsed = manifest.parse(named.body, named.media_type)
        match parsed:
            case Manifest():
                return named
            case Index():
                return await registry.manifest(ref.pinned(manifest.choose(parsed, platform).digest))
            case _:
                assert_never(parsed)

    async def _fetch_missing(
        self, ref: Reference, layers: list[_Layer], on_progress: flights.Progress, registry: Registry
    ) -> None:
        missing = {layer.diff_id: layer for layer in layers if not self._library.has_layer(layer.diff_id)}
        total = sum(layer.descriptor.size for layer in missing.values())
        done = dict.fromkeys(missing, 0)

        def told(diff_id: str) -> flights.Progress:
            def tell(received: int, _total: int) -> None:
                done[diff_id] = received
                on_progress(sum(done.values()), total)

            return tell

        try:
            async with asyncio.TaskGroup() as group:
                largest_first = sorted(missing.items(), key=lambda each: -each[1].descriptor.size)
                for diff_id, layer in largest_first:
                    group.create_task(
                        self._layers.join(diff_id, self._fetching(ref, layer, registry), told(diff_id))
                    )
        except BaseExceptionGroup as several:
            raise _first(several) from None

    def _fetching(
        self, ref: Reference, layer: _Layer, registry: Registry
    ) -> Callable[[flights.Progress], Coroutine[None, None, None]]:
        async def fetch(on_progress: flights.Progress) -> None:
            async with self._turn:
                try:
                    await self._fetch(self._kept(ref, layer, registry), layer, on_progress)
                except ImageFailure as failure:
                    if failure.reason not in LIES or not registry.comes_from_others(ref):
                        raise
                    origin = self._kept(ref, layer, registry, from_origin=True)
                    await self._fetch(origin, layer, on_progress)

        return fetch

    def _kept(
        self, ref: Reference, layer: _Layer, registry: Registry, *, from_origin: bool = False
    ) -> AsyncIterator[bytes]:
        """The blob; a copy of it for other nodes, if it is one that every node may have."""
        blob = layer.descriptor
        chunks = registry.blob(ref, blob, from_origin=from_origin)
        if self._giving is None or ref.registry != CLUSTER:
            return chunks
        return self._giving.sharing.keeping(blob.digest, blob.size, chunks)

    async def _fetch(
        self, chunks: AsyncIterator[bytes], layer: _Layer, on_progress: flights.Progress
    ) -> None:
        received = 0

        def count(more: int) -> None:
            nonlocal received
            received += more
            on_progress(received, layer.descriptor.size)

        root = await asyncio.to_thread(self._library.new_layer)
        try:
            size = await self._unpackers.from_chunks(
                chunks,
                root,
                size=layer.descriptor.size,
                digest=layer.descriptor.digest,
                diff_id=layer.diff_id,
                limits=self._limits,
                received=count,
            )
            await asyncio.to_thread(self._library.adopt, root, layer.diff_id, size)
        except BaseException:
            if self._giving:
                self._giving.sharing.refuse(layer.descriptor.digest)
            await asyncio.shield(asyncio.to_thread(self._library.discard, root))
            raise


def _an_image(fetched: Fetched, ref: Reference) -> Manifest:
    parsed = manifest.parse(fetched.body, fetched.media_type)
    if isinstance(parsed, Manifest):
        manifest.check_runnable(parsed)
        return parsed
    raise bad_image(f"{ref.familiar} is an index that leads to another index, not to an image")


def _check_platform(found: Platform, wanted: Platform, ref: Reference) -> None:
    """Of an image that no index speaks for."""
    if (found.os, found.architecture) != (wanted.os, wanted.architecture):
        raise bad_image(f"{ref.familiar} is not made for {wanted}; it is made for {found}")


def _layers(parsed: Manifest, config: image_config.ImageConfig, ref: Reference) -> list[_Layer]:
    if len(parsed.layers) != len(config.diff_ids):
        raise bad_image(
            f"{ref.familiar} contradicts itself: its manifest has {len(parsed.layers)} layers, "
            f"its configuration {len(config.diff_ids)}"
        )
    return [
        _Layer(descriptor, diff_id)
        for descriptor, diff_id in zip(parsed.layers, config.diff_ids, strict=True)
    ]


def _first(several: BaseExceptionGroup) -> BaseException:
    """The others were cancelled because of it, or say the same."""
    found = several.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
