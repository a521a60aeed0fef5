"""A command that a user runs in a container: on pipes, or on a terminal."""

import os
from typing import Any

from agent.answers import talk
from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.reconciler.accounts import Account
from agent.runtime.client import Runtime
from agent.runtime.entered import Entered
from orch.v1 import control_pb2

_EXIT_UNKNOWN = 255
_END_OF_TRANSMISSION = b"\x04"


async def run(
    runtime: Runtime, start: control_pb2.ExecStart, place: Place, account: Account | None, user: User
) -> int:
    """The exit code, 255 when nobody can know it. Ends when the user goes. Raises LaunchFailed."""
    code = await (_on_terminal if start.terminal else _on_pipes)(runtime, start, place, account, user)
    return _EXIT_UNKNOWN if code is None else code


async def _on_terminal(
    runtime: Runtime, start: control_pb2.ExecStart, place: Place, account: Account | None, user: User
) -> int | None:
    size = start.size
    entered = await _enter(runtime, start, place, account, terminal=True, size=(size.rows, size.columns))
    terminal = entered.terminal
    if terminal is None:
        raise Refused("the runtime gave the command no terminal")
    os.set_blocking(terminal, False)
    given = talk.Input(terminal, owned=False, at_end=_END_OF_TRANSMISSION)
    try:
        return await talk.talk(user, entered, {"stdout": terminal}, given)
    finally:
        entered.close_terminal()


async def _on_pipes(
    runtime: Runtime, start: control_pb2.ExecStart, place: Place, account: Account | None, user: User
) -> int | None:
    pipes = talk.Pipes()
    try:
        theirs = {"stdin": pipes.stdin, "stdout": pipes.stdout, "stderr": pipes.stderr}
        try:
            entered = await _enter(runtime, start, place, account, **theirs)
        finally:
            pipes.hand_over()
        if not start.interactive:
            pipes.given.close()
        return await talk.talk(user, entered, pipes.outputs, pipes.given)
    finally:
        pipes.close()


async def _enter(
    runtime: Runtime,
    start: control_pb2.ExecStart,
    place: Place,
    account: Account | None,
    **descriptors: Any,
) -> Entered:
    more = dict(start.environment)
    if account is not None and "HOME" not in more and account.home:
        more["HOME"] = account.home
    return await runtime.enter(
        place.container.id,
        args=list(start.args),
        env={**place.environment, **more} if more else None,
        cwd=start.working_dir or None,
        user=(account.uid, account.gid) if account is not None else None,
        groups=account.groups if account is not None else (),
        **descriptors,
    )
