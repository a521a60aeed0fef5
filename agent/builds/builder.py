"""From a Dockerfile and a context to an image in the library: the flow on one screen, and one step on the next."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.builds import assemble, executing, keys
from agent.builds.cache import Cache, Made, blob_path
from agent.builds.layering import Layering
from agent.builds.order import BuildFailed, Order, Progress, Say
from agent.builds.sources import CannotPlace
from agent.builds.workshop import Workshop
from agent.images.images import Images
from agent.images.library import Image
from agent.reconciler.accounts import UnknownUser
from agent.runtime.container import LaunchFailed
from orch.dockerfile import instructions as i
from orch.dockerfile import parse, source, stages, steps
from orch.dockerfile.problem import DockerfileError
from orch.dockerfile.stages import SCRATCH, Recipe, Stage
from orch.dockerfile.steps import Execute, MakeDirectory, Place, State
from orch.oci.build import History
from orch.oci.failure import ImageFailure
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import DOCKER_LAYER, OCI_LAYER_GZIP, Descriptor
from orch.oci.reference import Reference


@dataclass(slots=True)
class Tree:
    """An image while it grows."""

    config: ImageConfig
    key: str
    diff_ids: list[str] = field(default_factory=list)
    descriptors: list[Descriptor] = field(default_factory=list)
    history: list[History] = field(default_factory=list)
    made_at: float = 0.0
    """Unix seconds: when its youngest step was done."""


class Builder:
    """For one order."""

    def __init__(
        self,
        order: Order,
        name: str,
        images: Images,
        workshop: Workshop,
        cache: Cache,
        hands: executing.Hands,
    ) -> None:
        self._order = order
        self._images = images
        self._cache = cache
        self._workshop = workshop
        self._executor = executing.Executor(hands, workshop, name, order.secrets)
        self._layering = Layering(order, images, workshop, cache, self._executor)
        self._trees: dict[int, Tree] = {}
        self.origins: dict[str, Reference] = {}
        """Where the layers of base images may be fetched from, by digest."""
        self._step = 0
        self._steps = 0

    async def build(self, say: Say) -> Image:
        """Raises BuildFailed."""
        line = 0
        try:
            placed = parse.parse(self._order.dockerfile)
            recipe = stages.recipe(placed, self._order.arguments, assemble.platform_words())
            target = recipe.target(self._order.target)
            needed = recipe.needed(target)
            self._steps = sum(1 + len(stage.instructions) for stage in needed)
            for stage in needed:
                line = stage.line
                self._trees[stage.number] = await self._build_stage(recipe, stage, say)
            return await assemble.assemble(self._trees[target.number], self._order, self._images)
        except DockerfileError as error:
            raise BuildFailed(error.sentence(self._order.name)) from error
        except ImageFailure as error:
            raise BuildFailed(DockerfileError(line, error.message).sentence(self._order.name)) from error
        finally:
            await self._executor.close()

    async def _build_stage(self, recipe: Recipe, stage: Stage, say: Say) -> Tree:
        self._begin(say, f"FROM {stage.base}" + (f" AS {stage.name}" if stage.name else ""))
        tree = await self._base(recipe, stage)
        escape = source.read(self._order.dockerfile).escape
        state = steps.begin(tree.config, self._order.arguments, escape)
        triggers = [parse.one(source.read(text).lines[0], escape) for text in tree.config.on_build]
        for one in (*triggers, *stage.instructions):
            state = await self._follow(recipe, stage, tree, state, one, say)
        tree.config = state.config
        return tree

    async def _base(self, recipe: Recipe, stage: Stage) -> Tree:
        if earlier := recipe.before(stage, stage.base):
            below = self._trees[earlier.number]
            return Tree(
                below.config,
                below.key,
                [*below.diff_ids],
                [*below.descriptors],
                [*below.history],
                below.made_at,
            )
        assemble.check_platform(stage.platform or self._order.platform, stage.line)
        if stage.base == SCRATCH:
            return Tree(ImageConfig(), keys.base(""))
        image = await self._pull(stage.base)
        stored = self._images.stored(image.digest)
        self.origins |= self._images.origins(image.digest)
        tree = Tree(image.config, keys.base(image.digest))
        for diff_id, layer in zip(stored.config.diff_ids, stored.manifest.layers, strict=True):
            has_layer = await self._take_over(tree, diff_id, _as_oci(layer))
            tree.history.append(History(f"FROM {stage.base}", has_layer))
        return tree

    async def _take_over(self, tree: Tree, diff_id: str, layer: Descriptor) -> bool:
        """A layer of the base, such that the new image can be pushed; False when nothing is in it."""
        if layer.digest in self.origins or blob_path(self._workshop.blobs, layer.digest).exists():
            tree.diff_ids.append(diff_id)
            tree.descriptors.append(layer)
            return True
        return _add(tree, replace(await self._layering.packed_again(diff_id), at=0.0))

    async def _pull(self, reference: str) -> Image:
        return await self._images.pull(reference, policy="Always" if self._order.pull else "IfNotPresent")

    async def _follow(
        self, recipe: Recipe, stage: Stage, tree: Tree, state: State, one: i.Placed, say: Say
    ) -> State:
        self._begin(say, one.text)
        began = time.monotonic()
        after, step = steps.follow(state, one, self._order.arguments, recipe.defaults)
        has_layer = False
        if step is not None:
            try:
                has_layer = await self._perform(recipe, stage, tree, step, say)
            except (CannotPlace, UnknownUser, executing.Failed) as error:
                raise DockerfileError(one.line, str(error)) from error
            except LaunchFailed as error:
                raise DockerfileError(one.line, f"cannot be run: {error.message}") from error
        tree.history.append(History(_told(one, state), has_layer))
        say(Progress(self._step, self._steps, "", "done", time.monotonic() - began))
        return after

    async def _perform(self, recipe: Recipe, stage: Stage, tree: Tree, step: steps.Step, say: Say) -> bool:
        """Whether the step has a layer; from the cache where that knows it."""
        layers = self._layering.paths(tree.diff_ids)
        others = {name: await self._tree_named(recipe, stage, name) for name in _named(step)}
        prepared = await self._layering.prepare(step, layers, others, tree.key)
        made = self._cache.find(prepared.key) if self._order.use_cache else None
        if made is not None:
            say(Progress(self._step, self._steps, "", "cached"))
        else:
            number, total = self._step, self._steps
            made = await prepared.perform(lambda text: say(Progress(number, total, text, "output")))
            self._cache.keep(prepared.key, made)
        tree.key = prepared.key
        return _add(tree, made)

    async def _tree_named(self, recipe: Recipe, stage: Stage, name: str) -> tuple[str, list[str]]:
        """(what identifies it, its layers' directories) of what a --from means."""
        if earlier := recipe.before(stage, name):
            tree = self._trees[earlier.number]
            return tree.key, self._layering.paths(tree.diff_ids)
        image = await self._pull(name)
        return image.digest, list(image.layers)

    def _begin(self, say: Say, text: str) -> None:
        self._step += 1
        say(Progress(self._step, self._steps, text, "begin"))


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
