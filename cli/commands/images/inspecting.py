"""orchctl image inspect: what an image is and how it wants to be run, in the words of `docker image inspect`."""

import json
import platform as machine
import sys
from collections.abc import Sequence
from typing import Any

import click

from cli import registries, session
from cli.exits import Wrong
from orch.oci import image_config, manifest, reading
from orch.oci.failure import ImageFailure
from orch.oci.manifest import Manifest, Platform
from orch.oci.reference import Reference
from orch.oci.registry import Fetched, Registry


@click.command("inspect")
@click.option(
    "--plain-http",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Speak plain HTTP with this registry; with one on this machine that is so anyway.",
)
@click.option(
    "--platform", default="", metavar="OS/ARCH", help="Of several, this one.  [default: this machine's]"
)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@session.connected
def inspect(
    session_: session.Session, plain_http: Sequence[str], platform: str, images: Sequence[str]
) -> None:
    """Show what images are: ports, volumes, user, command, layers.

    As JSON, in the words of `docker image inspect`. A name without a host is in the cluster's own registry.

    \b
    orchctl image inspect shop/web:1
    """
    wanted = _platform(platform)
    sources = [registries.named(image) for image in images]

    async def work(registry: Registry) -> list[dict[str, Any]]:
        return [await _inspected(registry, source, wanted) for source in sources]

    found = registries.use(session_, work, registries.ways(plain_http, *sources))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


async def _inspected(registry: Registry, ref: Reference, wanted: Platform) -> dict[str, Any]:
    named = await registry.manifest(ref)
    chosen, parsed = await _image(registry, ref, named, wanted)
    body = await registry.small_blob(ref, parsed.config)
    config = reading.document(body, "image configuration")
    run = reading.mapping(config.get("config"), "config")
    return {
        "Id": parsed.config.digest,
        "RepoTags": [registries.short(Reference(ref.registry, ref.repository, ref.tag, None))]
        if ref.tag
        else [],
        "RepoDigests": [registries.short(Reference(ref.registry, ref.repository, None, named.digest))],
        "Manifest": chosen.digest,
        "Created": config.get("created", ""),
        "Author": config.get("author", ""),
        "Architecture": config.get("architecture", ""),
        "Variant": config.get("variant", ""),
        "Os": config.get("os", ""),
        "Size": sum(layer.size for layer in parsed.layers),
        "Config": run,
        "RootFS": {"Type": "layers", "Layers": image_config.read(body).diff_ids},
    }


async def _image(
    registry: Registry, ref: Reference, named: Fetched, wanted: Platform
) -> tuple[Fetched, Manifest]:
    parsed = manifest.parse(named.body, named.media_type)
    if isinstance(parsed, Manifest):
        return named, parsed
    chosen = await registry.manifest(ref.pinned(manifest.choose(parsed, wanted).digest))
    found = manifest.parse(chosen.body, chosen.media_type)
    if not isinstance(found, Manifest):
        raise Wrong(f"{ref.familiar} is an index that leads to another index, not to an image")
    return chosen, found


def _platform(text: str) -> Platform:
    try:
        return manifest.platform(text or machine.machine())
    except ImageFailure as failure:
        raise Wrong(f"--platform: {failure.message}") from failure
