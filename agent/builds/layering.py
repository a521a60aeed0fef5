"""One step of a build → a layer in the library: what it depends on, and how it is made."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.builds import executing, keys
from agent.builds.cache import Made
from agent.builds.order import Order
from agent.builds.sources import CannotPlace
from agent.builds.workshop import Workshop
from agent.images.images import Images
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


class Layering:
    """For one build."""

    def __init__(
        self, order: Order, images: Images, workshop: Workshop, executor: executing.Executor
    ) -> None:
        self._order = order
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
                account = executing.account_of(step.user, layers)
                owner = (account.uid, account.gid)
                key = keys.make_directory(parent, step, owner)
                return Prepared(key, lambda _: self._make_directory(step.path, owner, layers))
            case Place():
                return await self._prepare_place(step, layers, others, parent)
            case Execute():
                return await self._prepare_execute(step, layers, others, parent)

    # -- WORKDIR, COPY, ADD ----------------------------------------------------------------------------------

    async def _make_directory(self, path: str, owner: tuple[int, int], layers: list[str]) -> Made:
        with self._workshop.bench() as bench:
            tree = _tree(bench, layers)
            await self._workshop.ask("mkdir", path=path, owner=owner, **tree)
            return await self._keep(bench, bench / "upper")

    async def _prepare_place(self, step: Place, layers: list[str], others: Others, parent: str) -> Prepared:
        if any("://" in text for text in step.sources):
            raise CannotPlace(
                "ADD of an address is not supported: fetch it in a RUN, or put the file into the context"
            )
        owner = self._owner(step.owner, layers)
        words = self._source(step.sources, others.get(step.stage), step.exclude)
        with self._workshop.bench() as bench:
            content = await self._content(words, bench)
        key = keys.place(parent, step, content, owner)
        order = {
            **words,
            "written": step.written,
            "target": step.target,
            "owner": owner,
            "mode": _mode(step.mode),
            "parents": step.parents,
            "unpacks": step.unpacks,
        }
        return Prepared(key, lambda _: self._place(order, layers))

    async def _content(self, words: Mapping[str, object], bench: Path) -> str:
        """Of the files themselves: the same content under another stage or at another time is the same."""
        if not words["patterns"]:
            return ""
        answer = await self._workshop.ask("digest", **{**words, "source_place": str(bench / "source")})
        return str(answer["digest"])

    async def _place(self, order: Mapping[str, object], layers: list[str]) -> Made:
        with self._workshop.bench() as bench:
            whole = {**order, **_tree(bench, layers), "source_place": str(bench / "source")}
            await self._workshop.ask("place", **whole)
            return await self._keep(bench, bench / "upper")

    def _source(
        self, patterns: Sequence[str], other: tuple[str, list[str]] | None, exclude: Sequence[str]
    ) -> dict[str, object]:
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
        account = executing.account_of(f"{user}:{group}" if colon else user, layers)
        return account.uid, account.gid if colon or not user.isdecimal() else account.uid

    # -- RUN -------------------------------------------------------------------------------------------------

    async def _prepare_execute(
        self, step: Execute, layers: list[str], others: Others, parent: str
    ) -> Prepared:
        binds = [mount for mount in step.mounts if mount.kind == "bind"]
        shown = [self._source([mount.source or "."], others.get(mount.stage), []) for mount in binds]
        with self._workshop.bench() as bench:
            contents = [await self._content(words, bench) for words in shown]
        key = keys.execute(parent, step, contents)
        return Prepared(
            key, lambda tell: self._execute(step, layers, dict(zip(binds, shown, strict=True)), tell)
        )

    async def _execute(
        self, step: Execute, layers: list[str], binds: Mapping[i.Mount, Mapping[str, object]], tell: Tell
    ) -> Made:
        with self._workshop.bench() as bench:
            shown = {
                mount: await self._show(words, bench, n) for n, (mount, words) in enumerate(binds.items())
            }
            upper, first_id = await self._executor.run(step, layers, bench, shown, tell)
            return await self._keep(bench, upper, first_id)

    async def _show(self, words: Mapping[str, object], bench: Path, number: int) -> Path:
        """A copy of what a bind mount shows: nothing that the command does can reach context or stage."""
        place = bench / f"bind-{number}"
        for name in ("upper", "work", "place", "source"):
            (place / name).mkdir(parents=True)
        how = {"target": "/shown/", "owner": None, "mode": None, "parents": False, "unpacks": False}
        tree = {**_tree(place, [str(self._workshop.empty)]), "source_place": str(place / "source")}
        await self._workshop.ask("place", **{**words, **how, **tree, "written": []})
        found = place / "upper" / "shown"
        members = list(found.iterdir())
        source = str(words["patterns"][0])  # type: ignore[index]
        is_file = len(members) == 1 and members[0].name == os.path.basename(source) and members[0].is_file()
        return members[0] if is_file else found

    # -- layers ----------------------------------------------------------------------------------------------

    async def _keep(self, bench: Path, upper: Path, first_id: int = 0) -> Made:
        """What was written becomes a layer of the library, just as if it had been pulled."""
        if not os.listdir(upper):
            return Made("", None, time.time())
        blob = bench / "blob"
        packed = await self._workshop.ask(
            "pack", directory=str(upper), blob=str(blob), latest=self._latest(), first_id=first_id
        )
        descriptor = Descriptor(OCI_LAYER_GZIP, packed["digest"], packed["size"])
        await self._images.take_layer(blob, descriptor, packed["diff_id"])
        kept = self._workshop.blobs / descriptor.digest.removeprefix("sha256:")
        await asyncio.to_thread(os.replace, blob, kept)
        return Made(packed["diff_id"], descriptor, time.time())

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
