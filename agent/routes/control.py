"""Words to the running proxy, over its socket."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from agent.routes.decide import Say

ANSWER_SECONDS = 5.0
AT_ONCE_BYTES = 8_000
"""A line holds no more than a buffer of the proxy's, 16 KiB."""


class Refused(Exception):
    """It did not do what it was told, or is not there; the sentence says what it said."""


async def ask(socket: Path, words: str) -> str:
    """Its answer. Raises Refused where nobody is there or it takes too long."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 20)
            try:
                writer.write(words.encode() + b"\n")
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise Refused(f"the proxy does not answer within {ANSWER_SECONDS:g} s") from None
    except OSError as error:
        raise Refused(f"the proxy is not there: {error.strerror or error}") from error


async def say(socket: Path, steps: Iterable[Say]) -> None:
    """All of it, in order. Raises Refused with the first answer that is not as it should be."""
    waiting: list[Say] = []
    size = 0
    for each in steps:
        alone = "\n" in each.words
        if waiting and (alone or size + len(each.words) > AT_ONCE_BYTES):
            await _together(socket, waiting)
            waiting, size = [], 0
        if alone:
            await _together(socket, [each])
        else:
            waiting.append(each)
            size += len(each.words) + 2
    if waiting:
        await _together(socket, waiting)


async def _together(socket: Path, steps: list[Say]) -> None:
    said = await ask(socket, "; ".join(each.words for each in steps))
    fine = {answer for each in steps for answer in each.answers}
    for line in said.splitlines():
        if line.strip() and not any(word in line for word in fine):
            raise Refused(f"the proxy says {line.strip()!r} to {steps[0].words.splitlines()[0][:100]!r}")
