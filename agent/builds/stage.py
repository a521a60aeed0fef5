"""One stage of a build, from its FROM to its last line: each step becomes a layer, from the cache or anew."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.builds import executing, keys, platforms
from agent.builds.cache import Cache, Made, blob_path
from agent.builds.layering import Layering, Prepared
from agent.builds.order import Order, Progress, Say
from agent.builds.sources import CannotPlace
from agent.builds.workshop import Workshop
from agent.images.image import Image
from agent.images.images import Images, Policy, this_platform
from agent.reconciler.accounts import UnknownUser
from agent.runtime.container import LaunchFailed
from orch.dockerfile import instructions as i
from orch.dockerfile import parse, source, steps
from orch.dockerfile.problem import DockerfileError
from orch.dockerfile.stages import SCRATCH, Recipe, Stage
from orch.dockerfile.steps import Execute, MakeDirectory, Place, State
from orch.oci import reference
from orch.oci.build import History
from orch.oci.failure import ImageFailure, Reason
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import DOCKER_LAYER, OCI_LAYER_GZIP, Descriptor, Platform
from orch.oci.reference import Reference

STEPS_AT_ONCE = max(2, min(8, os.cpu_count() or 2))


@dataclass(slots=True)
class Tree:
    """An image while it grows."""

    config: ImageConfig
    platform: Platform
    """What its programs run on."""
    key: str
    diff_ids: list[str] = field(default_factory=list)
    descriptors: list[Descriptor] = field(default_factory=list)
    history: list[History] = field(default_factory=list)
    made_at: float = 0.0
    """Unix seconds: when its youngest step was done."""


@dataclass(slots=True)
class Site:
    """What the stages of one build have in common."""

    order: Order
    platform: Platform
    """What the image is for."""
    images: Images
    workshop: Workshop
    cache: Cache
    recipe: Recipe
    say: Say
    steps: int
    """How many there are in all."""
    done: dict[int, asyncio.Event]
    """For each stage that is built."""
    trees: dict[int, Tree] = field(default_factory=dict)
    origins: dict[str, Reference] = field(default_factory=dict)
    """Where the layers of base images may be fetched from, by digest."""
    made: dict[str, Made] = field(default_factory=dict)
    """By key: two stages with the same step share what it makes."""
    at_work: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STEPS_AT_ONCE))

    async def tree(self, number: int) -> Tree:
        """Of a stage, as soon as it is there."""
        await self.done[number].wait()
        return self.trees[number]


class StageWork:
    """For one stage; `first` is the number of its FROM among all steps."""

    def __init__(self, site: Site, stage: Stage, layering: Layering, first: int) -> None:
        self._site = site
        self._stage = stage
        self._layering = layering
        self._step = first

    async def build(self) -> Tree:
        """Raises DockerfileError."""
        stage, order = self._stage, self._site.order
        self._say(f"FROM {stage.base}" + (f" AS {stage.name}" if stage.name else ""), "begin")
        try:
            tree = await self._base()
        except ImageFailure as error:
            raise DockerfileError(stage.line, error.message) from error
        escape = source.read(order.dockerfile).escape
        state = steps.begin(tree.config, order.arguments, escape)
        for text in tree.config.on_build:
            state = await self._follow(tree, state, parse.one(source.read(text).lines[0], escape))
        for one in stage.instructions:
            self._step += 1
            state = await self._follow(tree, state, one)
        tree.config = state.config
        return tree

    async def _base(self) -> Tree:
        site, stage = self._site, self._stage
        if earlier := site.recipe.before(stage, stage.base):
            below = await site.tree(earlier.number)
            return Tree(
                below.config,
                below.platform,
                below.key,
                [*below.diff_ids],
                [*below.descriptors],
                [*below.history],
                below.made_at,
            )
        platform = platforms.wanted(stage.platform) if stage.platform else site.platform
        if stage.base == SCRATCH:
            return Tree(ImageConfig(), platform, keys.base(""))
        image = await self._pull(stage.base, platform)
        stored = site.images.stored(image.digest)
        site.origins |= site.images.origins(image.digest)
        tree = Tree(image.config, platform, keys.base(image.digest))
        for diff_id, layer in zip(stored.config.diff_ids, stored.manifest.layers, strict=True):
            has_layer = await self._take_over(tree, diff_id, _as_oci(layer))
            tree.history.append(History(f"FROM {stage.base}", has_layer))
        return tree

    async def _take_over(self, tree: Tree, diff_id: str, layer: Descriptor) -> bool:
        """A layer of the base, such that the new image can be pushed; False when nothing is in it."""
        if layer.digest in self._site.origins or blob_path(self._site.workshop.blobs, layer.digest).exists():
            tree.diff_ids.append(diff_id)
            tree.descriptors.append(layer)
            return True
        return _add(tree, replace(await self._layering.packed_again(diff_id), at=0.0))

    async def _pull(self, name: str, platform: Platform) -> Image:
        images, order = self._site.images, self._site.order
        policy: Policy = "Always" if order.pull else "IfNotPresent"
        if not order.has_own_registry or reference.names_a_registry(name):
            return await images.pull(name, policy=policy, platform=platform)
        try:  # what its tag stands for now: it is near, and a build of a moment ago may have moved it
            return await images.pull(str(reference.of_own(name)), policy="Always", platform=platform)
        except ImageFailure as failure:
            if failure.reason is not Reason.IMAGE_NOT_FOUND:
                raise
        try:
            return await images.pull(name, policy=policy, platform=platform)
        except ImageFailure as failure:
            words = f"{failure.message}; nor does the cluster's own registry have {name}"
            raise ImageFailure(failure.reason, words) from failure

    async def _follow(self, tree: Tree, state: State, one: i.Placed) -> State:
        self._say(one.text, "begin")
        began = time.monotonic()
        after, step = steps.follow(state, one, self._site.order.arguments, self._site.recipe.defaults)
        has_layer = False
        if isinstance(step, Execute) and not platforms.runs_here(tree.platform):
            raise DockerfileError(one.line, *_cannot_run(tree.platform))
        if step is not None:
            try:
                has_layer = await self._perform(tree, step)
            except (CannotPlace, UnknownUser, executing.Failed) as error:
                raise DockerfileError(one.line, str(error)) from error
            except ImageFailure as error:
                raise DockerfileError(one.line, error.message) from error
            except LaunchFailed as error:
                raise DockerfileError(one.line, f"cannot be run: {error.message}") from error
        tree.history.append(History(_told(one, state), has_layer))
        self._say("", "done", time.monotonic() - began)
        return after

    async def _perform(self, tree: Tree, step: steps.Step) -> bool:
        """Whether the step has a layer."""
        layers = self._layering.paths(tree.diff_ids)
        others = {name: await self._tree_named(name, tree.platform) for name in _named(step)}
        prepared = await self._layering.prepare(step, layers, others, tree.key)
        async with self._site.at_work[prepared.key]:
            made = self._site.made[prepared.key] = await self._made(prepared)
        tree.key = prepared.key
        return _add(tree, made)

    async def _made(self, prepared: Prepared) -> Made:
        """By this build, by one before it, or now."""
        site = self._site
        known = site.made.get(prepared.key) or (
            site.cache.find(prepared.key) if site.order.use_cache else None
        )
        if known is not None:
            self._say("", "cached")
            return known
        async with site.turn:
            made = await prepared.perform(lambda text: self._say(text, "output"))
        site.cache.keep(prepared.key, made)
        return made

    async def _tree_named(self, name: str, platform: Platform) -> tuple[str, list[str]]:
        """(what identifies it, its layers' directories) of what a --from means."""
        if earlier := self._site.recipe.before(self._stage, name):
            tree = await self._site.tree(earlier.number)
            return tree.key, self._layering.paths(tree.diff_ids)
        image = await self._pull(name, platform)
        return image.digest, list(image.layers)

    def _say(self, text: str, kind: str, seconds: float = 0.0) -> None:
        self._site.say(Progress(self._step, self._site.steps, text, kind, seconds))


def _cannot_run(platform: Platform) -> tuple[str, str]:
    """What is wrong, and what to do."""
    here = this_platform()
    problem = (
        f"RUN of a program for {platform} on a node that is {here} and has no interpreter for such programs"
    )
    remedy = (
        "build on a node of that kind (--node), install qemu-user-static and binfmt-support on this one, or make "
        "the files in a stage FROM --platform=$BUILDPLATFORM and take them by COPY --from"
    )
    return problem, remedy


def _as_oci(layer: Descriptor) -> Descriptor:
    """Docker's layers are the same bytes under another name."""
    return replace(layer, media_type=OCI_LAYER_GZIP if layer.media_type == DOCKER_LAYER else layer.media_type)


def _add(tree: Tree, made: Made) -> bool:
    tree.made_at = max(tree.made_at, made.at)
    if made.descriptor is None:
        return False
    tree.diff_ids.append(made.diff_id)
    tree.descriptors.append(made.descriptor)
    return True


def _named(step: steps.Step) -> Sequence[str]:
    match step:
        case Place(stage=name) if name:
            return [name]
        case Execute(mounts=mounts):
            return [mount.stage for mount in mounts if mount.stage]
        case Place() | MakeDirectory():
            return []


def _told(one: i.Placed, state: State) -> str:
    """As `docker history` shows it."""
    if not isinstance(one.instruction, i.Run):
        return one.text
    given: Mapping[str, str] = state.arguments
    words = " ".join(f"{name}={value}" for name, value in sorted(given.items()))
    return f"RUN |{len(given)} {words} {one.text[4:].strip()}" if given else one.text
