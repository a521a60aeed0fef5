"""A control plane's leadership and nothing else, as a process: `python campaigner.py ENDPOINT NAME`.

Says `leads EPOCH` when it does; for every line it reads it commits with the guard it had then, and says how
that went.
"""

# ruff: noqa: T201  what it prints is its answer

import asyncio
import sys

from controlplane.store import etcd, etcd_channel, leadership, port


async def main(endpoint: str, name: str) -> None:
    store = await etcd.EtcdStore.connect(etcd_channel.Connection((endpoint,)))
    us = leadership.Leadership(store, name.encode(), ttl_seconds=1.0)
    leads = asyncio.Event()
    us.listen(lambda: leads.set() if us.epoch else None)
    running = asyncio.create_task(us.run())
    await leads.wait()
    guard = us.guard()
    print("leads", guard.created, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        try:
            await store.commit([guard], [port.Put("/written-by", name.encode())])
            print("committed", flush=True)
        except port.StoreError as refusal:
            print(type(refusal).__name__, flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
