"""orchctl explain: what a key of a manifest is for."""

import sys

import click
from click.shell_completion import CompletionItem


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from orch.manifest import explain, kinds

    known = [path for kind in kinds.KINDS.values() for path in explain.paths(kind)]
    return [CompletionItem(path) for path in known if path.startswith(incomplete)]


@click.command()
@click.argument("path", required=False, shell_complete=_complete, metavar="KIND[.KEY…]")
def command(path: str | None) -> None:
    """What a key of a manifest is for, of what type, and with which default.

    \b
    orchctl explain service
    orchctl explain service.rollout.canary
    """
    from orch.manifest import explain, kinds

    if path is None:
        for kind in kinds.KINDS.values():
            sys.stdout.write(f"{kind.name.lower():<12} {kind.doc}\n")
        return
    sys.stdout.write(explain.explain(path))
