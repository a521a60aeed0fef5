"""Commands about one object take `svc web` for `svc/web`, as kubectl's hands type it."""

from collections.abc import Sequence

import click

from cli import references


class OneObject(click.Command):
    """Its first argument is the name of an object; KIND NAME before the others is KIND/NAME."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = joined(args, self._with_values(ctx))
        if is_followed_by_a_command(words, self._with_values(ctx)):
            ctx.allow_interspersed_args = True
        return super().parse_args(ctx, words)

    def _with_values(self, ctx: click.Context) -> frozenset[str]:
        """Options whose value is the next word."""
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        return frozenset(
            name for each in options if not each.is_flag for name in (*each.opts, *each.secondary_opts)
        )


def joined(words: Sequence[str], with_values: frozenset[str]) -> list[str]:
    """The first two words that are no options are joined when the first is a kind and more than a name follows."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "--":
            return list(words)
        at += 2 if words[at] in with_values else 1
    kind, name = (*words[at : at + 2], "", "")[:2]
    if not references.is_kind(kind) or not name or name.startswith("-") or "/" in name:
        return list(words)
    return [*words[:at], f"{kind}/{name}", *words[at + 2 :]]


def is_followed_by_a_command(words: Sequence[str], with_values: frozenset[str]) -> bool:
    """`web -c main -- sh -c …`: one name and options, then a command of its own after `--`."""
    if "--" not in words:
        return False
    head = words[: words.index("--")]
    names, at = 0, 0
    while at < len(head):
        if head[at].startswith("-"):
            at += 2 if head[at] in with_values else 1
        else:
            names += 1
            at += 1
    return names == 1
