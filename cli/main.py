"""The table of commands. Each is a file in `cli/commands`, imported only when it is meant."""

import importlib

import click

_SECTIONS: dict[str, dict[str, str]] = {
    "Services": {
        "apply": "Create or change what a file describes, and watch it come true.",
        "plan": "Say what apply would change, and where tasks would go.",
        "diff": "Say what apply would change.",
        "delete": "Delete services, configs, secrets and namespaces.",
        "scale": "Change the number of instances.",
        "set": "Change the image or the environment of a service.",
        "rollout": "Watch, undo, pause, resume, restart, promote or abort a rollout.",
    },
    "Looking": {
        "get": "List objects.",
        "describe": "Tell everything about an object, and what happened to it.",
        "logs": "Print what containers say.",
        "exec": "Run a command in a container.",
        "attach": "Watch a container's main process, and type into it.",
        "cp": "Copy files out of a container, or into it.",
        "port-forward": "Lead local ports into a task.",
        "top": "What tasks and nodes use.",
        "events": "What happened, and why.",
        "why": "Why a task waits, or why it runs where it does.",
        "wait": "Wait until something is true.",
    },
    "Nodes": {
        "node": "List nodes, let one join, forget one.",
        "net": "Check the network between nodes and containers.",
        "cordon": "Place nothing new on a node.",
        "uncordon": "Place tasks on a node again.",
        "drain": "Move everything away from a node, and wait until it is empty.",
        "label": "Set or remove labels of a node.",
        "taint": "Set or remove taints of a node.",
    },
    "More": {
        "image": "Build, list, name and carry images.",
        "explain": "What a key of a manifest is for.",
        "schema": "Print the JSON Schema of manifests, for editors.",
        "dev": "A whole cluster on this machine.",
        "user": "Let another person use the cluster.",
        "context": "Which clusters are known, and which one is meant.",
        "store": "Look after the control plane's store.",
        "completion": "Print the code that completes orchctl in a shell.",
        "version": "Versions of this program and of the control plane.",
    },
}
_COMMANDS = {name: help_line for section in _SECTIONS.values() for name, help_line in section.items()}
_ALIASES: dict[str, tuple[str, ...]] = {
    "up": ("apply",),
    "ls": ("get", "services"),
    "ps": ("get", "tasks"),
    "rm": ("delete",),
    "inspect": ("describe",),
    "rollback": ("rollout", "undo"),
}


_INSTEAD = {
    "create": "orchctl apply -f FILE",
    "run": "orchctl apply -f FILE",
    "replace": "orchctl apply -f FILE",
    "restart": "orchctl rollout restart SERVICE",
    "start": "orchctl scale SERVICE 1",
    "stop": "orchctl scale SERVICE 0",
    "edit": "orchctl get svc/NAME -o yaml > FILE, change it, orchctl apply -f FILE",
    "config": "orchctl context ls",
    "patch": "orchctl set image, orchctl set env, or orchctl apply -f FILE",
    "expose": "ports: in the manifest; see orchctl explain service.ports",
    "annotate": "annotations: in the manifest; see orchctl explain service.annotations",
    "service": "orchctl get services",
    "status": "orchctl get services, orchctl rollout status SERVICE",
    "history": "orchctl rollout history SERVICE",
}
"""What hands trained elsewhere type, and what does it here."""


class _Lazy(click.Group):
    """Knows names and one-line helps of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help":
            args = [*args[1:], "--help"]
            if args == ["--help"]:
                raise click.exceptions.NoArgsIsHelpError(ctx)
        words = [*_ALIASES.get(args[0], (args[0],)), *args[1:]]
        if words[0] not in _COMMANDS:
            from orch.manifest.problem import did_you_mean

            instead = f"use: {_INSTEAD[words[0]]}" if words[0] in _INSTEAD else ""
            near = instead or did_you_mean(words[0], [*_COMMANDS, *_ALIASES])
            raise click.UsageError(f'there is no command "{words[0]}"' + (f" — {near}" if near else ""), ctx)
        return super().resolve_command(ctx, words)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_spacing=4)
        with formatter.section("Also"):
            formatter.write_dl([(alias, " ".join(words)) for alias, words in _ALIASES.items()], col_spacing=4)


def _version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """As `orchctl version --client`: a habit from other programs, and it asks nobody."""
    if is_asked:
        import importlib.metadata

        click.echo(f"orchctl {importlib.metadata.version('orch')}")
        context.exit()


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
def cli() -> None:
    """Talk to the control plane of a cluster.

    Names: web, svc/web, task/web.2, node/n1. `orchctl COMMAND --help` tells more.
    """
