"""From a Dockerfile and a context to an image in the library: stages go side by side, the flow on one screen."""

import asyncio
from collections.abc import Sequence

from agent.builds import assemble, executing, platforms
from agent.builds.cache import Cache
from agent.builds.layering import Layering
from agent.builds.order import BuildFailed, Order, Say
from agent.builds.stage import Site, StageWork
from agent.builds.workshop import Workshop
from agent.images.image import Image
from agent.images.images import Images, this_platform
from orch.dockerfile import parse, stages
from orch.dockerfile.problem import DockerfileError
from orch.dockerfile.stages import Stage
from orch.oci.failure import ImageFailure
from orch.oci.reference import Reference


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
        self._name = name
        self._images = images
        self._workshop = workshop
        self._cache = cache
        self._hands = hands
        self.origins: dict[str, Reference] = {}
        """Where the layers of base images may be fetched from, by digest."""

    async def build(self, say: Say) -> Image:
        """Raises BuildFailed."""
        order = self._order
        try:
            platform = platforms.wanted(order.platform) if order.platform else this_platform()
            placed = parse.parse(order.dockerfile)
            recipe = stages.recipe(placed, order.arguments, platforms.words(platform))
            target = recipe.target(order.target)
            needed = recipe.needed(target)
            count = sum(1 + len(stage.instructions) for stage in needed)
            done = {stage.number: asyncio.Event() for stage in needed}
            site = Site(order, platform, self._images, self._workshop, self._cache, recipe, say, count, done)
            await self._build_all(site, needed)
            self.origins = site.origins
            return await assemble.assemble(site.trees[target.number], order, self._images)
        except DockerfileError as error:
            raise BuildFailed(error.sentence(order.name)) from error
        except ImageFailure as error:
            raise BuildFailed(f"{order.name}: {error.message}") from error

    async def _build_all(self, site: Site, needed: Sequence[Stage]) -> None:
        """Each stage waits where it takes something from another; the first that fails ends all."""
        first = 1
        try:
            async with asyncio.TaskGroup() as group:
                for stage in needed:
                    group.create_task(self._build_stage(site, stage, first))
                    first += 1 + len(stage.instructions)
        except BaseExceptionGroup as several:
            raise _first(several) from several

    async def _build_stage(self, site: Site, stage: Stage, first: int) -> None:
        name = f"{self._name}-{stage.number}"
        executor = executing.Executor(self._hands, self._workshop, name, self._order.secrets)
        layering = Layering(self._order, self._images, self._workshop, self._cache, executor)
        try:
            site.trees[stage.number] = await StageWork(site, stage, layering, first).build()
        finally:
            await executor.close()
        site.done[stage.number].set()


def _first(several: BaseExceptionGroup) -> BaseException:
    found = several.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
