"""etcd as our child."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from controlplane.store import embedded, etcd_process, port
from tests.support import etcd as etcd_support

pytestmark = [pytest.mark.etcd, etcd_support.needs_etcd]

ROOT = Path(__file__).parents[3]


async def test_it_is_ready_when_start_returns_and_gone_when_stop_does(tmp_path):
    async with etcd_support.running(tmp_path / "etcd") as server:
        async with etcd_support.connected(server.endpoint) as store:
            assert (await store.get("/x"))[0] is None
        pid = server.pid

    assert not is_alive(pid)
    assert server.pid is None


async def test_it_keeps_its_data_in_a_private_directory(tmp_path):
    async with etcd_support.running(tmp_path / "etcd"):
        assert stat.S_IMODE((tmp_path / "etcd").stat().st_mode) == 0o700


async def test_a_very_long_directory_is_no_obstacle(tmp_path):
    deep = tmp_path / ("d" * 120) / "etcd"

    async with etcd_support.running(deep) as server, etcd_support.connected(server.endpoint) as store:
        assert (await store.list("/")).entries == ()


async def test_it_listens_on_no_network(tmp_path):
    async with etcd_support.running(tmp_path / "etcd") as server:
        assert not network_sockets(server.pid)


async def test_data_survives_a_restart(tmp_path):
    for expected in (0, 1, 2):
        async with (
            etcd_support.running(tmp_path / "etcd") as server,
            etcd_support.connected(server.endpoint) as store,
        ):
            assert len((await store.list("/")).entries) == expected
            await store.commit([], [port.Put(f"/{expected}", b"")])


async def test_a_second_one_on_the_same_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LOCKED_WITHIN_SECONDS", 0.1)
    async with etcd_support.running(tmp_path / "etcd"):
        with pytest.raises(etcd_process.NotStarted, match="in use"):
            await embedded.EmbeddedEtcd(embedded.Settings(tmp_path / "etcd")).start()


async def test_without_etcd_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(etcd_process.NotStarted, match="apt install etcd-server"):
        await embedded.EmbeddedEtcd(embedded.Settings(tmp_path / "etcd")).start()


async def test_an_etcd_that_cannot_start_says_why(tmp_path):
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "data").write_text("not a directory")

    with pytest.raises(etcd_process.NotStarted, match="last words"):
        await embedded.EmbeddedEtcd(embedded.Settings(tmp_path / "etcd")).start()
    async with asyncio.timeout(1.0):
        (tmp_path / "etcd" / "data").unlink()
        async with etcd_support.running(tmp_path / "etcd"):
            pass


async def test_it_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import asyncio, pathlib, sys\n"
        "from controlplane.store import embedded\n"
        "async def main():\n"
        "    server = embedded.EmbeddedEtcd(embedded.Settings(pathlib.Path(sys.argv[1])))\n"
        "    await server.start()\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", script, str(tmp_path / "etcd")),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    child = os.pidfd_open(pid)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(child, gone.set)
    try:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await asyncio.wait_for(gone.wait(), 10)
    finally:
        asyncio.get_running_loop().remove_reader(child)
        os.close(child)

    async with etcd_support.running(tmp_path / "etcd"):  # the directory is free again
        pass


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def network_sockets(pid: int) -> set[str]:
    """The process's sockets that are TCP, listening or not."""
    sockets = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")]
    inodes = {line.split()[9] for table in tables for line in table.splitlines()[1:]}
    return sockets & {f"socket:[{inode}]" for inode in inodes}
