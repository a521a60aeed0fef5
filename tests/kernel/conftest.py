"""A runtime of its own for each test, on a root file system of busybox; nothing may be left behind."""

# ruff: noqa: ASYNC240  /proc, /sys and small files do not block

import asyncio
import itertools
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import client, logs, spec
from agent.runtime.container import Exited, Launch, Running
from cli.dev import sweep
from tests.support import leftovers

_COMMANDS = (
    "sh cat ls sleep id mount ps hostname true echo printf grep mkdir touch dd nc pwd env kill seq setsid"
)
_COMMANDS += " mknod stat tty stty ulimit head wc nohup test readlink tail date chmod"


@pytest.fixture(scope="session")
def busybox_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy for all tests."""
    program = tmp_path_factory.mktemp("program") / "busybox"
    shutil.copy("/bin/busybox", program)
    return program


@pytest.fixture
def busybox(tmp_path_factory: pytest.TempPathFactory, busybox_program: Path) -> Path:
    """An unpacked layer of the test's own, to be changed as it likes: busybox under its many names."""
    layer = tmp_path_factory.mktemp("busybox")
    layer.chmod(0o755)
    layer.parent.chmod(0o755)
    for directory in ("bin", "etc", "tmp"):
        (layer / directory).mkdir()
    for command in ("busybox", *_COMMANDS.split()):
        (layer / "bin" / command).hardlink_to(busybox_program)
    return layer


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Also after a failure."""
    yield
    assert leftovers.take_away(tmp_path) == []


class Bench:
    """A runtime, the exits it told, and short ways to start and read containers."""

    patience = float(os.environ.get("ORCH_TEST_PATIENCE", "1"))
    """How many times longer than usual something may take: more than 1 on an emulated machine."""

    def __init__(self, directory: Path, layer: Path) -> None:
        self.directory = directory
        self.layer = layer
        self.cgroup_root = f"orch-test-{uuid.uuid4().hex[:8]}/node"
        self.exits: list[Exited] = []
        self.runtime: client.Runtime
        self._numbers = itertools.count()

    async def open(self) -> client.Runtime:
        self.runtime = await client.Runtime.open(
            run_dir=self.directory / "run",
            state_dir=self.directory / "state",
            cgroup_root=self.cgroup_root,
            on_exit=self.exits.append,
        )
        return self.runtime

    def launch_of(self, *args: str, name: str = "", init: bool = False, **options: Any) -> Launch:
        container = name or f"c{next(self._numbers)}"
        config = spec.config(args, **options)
        return Launch(container, "box", config, (str(self.layer),), str(self.directory / "logs"), init=init)

    async def launch(self, *args: str, **options: Any) -> Running:
        return await self.runtime.launch(self.launch_of(*args, **options))

    async def run(self, script: str, **options: Any) -> tuple[Exited, str]:
        """Its end, and all that it said."""
        running = await self.launch("sh", "-c", script, **options)
        exited = await asyncio.wait_for(self.runtime.wait(running.container), 10 * self.patience)
        return exited, await self.said(running.container)

    async def said(self, container: str) -> str:
        lines = logs.read(self.directory / "logs", container, follow=True)
        return "\n".join([line.text async for line in lines])

    async def heard(self, container: str, text: str) -> None:
        """Wait until it has said a line with this text."""
        async with asyncio.timeout(10 * self.patience):
            async for line in logs.read(self.directory / "logs", container, follow=True):
                if text in line.text:
                    return
        raise AssertionError(f"{container} ended without saying {text!r}")

    def groups(self) -> list[str]:
        """Every cgroup below ours, the helpers' own apart."""
        found = sweep.directories(self.cgroup_root)
        return [str(path) for path in found if path.name not in {"node", "_helpers"}]

    def helper(self, short: str) -> int:
        """The pid of orch-shim or orch-log."""
        wanted = f"orch-{short}\0{self.directory / 'run'}\0".encode()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    if wanted in (process / "cmdline").read_bytes():
                        return int(process.name)
                except OSError:
                    continue
        raise AssertionError(f"orch-{short} does not run")


@pytest.fixture
async def bench(tmp_path: Path, busybox: Path) -> AsyncIterator[Bench]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Bench(tmp_path, busybox)
    try:
        await made.open()
        yield made
        await made.runtime.shutdown()
    finally:
        left = leftovers.take_away(tmp_path, made.cgroup_root)
        sweep.remove_empty_cgroup(made.cgroup_root.partition("/")[0])
    assert left == []
    top = made.cgroup_root.partition("/")[0]
    mount = Path("/sys/fs/cgroup")
    assert not [*mount.glob(top), *mount.glob(f"*/{top}")], "cgroups are left behind"
    assert str(tmp_path) not in Path("/proc/mounts").read_text(), "mounts are left behind"


@pytest.fixture
def watch_pid() -> Iterator[Callable[[int], asyncio.Future[None]]]:
    """A future that is done when a process has ended."""

    def watch(pid: int) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            future.set_result(None)
            return future

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            future.set_result(None)

        loop.add_reader(pidfd, ended)
        return future

    yield watch
