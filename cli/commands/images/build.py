"""orchctl image build: an image made from a Dockerfile, on a node of the cluster."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click

from cli import completing, session
from cli.exits import NotSo, Wrong

_CHUNK = 256 << 10


@click.command()
@click.option(
    "-t", "--tag", "names", multiple=True, metavar="NAME[:TAG]", help="What to call it; may be repeated."
)
@click.option(
    "-f", "--file", "dockerfile", metavar="FILE", help="The Dockerfile.  [default: PATH/Dockerfile]"
)
@click.option("--build-arg", "arguments", multiple=True, metavar="KEY[=VALUE]", help="The value of an ARG.")
@click.option("--target", default="", metavar="STAGE", help="Stop at this stage.  [default: the last]")
@click.option("--platform", default="", metavar="OS/ARCH", help="What it is for.  [default: the node's own]")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="One more label of the image.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=NAME,src=FILE", help="For RUN --mount=type=secret."
)
@click.option("--no-cache", is_flag=True, help="Do every step again.")
@click.option("--pull", is_flag=True, help="Ask registries again for base images.")
@click.option("--node", default="", shell_complete=completing.names("nodes"), help="Where to build.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
@click.argument("path", type=click.Path(path_type=Path))
@session.connected
def build(
    session_: session.Session,
    names: Sequence[str],
    dockerfile: str | None,
    arguments: Sequence[str],
    target: str,
    platform: str,
    labels: Sequence[str],
    secrets: Sequence[str],
    no_cache: bool,
    pull: bool,
    node: str,
    quiet: bool,
    path: Path,
) -> None:
    """Build an image from a Dockerfile, with the files below PATH.

    A node builds it and pushes it to the cluster's own registry, so that a manifest can say `image: NAME:TAG`.

    \b
    orchctl image build -t shop/web:1 .
    orchctl image build -t web:2 -f docker/Dockerfile --build-arg VERSION=2 .
    """
    from cli import build_context
    from cli.render import building
    from orch.dockerfile import ignore
    from orch.v1 import control_pb2 as pb

    file = _dockerfile(path, dockerfile)
    ignored = build_context.ignored_in(path, file)
    start = pb.BuildStart(
        names=_checked(names),
        dockerfile=_text(file),
        dockerfile_name=str(dockerfile or file.name),
        target=target,
        arguments=_arguments(arguments),
        secrets=dict(_secret(text) for text in secrets),
        ignored=ignored,
        platform=platform,
        labels=dict(_pair(text, "--label") for text in labels),
        no_cache=no_cache,
        pull=pull,
        node=node,
    )
    _check(start)
    with tempfile.TemporaryFile() as archive:
        build_context.pack(path, ignore.read(ignored), archive)
        start.context_size = archive.tell()
        archive.seek(0)
        shown = building.Building(quiet=quiet)
        for reply in session_.client.converse("Build", _requests(start, archive)):
            match reply.WhichOneof("kind"):
                case "progress":
                    sys.stdout.write(shown.line(reply.progress))
                    sys.stdout.flush()
                case "end":
                    _end(reply.end, quiet=quiet)
                    return
    raise NotSo("error: the connection ended before the build did; run it again: what was done is kept")


def _requests(start: Any, archive: IO[bytes]) -> Iterator[Any]:
    from orch.v1 import control_pb2 as pb

    yield pb.BuildInput(start=start)
    while chunk := archive.read(_CHUNK):
        yield pb.BuildInput(context=chunk)
    yield pb.BuildInput(context_closed=True)


def _end(end: Any, *, quiet: bool) -> None:
    if end.problem:
        raise NotSo(f"error: {end.problem}")
    if quiet:
        sys.stdout.write(f"{end.digest}\n")
        return
    for name in end.names or ["(no name: -t gives it one)"]:
        sys.stdout.write(f"built {name}  {end.digest}\n")


def _dockerfile(path: Path, given: str | None) -> Path:
    if not path.is_dir():
        raise Wrong(f"{path} is not a directory: the last word says which files the build may use; try .")
    file = Path(given) if given else path / "Dockerfile"
    if not file.is_file():
        raise Wrong(f"there is no {file}: write one, or say where it is with -f")
    return file


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError as error:
        raise Wrong(f"{file} is not text: {error}") from error


def _check(start: Any) -> None:
    """What is wrong with the Dockerfile itself is said before anything is sent."""
    from orch.dockerfile import parse, stages
    from orch.dockerfile.problem import DockerfileError

    try:
        placed = parse.parse(start.dockerfile)
        stages.recipe(placed, dict(start.arguments), {}).target(start.target)
    except DockerfileError as error:
        raise Wrong(error.sentence(start.dockerfile_name)) from error
    for name in stages.unused(placed, dict(start.arguments)):
        sys.stderr.write(f"warning: --build-arg {name}: {start.dockerfile_name} has no ARG {name}\n")


def _checked(names: Sequence[str]) -> list[str]:
    from orch.oci import reference
    from orch.oci.failure import ImageFailure

    for name in names:
        try:
            found = reference.of_own(name)
        except ImageFailure as failure:
            raise Wrong(failure.message) from failure
        if found.digest:
            raise Wrong(f"-t {name}: a digest cannot be given to an image, it has one; leave it out")
    return list(names)


def _arguments(words: Sequence[str]) -> dict[str, str]:
    import os

    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    if "SOURCE_DATE_EPOCH" in os.environ:
        found.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    return found


def _secret(text: str) -> tuple[str, bytes]:
    import os

    parts = dict(part.partition("=")[::2] for part in text.split(","))
    identity = parts.get("id", "")
    source = parts.get("src", parts.get("source", ""))
    if not identity:
        raise Wrong(f"--secret {text}: write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if variable := parts.get("env", "" if source else identity):
        if variable not in os.environ:
            raise Wrong(f"--secret {text}: there is no variable {variable}")
        return identity, os.environb[variable.encode()]
    try:
        return identity, Path(source).read_bytes()
    except OSError as error:
        raise Wrong(f"--secret {text}: {source}: {error.strerror}") from error


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Wrong(f"{option} {text}: write KEY=VALUE")
    return name, value
