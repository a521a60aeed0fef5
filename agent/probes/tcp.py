"""Asks by a connection: accepted is well."""

import asyncio

from agent.probes.verdict import Answer


async def check(address: str, port: int, timeout: float) -> Answer:  # noqa: ASYNC109  it is part of the answer
    """Connects and hangs up."""
    where = f"{address}:{port}"
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return Answer(False, f"nothing accepted a connection at {where} within {timeout:g}s")
    except OSError as error:
        return Answer(False, f"connection to {where}: {explain(error)}")
    writer.transport.abort()
    return Answer(True, f"{where} accepts connections")


def explain(error: OSError) -> str:
    """The kernel's words without the call that asyncio adds."""
    if isinstance(error, ConnectionRefusedError):
        return "refused: nothing listens there"
    return error.strerror or str(error)
