"""The last act of a build: configuration and manifest, and the image's place in the library."""

import asyncio
import datetime as dt
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.builds.order import Order
from agent.images.image import Image
from agent.images.images import Images
from orch.oci import build
from orch.oci.failure import bad_image
from orch.oci.manifest import MOST_LAYERS

if TYPE_CHECKING:
    from agent.builds.stage import Tree


async def assemble(tree: "Tree", order: Order, images: Images) -> Image:
    """Under a name of its own digest; who asked for the build names it."""
    if len(tree.diff_ids) > MOST_LAYERS:
        raise bad_image(
            f"the image has {len(tree.diff_ids)} layers, {MOST_LAYERS} is the most: join some RUNs"
        )
    config = replace(
        tree.config,
        architecture=tree.platform.architecture,
        os=tree.platform.os,
        variant=tree.platform.variant,
        labels=tuple(sorted({**dict(tree.config.labels), **order.labels}.items())),
    )
    config_body = build.configuration(config, tree.diff_ids, tree.history, _created(order, tree.made_at))
    manifest_body = build.manifest_of(config_body, tree.descriptors)
    digest = f"sha256:{hashlib.sha256(manifest_body).hexdigest()}"
    if known := images.find(digest):
        return known
    return await asyncio.to_thread(images.add, manifest_body, config_body)


def _created(order: Order, made_at: float) -> str:
    epoch = order.arguments.get("SOURCE_DATE_EPOCH", "")
    at = dt.datetime.fromtimestamp(int(epoch) if epoch.isdecimal() else int(made_at), dt.UTC)
    return at.replace(tzinfo=None).isoformat() + "Z"
