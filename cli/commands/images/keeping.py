"""orchctl image tag, rm: names in the cluster's own registry."""

import sys

import click

from cli import registries, session
from cli.exits import NotSo
from orch.oci.failure import ImageFailure, Reason
from orch.oci.registry import Registry


@click.command("tag")
@click.argument("image", metavar="IMAGE")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG]…")
@session.connected
def tag(session_: session.Session, image: str, names: tuple[str, ...]) -> None:
    """Give an image of the cluster's registry other names.

    \b
    orchctl image tag shop/web:1 shop/web:stable
    """
    source = registries.in_cluster(image)
    targets = [registries.new_name(name) for name in names]

    async def work(registry: Registry) -> None:
        from orch.oci import copying

        for target in targets:
            digest = await copying.copy(registry, source, target, lambda _blob, _what: None)
            sys.stdout.write(f"{registries.short(target)}  {digest}\n")

    registries.use(session_, work)


@click.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG]…")
@session.connected
def rm(session_: session.Session, names: tuple[str, ...]) -> None:
    """Take names away from images of the cluster's registry.

    An image without a name can still be had by its digest, so that a rollback works; NAME@sha256:… takes it away
    for good, with all its names. Nodes that hold it keep it until nothing has used it for long.
    """
    wanted = [registries.in_cluster(name) for name in names]

    async def work(registry: Registry) -> list[str]:
        missing = []
        for ref in wanted:
            try:
                await registry.remove(ref)
            except ImageFailure as failure:
                if failure.reason is not Reason.IMAGE_NOT_FOUND:
                    raise
                missing.append(registries.short(ref))
            else:
                sys.stdout.write(f"{registries.short(ref)} removed\n")
        return missing

    if missing := registries.use(session_, work):
        raise NotSo(f"error: the cluster's registry has no {', '.join(missing)}; see: orchctl image ls")
