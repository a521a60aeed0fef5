"""Asks by GET: 200 to 399 is well. A small HTTP/1.1 client that reads no more than the status."""

import asyncio
from collections.abc import Mapping

from agent.probes.tcp import explain
from agent.probes.verdict import Answer

MOST_STATUS_LINE_BYTES = 4096


async def check(
    address: str,
    port: int,
    path: str,
    headers: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109  it is part of the answer
) -> Answer:
    """One request on a connection of its own."""
    what = f"GET http://{address}:{port}{path}"
    try:
        async with asyncio.timeout(timeout):
            line = await _status_line(address, port, _request(address, port, path, headers))
    except TimeoutError:
        return Answer(False, f"{what} had no answer within {timeout:g}s")
    except OSError as error:
        return Answer(False, f"{what}: {explain(error)}")
    except ValueError:
        return Answer(False, f"{what}: the status line is too long")
    status = _status(line)
    if status is None:
        return Answer(False, f"{what}: the answer is not HTTP")
    return Answer(200 <= status < 400, f"{what} answered {status}")


async def _status_line(address: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, limit=MOST_STATUS_LINE_BYTES)
    try:
        writer.write(request)
        return await reader.readline()
    finally:
        writer.transport.abort()


def _request(address: str, port: int, path: str, headers: Mapping[str, str]) -> bytes:
    given = {name.lower() for name in headers}
    lines = [
        f"GET {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    if "host" not in given:
        lines.insert(1, f"Host: {address}:{port}")
    if "user-agent" not in given:
        lines.append("User-Agent: orch-probe")
    return "\r\n".join([*lines, "", ""]).encode()


def _status(line: bytes) -> int | None:
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        return None
    return int(parts[1])
