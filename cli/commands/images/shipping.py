"""orchctl image pull, push, import, save: the cluster's registry, other registries, and files."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import click

from cli import registries, session
from cli.exits import NotSo, Wrong
from cli.render import words
from orch.oci import copying, layout, reference
from orch.oci.failure import ImageFailure
from orch.oci.manifest import Descriptor
from orch.oci.reference import CLUSTER, Reference
from orch.oci.registry import Registry

_PLAIN_HTTP = click.option(
    "--plain-http",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Speak plain HTTP with this registry; with one on this machine that is so anyway.",
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")


@click.command("pull")
@_PLAIN_HTTP
@_QUIET
@click.argument("image", metavar="IMAGE")
@click.argument("name", required=False, metavar="[NAME[:TAG]]")
@session.connected
def pull(
    session_: session.Session, plain_http: Sequence[str], quiet: bool, image: str, name: str | None
) -> None:
    """Copy an image from another registry into the cluster's, all its platforms.

    Without a NAME it is called as there, without the host. Credentials are those of `docker login`.

    \b
    orchctl image pull redis:7                       Docker Hub's; here redis:7
    orchctl image pull ghcr.io/shop/web:1 web:1
    """
    source = registries.elsewhere(image)
    target = registries.new_name(name) if name else _named_as(source)
    _copy(session_, source, target, plain_http, quiet=quiet)


@click.command("push")
@_PLAIN_HTTP
@_QUIET
@click.argument("image", metavar="IMAGE")
@click.argument("target", metavar="HOST/NAME[:TAG]")
@session.connected
def push(session_: session.Session, plain_http: Sequence[str], quiet: bool, image: str, target: str) -> None:
    """Copy an image from the cluster's registry to another, all its platforms.

    Credentials are those of `docker login`.

    \b
    orchctl image push shop/web:1 ghcr.io/shop/web:1
    """
    source = registries.in_cluster(image)
    wanted = registries.elsewhere(target)
    if wanted.digest:
        raise Wrong(f"{target}: a digest cannot be given to an image, it has one; leave it out")
    _copy(session_, source, wanted, plain_http, quiet=quiet)


def _copy(
    session_: session.Session, source: Reference, target: Reference, plain_http: Sequence[str], *, quiet: bool
) -> None:
    def report(blob: Descriptor, what: str) -> None:
        if not quiet:
            sys.stderr.write(f"  {blob.digest[:19]}  {words.size(blob.size):>10}  {what}\n")

    async def work(registry: Registry) -> str:
        return await copying.copy(registry, source, target, report)

    digest = registries.use(session_, work, registries.ways(plain_http, source, target))
    sys.stdout.write(f"{digest}\n" if quiet else f"{registries.short(target)}  {digest}\n")


@click.command("import")
@click.option(
    "-t",
    "--tag",
    "names",
    multiple=True,
    metavar="NAME[:TAG]",
    help="What to call it, if one image is there.",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@session.connected
def import_(session_: session.Session, names: Sequence[str], file: Path) -> None:
    """Put the images of a file into the cluster's registry.

    FILE is what `docker save`, `podman save` or `orchctl image save` writes, or an OCI layout in a tar.
    """
    given = [registries.new_name(name) for name in names]

    async def work(registry: Registry) -> None:
        with layout.Archive(file) as archive:
            if given and len(archive.images) != 1:
                raise Wrong(f"{file} holds {len(archive.images)} images: -t names a single one; leave it out")
            for held in archive.images:
                for target in given or _targets(held, file):
                    digest = await archive.push(registry, held, target)
                    sys.stdout.write(f"{registries.short(target)}  {digest}\n")

    registries.use(session_, work)


@click.command("save")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@_PLAIN_HTTP
@click.argument("image", metavar="IMAGE")
@session.connected
def save(session_: session.Session, output: Path | None, plain_http: Sequence[str], image: str) -> None:
    """Write an image into a file that docker, podman, skopeo and `orchctl image import` read.

    Without -o it is written to standard output, when that is no terminal.
    """
    source = registries.named(image)
    name = registries.short(source)
    if output is None and sys.stdout.isatty():
        raise Wrong("an archive does not belong on a terminal: -o FILE, or send it somewhere")

    def saving(file: IO[bytes]) -> str:
        async def work(registry: Registry) -> str:
            return await layout.write(registry, source, name, file)

        return registries.use(session_, work, registries.ways(plain_http, source))

    if output is None:
        saving(sys.stdout.buffer)
        return
    digest = _whole_or_not(output, saving)
    sys.stdout.write(f"{output}  {name}  {digest}\n")


def _whole_or_not(path: Path, saving: Callable[[IO[bytes]], str]) -> str:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            beside = Path(file.name)
            try:
                digest = saving(file)
                beside.chmod(0o644)
                beside.replace(path)
            except BaseException:
                with suppress(FileNotFoundError):
                    beside.unlink()
                raise
    except OSError as error:
        raise NotSo(f"error: {path} cannot be written: {error.strerror}") from error
    return digest


def _targets(held: layout.Held, file: Path) -> list[Reference]:
    if not held.names:
        raise Wrong(f"{file} does not say what its image is called: -t NAME:TAG does")
    try:
        return [_named_as(reference.parse(name)) for name in held.names]
    except ImageFailure as failure:
        raise Wrong(failure.message) from failure


def _named_as(there: Reference) -> Reference:
    """The same name in the cluster's registry; without the `library/` that only Docker Hub has."""
    repository = there.repository
    if there.registry == reference.DOCKER_HUB:
        repository = repository.removeprefix("library/")
    return Reference(CLUSTER, repository, there.tag or (None if there.digest else "latest"), there.digest)
