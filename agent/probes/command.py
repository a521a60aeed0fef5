"""Asks by a command in the container: 0 is well."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from typing import Protocol

from agent.probes.verdict import Answer


class Entered(Protocol):
    """A second process in a container."""

    async def wait(self) -> int | None: ...
    async def signal(self, signum: int) -> None: ...


class Runtime(Protocol):
    """Whoever can start one."""

    async def enter(self, container: str, *, args: list[str]) -> Entered: ...


async def check(runtime: Runtime, container: str, args: Sequence[str], timeout: float) -> Answer:  # noqa: ASYNC109
    """Its output goes nowhere; one that takes too long is killed."""
    what = f"command {' '.join(args)!r:.100}"
    try:
        entered = await runtime.enter(container, args=list(args))
    except Exception as error:
        return Answer(False, f"{what} cannot be started: {error}")
    try:
        async with asyncio.timeout(timeout):
            code = await entered.wait()
    except TimeoutError:
        await _kill(entered)
        return Answer(False, f"{what} did not end within {timeout:g}s")
    except asyncio.CancelledError:
        await _kill(entered)
        raise
    return Answer(code == 0, f"{what} ended with exit code {code if code is not None else 'unknown'}")


async def _kill(entered: Entered) -> None:
    with contextlib.suppress(Exception):
        await entered.signal(signal.SIGKILL)
