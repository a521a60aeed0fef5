"""One step of a build → a layer in the library: what it depends on, and how it is made."""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.builds import digesting, executing, fetching, keys
from agent.builds.cache import Cache, Made, blob_path
from agent.builds.order import Order
from agent.builds.sources import CannotPlace
from agent.builds.workshop import Workshop
from agent.images.images import Images
from agent.reconciler import image_files
from orch.dockerfile import instructions as i
from orch.dockerfile.steps import Execute, MakeDirectory, Place, Step
from orch.oci.manifest import OCI_LAYER_GZIP, Descriptor

Tell = Callable[[str], None]
Others = Mapping[str, tuple[str, list[str]]]
"""Stages and images by the name of a --from: (what identifies them, their layers' directories)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A step whose key is known."""

    key: str
    perform: Callable[[Tell], Awaitable[Made]]


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What ADD takes from addresses."""

    addresses: tuple[str, ...]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    """What each means for the step's key."""
    place: Path
    """Where the files are, each in a directory with its number; one that had not to be fetched is not there."""
    digests: tuple[str, ...]
    """What each must be when it is fetched after all."""


class Layering:
    """For one build."""

    def __init__(
        self,
        order: Order,
        images: Images,
        workshop: Workshop,
        cache: Cache,
        executor: executing.Executor,
    ) -> None:
        self._order = order
        self._cache = cache
        self._images = images
        self._workshop = workshop
        self._executor = executor

    def paths(self, diff_ids: Sequence[str]) -> list[str]:
        """Directories to stack, lowest first; an image that begins with nothing stands on an empty one."""
        return list(self._images.layer_paths(diff_ids)) or [str(self._workshop.empty)]

    async def prepare(self, step: Step, layers: list[str], others: Others, parent: str) -> Prepared:
        """Raises CannotPlace, UnknownUser."""
        match step:
            case MakeDirectory():
                account = image_files.account_of(step.user, layers)
                owner = (account.uid, account.gid)
                key = keys.make_directory(parent, step, owner)
                return Prepared(key, lambda _: self._make_directory(step.path, owner, layers))
            case Place():
                return await self._prepare_place(step, layers, others, parent)
            case Execute():
                return await self._prepare_execute(step, layers, others, parent)

    # -- WORKDIR, COPY, ADD ----------------------------------------------------------------------------------

    async def _make_directory(self, path: str, owner: tuple[int, int], layers: list[str]) -> Made:
        async with self._workshop.bench() as bench:
            tree = _tree(bench, layers)
            await self._workshop.ask("mkdir", path=path, owner=owner, **tree)
            return await self._keep(bench, bench / "upper")

    async def _prepare_place(self, step: Place, layers: list[str], others: Others, parent: str) -> Prepared:
        addresses = [text for text in step.sources if fetching.is_address(text)]
        files = [text for text in step.sources if text not in addresses]
        owner = self._owner(step.owner, layers)
        words = self._source(files, others.get(step.stage), step.exclude)
        fetched = await self._fetched(addresses, step)
        content = await self._content(words)
        key = keys.place(parent, step, "\n".join([content, *fetched.keys]), owner)
        how = {
            "target": step.target,
            "owner": owner,
            "mode": _mode(step.mode),
            "parents": step.parents,
            "several": len(step.sources) + len(step.written) > 1,
        }
        orders = [{**words, **how, "written": step.written, "unpacks": step.unpacks}]
        return Prepared(key, lambda _: self._place(orders, layers, fetched, how))

    async def _fetched(self, addresses: Sequence[str], step: Place) -> "_Fetched":
        """What is behind the addresses.

        Where its digest is demanded, or the server says that it is what it was, it is
        fetched only when the cache lacks the layer.
        """
        if not addresses:
            return _Fetched((), (), (), self._order.context, ())
        checksum = fetching.checked(step.checksum)
        is_whole = not step.target.endswith("/") and len(step.sources) + len(step.written) == 1
        names = ["file" if is_whole else fetching.file_name(one) for one in addresses]
        keys_, digests = [], []
        place = self._order.context.with_name(f"fetched-{uuid.uuid4().hex[:8]}")
        for number, address in enumerate(addresses):
            if checksum:
                keys_.append(f"{address} {checksum}")
                digests.append(checksum)
                continue
            file = place / str(number) / names[number]
            file.parent.mkdir(parents=True)
            known = self._cache.address(address) if self._order.use_cache else None
            found = await fetching.fetch(address, file, known)
            if found != known and found.conditions:
                self._cache.remember_address(address, found)
            keys_.append(f"{names[number]} {found.digest} {found.at}")
            digests.append(found.digest)
        return _Fetched(tuple(addresses), tuple(names), tuple(keys_), place, tuple(digests))

    async def _content(self, words: Mapping[str, Any]) -> str:
        """Of the files themselves: the same content under another stage or at another time is the same."""
        if not words["patterns"]:
            return ""
        if not words["source_layers"]:
            about = (words["context"], words["ignored"], words["patterns"], words["exclude"])
            return await asyncio.to_thread(digesting.of_context, *about)
        key = keys.shown(words["source_layers"], words["patterns"], words["exclude"])
        if known := self._cache.digest(key):
            return known
        async with self._workshop.bench() as bench:
            answer = await self._workshop.ask("digest", **{**words, "source_place": str(bench / "source")})
        self._cache.remember(key, str(answer["digest"]))
        return str(answer["digest"])

    async def _place(
        self,
        orders: Sequence[Mapping[str, Any]],
        layers: list[str],
        fetched: "_Fetched",
        how: Mapping[str, Any],
    ) -> Made:
        async with self._workshop.bench() as bench:
            all_orders = [*orders, *await self._orders_of(fetched, how)]
            for order in all_orders:
                if order["patterns"] or order["written"]:
                    whole = {**order, **_tree(bench, layers), "source_place": str(bench / "source")}
                    await self._workshop.ask("place", **whole)
            return await self._keep(bench, bench / "upper")

    async def _orders_of(self, fetched: "_Fetched", how: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = []
        for number, (address, name) in enumerate(zip(fetched.addresses, fetched.names, strict=True)):
            directory = fetched.place / str(number)
            if not (directory / name).exists():
                directory.mkdir(parents=True, exist_ok=True)
                await fetching.fetch_exactly(address, directory / name, fetched.digests[number])
            source = {**self._source([name], None, []), "context": str(directory), "ignored": []}
            found.append({**source, **how, "written": [], "unpacks": False})
        return found

    def _source(
        self, patterns: Sequence[str], other: tuple[str, list[str]] | None, exclude: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "context": str(self._order.context),
            "source_layers": other[1] if other else [],
            "ignored": [] if other else self._order.ignored.splitlines(),
            "patterns": list(patterns),
            "exclude": list(exclude),
        }

    def _owner(self, text: str, layers: list[str]) -> tuple[int, int] | None:
        if not text:
            return None
        user, colon, group = text.partition(":")
        account = image_files.account_of(f"{user}:{group}" if colon else user, layers)
        return account.uid, account.gid if colon or not user.isdecimal() else account.uid

    # -- RUN -------------------------------------------------------------------------------------------------

    async def _prepare_execute(
        self, step: Execute, layers: list[str], others: Others, parent: str
    ) -> Prepared:
        binds = [mount for mount in step.mounts if mount.kind == "bind"]
        begun = [mount for mount in step.mounts if mount.kind == "cache" and mount.stage]
        first = {mount: self._source([mount.source or "."], others.get(mount.stage), []) for mount in begun}
        shown = [self._source([mount.source or "."], others.get(mount.stage), []) for mount in binds]
        contents = [await self._content(words) for words in shown]
        key = keys.execute(parent, step, contents)
        shown_by = dict(zip(binds, shown, strict=True))
        return Prepared(key, lambda tell: self._execute(step, layers, shown_by, first, tell))

    async def _execute(
        self,
        step: Execute,
        layers: list[str],
        binds: Mapping[i.Mount, Mapping[str, Any]],
        caches: Mapping[i.Mount, Mapping[str, Any]],
        tell: Tell,
    ) -> Made:
        async with self._workshop.bench() as bench:
            for number, (mount, words) in enumerate(caches.items()):
                if not (place := self._workshop.cache(mount.id)).exists():
                    found = await self._show(words, bench, len(binds) + number)
                    self._executor.begin_cache(found, place, mount)
            shown = {
                mount: await self._show(words, bench, n) for n, (mount, words) in enumerate(binds.items())
            }
            upper, first_id = await self._executor.run(step, layers, bench, shown, tell)
            return await self._keep(bench, upper, first_id)

    async def _show(self, words: Mapping[str, Any], bench: Path, number: int) -> Path:
        """A copy of what a bind mount shows: nothing that the command does can reach context or stage."""
        place = bench / f"bind-{number}"
        for name in ("upper", "work", "place", "source"):
            (place / name).mkdir(parents=True)
        how = {
            "target": "/shown/",
            "owner": None,
            "mode": None,
            "parents": False,
            "unpacks": False,
            "several": False,
        }
        tree = {**_tree(place, [str(self._workshop.empty)]), "source_place": str(place / "source")}
        await self._workshop.ask("place", **{**words, **how, **tree, "written": []})
        found = place / "upper" / "shown"
        members = list(found.iterdir())
        source = str(words["patterns"][0])
        only = members[0] if len(members) == 1 and members[0].name == os.path.basename(source) else found
        return only if only.is_file() and not only.is_symlink() else found  # a link would lead to the host

    # -- layers ----------------------------------------------------------------------------------------------

    async def _keep(self, bench: Path, upper: Path, first_id: int = 0, *, as_it_is: bool = False) -> Made:
        """What was written becomes a layer of the library, just as if it had been pulled."""
        if not os.listdir(upper):
            return Made("", None, time.time())
        blob = bench / "blob"
        latest = None if as_it_is else self._latest()
        packed = await self._workshop.ask(
            "pack", directory=str(upper), blob=str(blob), latest=latest, first_id=first_id
        )
        descriptor = Descriptor(OCI_LAYER_GZIP, packed["digest"], packed["size"])
        await self._images.take_layer(blob, descriptor, packed["diff_id"])
        await asyncio.to_thread(os.replace, blob, blob_path(self._workshop.blobs, descriptor.digest))
        return Made(packed["diff_id"], descriptor, time.time())

    async def packed_again(self, diff_id: str) -> Made:
        """A layer that came in a file: what was in its archive is known, the archive is not, so it gets another."""
        key = keys.packed(diff_id)
        if made := self._cache.find(key):
            return made
        async with self._workshop.bench() as bench:
            made = await self._keep(bench, Path(self._images.layer_paths([diff_id])[0]), as_it_is=True)
        self._cache.keep(key, made)
        return made

    def _latest(self) -> int | None:
        said = self._order.arguments.get("SOURCE_DATE_EPOCH", "")
        return int(said) if said.isdecimal() else None


def _tree(bench: Path, layers: list[str]) -> dict[str, object]:
    return {
        "layers": layers,
        "upper": str(bench / "upper"),
        "work": str(bench / "work"),
        "place": str(bench / "place"),
    }


def _mode(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text, 8)
    except ValueError:
        raise CannotPlace(f"--chmod={text} is not an octal number: write 755") from None
