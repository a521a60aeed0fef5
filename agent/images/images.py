"""The door of this room: images by name, ready to run.

images = await Images.open(directory, plain_http={"127.0.0.1:5000"})
image = images.find("web:1") or await images.pull("web:1")
"""

import asyncio
import errno
import platform
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

from agent.images import archive, care, flights, pull
from agent.images.giving import Giving
from agent.images.image import Image, Stored
from agent.images.library import Library
from agent.images.limits import Limits
from agent.images.unpacking import Unpackers
from orch.oci import reference
from orch.oci.auth import Credentials
from orch.oci.door import DoorOf
from orch.oci.failure import ImageFailure, Reason
from orch.oci.manifest import Descriptor, Platform
from orch.oci.reference import Reference
from orch.oci.registry import Registry
from orch.oci.routes import Routes
from orch.oci.tokens import CredentialsOf

Policy = Literal["Always", "IfNotPresent", "Never"]

SETTLED_AFTER_SECONDS = 1.0

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


class PullFailed(ImageFailure):
    """`reason` is a word for programs, `message` a sentence for people."""


class Images:
    """All images of this node. One per directory."""

    def __init__(
        self, library: Library, registry: Registry, limits: Limits, giving: Giving | None = None
    ) -> None:
        self._library = library
        self._registry = registry
        self._limits = limits
        self.unpackers = Unpackers()
        self._puller = pull.Puller(library, this_platform(), limits, self.unpackers, giving)
        self._giving = giving
        self._pulls: flights.Flights[tuple[Reference, Credentials | None, Platform | None], Image] = (
            flights.Flights()
        )
        self._settling = asyncio.Lock()
        self._closing = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()
        self._made: dict[str, AbstractContextManager[None]] = {}

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        plain_http: Collection[str] = (),
        routes_: Routes | None = None,
        credentials: CredentialsOf = lambda _: None,
        door: DoorOf = lambda _: None,
        limits: Limits | None = None,
        giving: Giving | None = None,
    ) -> Self:
        """The images in `directory`; what a killed agent left half done is cleared away behind the scenes."""
        library = await asyncio.to_thread(Library.open, directory)
        registry = Registry(plain_http=plain_http, routes_=routes_, credentials=credentials, door=door)
        images = cls(library, registry, limits or Limits(), giving)
        images._behind_the_scenes(asyncio.to_thread(library.empty_trash))
        images._behind_the_scenes(images._settle())
        return images

    async def close(self) -> None:
        await self._pulls.cancel_all()
        await self.unpackers.close()
        self._closing.set()
        if self._giving:
            await self._giving.close()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._registry.close()
        self._library.close()

    def find(self, reference_text: str) -> Image | None:
        """The image of that name or manifest digest, if it is here; from memory."""
        if reference.is_digest(reference_text):
            return self._library.image(reference_text, reference_text)
        try:
            return self._library.find(reference.parse(reference_text))
        except ImageFailure:
            return None

    async def pull(
        self,
        reference_text: str,
        *,
        policy: Policy = "IfNotPresent",
        on_progress: flights.Progress | None = None,
        credentials: CredentialsOf | None = None,
        platform: Platform | None = None,
    ) -> Image:
        """The image, fetched as `policy` says. Progress counts bytes over the wire. Raises PullFailed.

        For another `platform` than this machine's its registry is always asked which image that is.
        """
        foreign = None if platform is None or is_ours(platform) else platform
        with _failing():
            if foreign is None and policy != "Always" and (held := self.find(reference_text)):
                self._library.touch(held.digest)  # so that it is not taken for unused a moment later
                return held
            ref = reference.parse(reference_text)
            if policy == "Never":
                raise ImageFailure(
                    Reason.NOT_PRESENT, f"image {ref.familiar} is not on this node, and pullPolicy is Never"
                )
            known = credentials(ref.registry) if credentials else None
            registry = self._registry.knowing(credentials) if credentials else self._registry
            try:
                image = await self._pulls.join(
                    (ref, known, foreign),
                    lambda report: self._puller.pull(ref, report, registry, foreign),
                    on_progress or (lambda _done, _total: None),
                )
            except ImageFailure as failure:
                if failure.reason in pull.LIES:  # nobody will try that again: its sound layers go too
                    await asyncio.to_thread(self._library.remove_unused_layers)
                raise
        self._behind_the_scenes(self._settle())
        return image

    async def import_tar(self, path: Path) -> Sequence[Image]:
        """The images in an archive of `docker save` or an OCI layout. Raises PullFailed."""
        with _failing():
            found = await archive.import_tar(
                path, self._library, this_platform(), self._limits, self.unpackers
            )
        self._behind_the_scenes(self._settle())
        return found

    # For builds

    def stored(self, digest: str) -> Stored:
        """Manifest and configuration of an image that is here. Raises KeyError."""
        return next(each for each in self._library.images if each.digest == digest)

    @property
    def library(self) -> Library:
        """For whoever must know which layers are here."""
        return self._library

    def as_sent(self, digest: str) -> tuple[Stored, bytes, bytes]:
        """An image that is here, its manifest and its configuration byte for byte. Raises KeyError."""
        return (self.stored(digest), *self._library.bodies(digest))

    def origins(self, digest: str) -> dict[str, Reference]:
        """Where the layers of an image may be fetched from; empty for one that was never pulled."""
        if self._library.is_imported(digest):
            return {}
        names = [reference.parse(name) for name in self._library.references_of(digest)]
        pinned = [name for name in names if name.digest]
        return {each.digest: pinned[0] for each in self.stored(digest).manifest.layers} if pinned else {}

    def layer_paths(self, diff_ids: Sequence[str]) -> Sequence[str]:
        """Directories to stack, lowest first."""
        return self._library.stack(diff_ids)

    async def take_layer(self, blob: Path, descriptor: Descriptor, diff_id: str) -> None:
        """A layer made here, as if it had been pulled; it stays as long as this node's agent. Raises PullFailed."""
        self.hold([diff_id])
        if self._library.has_layer(diff_id):
            return
        with _failing():
            root = await asyncio.to_thread(self._library.new_layer)
            with blob.open("rb") as file:
                size = await self.unpackers.from_file(
                    file.fileno(),
                    root,
                    size=descriptor.size,
                    digest=descriptor.digest,
                    diff_id=diff_id,
                    limits=self._limits,
                )
            await asyncio.to_thread(self._library.adopt, root, diff_id, size)

    def hold(self, diff_ids: Collection[str]) -> None:
        """Layers that a build's cache speaks of stay."""
        for diff_id in set(diff_ids) - self._made.keys():
            self._made[diff_id] = self._library.holding([diff_id])
            self._made[diff_id].__enter__()

    def hold_only(self, diff_ids: Collection[str]) -> None:
        """Those that were held before and are not named now may go with the last image that has them."""
        self.hold(diff_ids)
        for diff_id in self._made.keys() - set(diff_ids):
            self._made.pop(diff_id).__exit__(None, None, None)

    def add(self, manifest_body: bytes, config_body: bytes) -> Image:
        """Records an image whose layers are all here; it waits for the disk."""
        return self._library.add(manifest_body, config_body, [])

    def name(self, digest: str, names: Sequence[Reference]) -> None:
        """It waits for the disk."""
        self._library.name(digest, names)

    def list(self) -> Sequence[Image]:
        """Every image under each of its names."""
        return [
            image
            for stored in self._library.images
            for name in self._library.references_of(stored.digest) or (stored.digest,)
            if (image := self._library.image(stored.digest, name))
        ]

    async def remove(self, reference_text: str) -> None:
        """Takes the name away, and with an image's last tag the image. It must not be running."""
        if reference.is_digest(reference_text):
            await asyncio.to_thread(self._library.remove, reference_text)
            return
        with _failing():
            ref = reference.parse(reference_text)
        if digest := await asyncio.to_thread(self._library.forget, ref):
            await asyncio.to_thread(self._library.remove, digest)

    async def tidy(self, in_use: Collection[str], marks: care.Marks) -> care.Freed:
        """Makes room; `in_use` are manifest digests."""
        if self._giving:
            self._giving.sharing.tidy()
        return await asyncio.to_thread(
            care.tidy,
            self._library,
            frozenset(in_use),
            marks,
            lambda: care.used_part(self._library.directory),
        )

    async def _settle(self) -> None:
        """A while after a pull: its disk and processors are for the next one, which often follows."""
        async with self._settling:
            while self._library.has_unsettled:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SETTLED_AFTER_SECONDS):
                        await self._closing.wait()
                await asyncio.to_thread(self._library.settle)

    def _behind_the_scenes(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def this_platform() -> Platform:
    machine = platform.machine()
    return Platform("linux", _ARCHITECTURES.get(machine, machine))


def is_ours(platform: Platform) -> bool:
    """Whether it is this machine's own; it may be another variant of it."""
    here = this_platform()
    return (platform.os, platform.architecture) == (here.os, here.architecture)


@contextmanager
def _failing() -> Iterator[None]:
    """Whatever went wrong, the caller gets a reason and a sentence."""
    try:
        yield
    except ImageFailure as failure:
        raise PullFailed(failure.reason, failure.message) from failure
    except OSError as problem:
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = "the disk is full: free some space, or remove images"
            raise PullFailed(Reason.DISK_FULL, message) from problem
        raise PullFailed(Reason.BAD_IMAGE, f"the image cannot be stored: {problem}") from problem
