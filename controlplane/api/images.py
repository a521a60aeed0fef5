"""ListImages: what the cluster's own registry has, and what nodes hold."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.api import errors, forwarding, relay
from controlplane.loop import picture
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2

ANSWER_SECONDS = 10.0


class Tagged(Protocol):
    """controlplane.registry.listing.Tagged."""

    @property
    def repository(self) -> str: ...
    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def at(self) -> float: ...


@dataclass(frozen=True, slots=True)
class ListingImages:
    """Handler of ListImages; only the leader holds sessions; a follower hands on."""

    picture: picture.Picture
    relay: relay.Relay
    forwarding: forwarding.Forwarding
    tags: Callable[[], Awaitable[Sequence[Tagged]]]

    async def list_images(self, request: Any, _context: Any) -> pb.ListImagesReply:
        """Raises Unreachable."""
        if self.forwarding.is_needed:
            async with self.forwarding.leader() as stub:
                found: pb.ListImagesReply = await stub.ListImages(request)
                return found
        if request.nodes:
            return await self._on_nodes()
        return pb.ListImagesReply(
            images=[
                pb.RegistryImage(
                    repository=one.repository,
                    tag=one.tag,
                    digest=one.digest,
                    size=one.size,
                    pushed_at=one.at,
                )
                for one in await self.tags()
            ]
        )

    async def _on_nodes(self) -> pb.ListImagesReply:
        """All are asked at once; one that does not answer is named, and the others are shown."""
        nodes = sorted(self.picture.cluster.nodes)
        answers = await asyncio.gather(*(self._ask(node) for node in nodes))
        reply = pb.ListImagesReply()
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, str):
                reply.problems.append(f"{node}: {answer}")
                continue
            for image in answer.images:
                image.node = node
                reply.on_nodes.append(image)
        return reply

    async def _ask(self, node: str) -> Any:
        """A NodeImages, or why there is none."""
        ask = sessions_pb2.StreamAsk(images=sessions_pb2.ImagesAsk())
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self.relay.ask(node, ask) as stream:
                async for answer in stream.answers():
                    if answer.WhichOneof("kind") == "images":
                        return answer.images
                    if answer.problem:
                        return str(answer.problem)
        except (errors.Unreachable, errors.NotPossible) as error:
            return str(error)
        except TimeoutError:
            return f"did not answer within {ANSWER_SECONDS:g} s"
        return "ended the answer before it began"
