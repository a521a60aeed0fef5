"""orchctl completion: Tab completes."""

import sys

import click
from click.shell_completion import get_completion_class

_HOW = {
    "bash": 'eval "$(orchctl completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(orchctl completion zsh)"    in ~/.zshrc',
    "fish": "orchctl completion fish > ~/.config/fish/completions/orchctl.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW)))
def command(shell: str) -> None:
    """Print the code that completes orchctl in a shell.

    \b
    bash:  eval "$(orchctl completion bash)"   in ~/.bashrc
    zsh:   eval "$(orchctl completion zsh)"    in ~/.zshrc
    fish:  orchctl completion fish > ~/.config/fish/completions/orchctl.fish
    """
    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    if found is not None:
        sys.stdout.write(found(root, {}, "orchctl", "_ORCHCTL_COMPLETE").source() + "\n")
