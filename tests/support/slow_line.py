"""Passes connections on, and what comes back only so fast: `slow_line.py LISTEN UPSTREAM BYTES_PER_SECOND`."""

import asyncio
import contextlib
import sys

READY = "passes on"
_PART_SECONDS = 0.05


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(int(rate * _PART_SECONDS) if rate else 1 << 16):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(len(part) / rate if rate else 0)
        writer.write_eof()


async def _serve(listen: str, upstream: str, rate: float) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = upstream.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_pour(reader, back, 0), _pour(there, writer, rate))
        finally:
            back.close()
            writer.close()

    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(pass_on, host, int(port))
    print(READY, flush=True)  # noqa: T201  to whoever started us
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2], float(sys.argv[3])))
