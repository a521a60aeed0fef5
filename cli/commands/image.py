"""orchctl image: images built, listed, named, and carried from and to registries and files."""

import importlib

import click

_VERBS = {
    "build": ("build", "Build an image from a Dockerfile."),
    "ls": ("listing", "List the images of the cluster's registry, or of its nodes."),
    "inspect": ("inspecting", "Show what an image is: ports, volumes, user, command, layers."),
    "tag": ("keeping", "Give an image another name."),
    "rm": ("keeping", "Take names away."),
    "pull": ("shipping", "Copy an image from another registry into the cluster's."),
    "push": ("shipping", "Copy an image from the cluster's registry to another."),
    "import": ("shipping", "Put the images of a file into the cluster's registry."),
    "save": ("shipping", "Write an image into a file."),
}
"""The file it is in, and its one line of help."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        cmd_name = {"list": "ls", "remove": "rm", "load": "import", "cp": "tag"}.get(cmd_name, cmd_name)
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"cli.commands.images.{_VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_" if cmd_name == "import" else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()], col_spacing=4)


@click.command(cls=_Lazy)
def command() -> None:
    """Build, list, name and carry images.

    A name without a host is in the cluster's own registry: shop/web:1. One with a host is elsewhere:
    ghcr.io/shop/web:1.
    """
