"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

from cli import session
from cli.exits import Wrong

FILES = click.option(
    "-f", "--filename", "files", multiple=True, metavar="F|-|DIR", help="What to read.  [repeatable]"
)
DEFAULT_WAIT = "10m"


def waiting(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--wait[=false]` and `--timeout`, as the arguments `wait` and `timeout`."""
    wait = click.option(
        "--wait",
        is_flag=False,
        flag_value="true",
        default="true",
        metavar="true|false",
        callback=lambda _context, _option, word: _truth(word),
        help="Watch until it is so.  [default: true]",
    )
    timeout = click.option(
        "--timeout",
        default=DEFAULT_WAIT,
        metavar="DURATION",
        callback=lambda _context, _option, word: session.seconds_of(word),
        help=f"How long to watch.  [default: {DEFAULT_WAIT}]",
    )
    return wait(timeout(command))


def _truth(word: str) -> bool:
    if word.lower() not in {"true", "false", "yes", "no", "1", "0"}:
        raise Wrong(f'--wait is true or false, not "{word}"')
    return word.lower() in {"true", "yes", "1"}
