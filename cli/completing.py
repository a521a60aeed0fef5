"""What Tab offers for an argument: kinds, and the names that the cluster has now.

Whatever goes wrong, nothing is offered: an error in the middle of a line that is being typed helps nobody.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cli.references import Kind

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def names(*kinds: str) -> Complete:
    """Bare names of these kinds (their plurals); KIND/NAME as soon as a slash is typed."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        from cli import references

        if "/" in incomplete:
            return _after_slash(context, incomplete)
        wanted = [kind for kind in references.KINDS if kind.plural in kinds]
        return _beginning(incomplete, _known(context, wanted))

    return complete


def kinds_and_names(bare: str = "") -> Complete:
    """A kind first, then its names, or KIND/NAME; `bare`: the kind that a name without one means."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from cli import references
        from cli.exits import Wrong

        if "/" in incomplete:
            return _after_slash(context, incomplete)
        before = context.params.get(parameter.name or "") or ()
        if not before:
            plurals = [kind.plural for kind in references.KINDS]
            return _beginning(incomplete, plurals) + (
                names(bare)(context, parameter, incomplete) if bare else []
            )
        try:
            kind = references.kind_of(before[0])
        except Wrong:
            return names(bare)(context, parameter, incomplete) if bare else []
        return _beginning(incomplete, _known(context, [kind]))

    return complete


def contexts(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of saved clusters."""
    from cli import context

    return _beginning(incomplete, context.names())


def _after_slash(context: click.Context, incomplete: str) -> list[str]:
    from cli import references
    from cli.exits import Wrong

    word, _, begun = incomplete.partition("/")
    try:
        kind = references.kind_of(word)
    except Wrong:
        return []
    return [f"{word}/{name}" for name in _beginning(begun, _known(context, [kind]))]


def _known(context: click.Context, kinds: Sequence["Kind"]) -> list[str]:
    from cli import session
    from cli.render import documents

    given = session.Session(context.params.get("context_name") or "", context.params.get("namespace") or "")
    try:
        found = [each for kind in kinds for each in given.get([kind.plural])]
        written = [documents.name_of(each.WhichOneof("kind"), _view(each)) for each in found]
        tasks = {id(each) for each in found if each.WhichOneof("kind") == "task"}
        # People name a task by its slot: web.2, not web.2.7.
        pairs = zip(found, written, strict=True)
        return [name.rpartition(".")[0] if id(each) in tasks else name for each, name in pairs]
    except Exception:  # see above
        return []
    finally:
        given.close()


def _view(object_: Any) -> Any:
    return getattr(object_, object_.WhichOneof("kind"))


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
