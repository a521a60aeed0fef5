"""orchctl set: the image or the environment of a service that is there."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from cli import completing, one_object, options, references, session
from cli.exits import NotSo, Wrong

if TYPE_CHECKING:
    from orch.model.container import ContainerSpec


@click.group()
def command() -> None:
    """Change the image or the environment of a service."""


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.argument("images", nargs=-1, required=True, metavar="[CONTAINER=]IMAGE…")
@options.waiting
@session.connected
def image(session_: session.Session, service: str, images: Sequence[str], wait: bool, timeout: float) -> int:
    """Give containers another image.

    \b
    orchctl set image web registry.example.com/web:1.5
    orchctl set image web proxy=envoy:1.31
    """
    wanted = dict(_image(word) for word in images)

    def change(container: "ContainerSpec", is_only: bool) -> "ContainerSpec":
        name = wanted.get(container.name) or (wanted.get("") if is_only or container.name == "main" else None)
        return container.model_copy(update={"image": name}) if name else container

    return _change(session_, service, change, {name for name in wanted if name}, wait=wait, timeout=timeout)


@command.command(cls=one_object.OneObject)
@click.argument("service", shell_complete=completing.names("services"))
@click.argument("variables", nargs=-1, required=True, metavar="KEY=VALUE… KEY-…")
@click.option("-c", "--container", default="", help="Only this container.  [default: all]")
@options.waiting
@session.connected
def env(
    session_: session.Session,
    service: str,
    variables: Sequence[str],
    container: str,
    wait: bool,
    timeout: float,
) -> int:
    """Set or remove variables.

    \b
    orchctl set env web LOG_LEVEL=debug OLD-
    """
    given = dict(word.split("=", 1) for word in variables if "=" in word)
    removed = {word[:-1] for word in variables if "=" not in word and word.endswith("-")}
    wrong = [word for word in variables if "=" not in word and not word.endswith("-")]
    if wrong:
        raise Wrong(f'"{wrong[0]}" is neither KEY=VALUE nor KEY-')

    def change(each: "ContainerSpec", _is_only: bool) -> "ContainerSpec":
        if container not in ("", each.name):
            return each
        kept = {key: value for key, value in each.environment.items() if key not in removed}
        return each.model_copy(update={"environment": kept | given})

    return _change(session_, service, change, {container} - {""}, wait=wait, timeout=timeout)


def _image(word: str) -> tuple[str, str]:
    """An image may hold no `=`, so whatever stands before one is a container."""
    container, equals, name = word.partition("=")
    return (container, name) if equals else ("", word)


def _change(
    session_: session.Session,
    word: str,
    change: Callable[["ContainerSpec", bool], "ContainerSpec"],
    named: set[str],
    *,
    wait: bool,
    timeout: float,
) -> int:
    """Reads the service, changes its containers, and applies it again."""
    from cli import requests, watching
    from cli.render import changes
    from orch import wire
    from orch.manifest.document import ServiceDocument, Written
    from orch.model.service import Service

    _, name = references.name_of(word, references.SERVICE)
    found = session_.get(["services"], [name])
    if not found:
        raise NotSo(f'error: there is no service "{name}"')
    service = wire.from_wire(found[0].service.service, Service)
    containers = service.spec.template.containers
    missing = named - {each.name for each in containers}
    if missing:
        known = ", ".join(each.name for each in containers)
        raise Wrong(f"{name} has no container {', '.join(sorted(missing))}; it has {known}")
    changed = tuple(change(each, len(containers) == 1) for each in containers)
    template = service.spec.template.model_copy(update={"containers": changed})
    spec = service.spec.model_copy(update={"template": template})
    written = Written("orchctl set:1", ServiceDocument(service.name, spec, service.labels))
    reply = session_.client.call("Apply", requests.apply([written]))
    sys.stdout.write(changes.applied(reply))
    return watching.until_serving(session_, watching.goals_of(reply), timeout) if wait else 0
