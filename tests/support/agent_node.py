"""A real agent, as a process in a network namespace of its own, and everything it leaves cleaned up."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent.images.images import Images
from cli.dev import sweep
from orch.oci import build, reference
from tests.support import images as pictures
from tests.support import leftovers

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


class AgentNode:
    """Directories, namespace and process of one node."""

    def __init__(self, directory: Path, name: str = "n1") -> None:
        self.name = name
        self.directory = directory
        self.outlived: list[str] = []
        """What `clean` found that the agent's own clean-up had left."""
        self.state = directory / "state"
        self.run = directory / "run"
        self.unique = f"ot{os.getpid() % 100000}-{next(_numbers)}"
        self.cgroup_root = f"orch-test/{self.unique}"
        self.process: subprocess.Popen[str] | None = None
        self.log = directory / "agent.log"

    def make(self) -> None:
        self.state.mkdir(parents=True)
        _ip("netns", "add", self.unique)
        _ip("-n", self.unique, "link", "set", "lo", "up")

    async def import_image(self, name: str, built: build.Built) -> None:
        """Before the agent starts: it holds the directory's lock."""
        archive = self.state / "image.tar"
        build.write_archive(archive, built, reference.parse(name))
        images = await Images.open(self.state / "images")
        await images.import_tar(archive)
        await images.close()
        archive.unlink()

    def start(self, *more: str, through: tuple[str, ...] = ()) -> None:
        """`through`: a command that becomes the agent."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*through, *self._command(), "--pool-size", "8", *more],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto"},
                cwd=ROOT,
            )

    def _command(self) -> list[str]:
        return [
            *("nsenter", f"--net=/run/netns/{self.unique}", sys.executable, "-m", "agent"),
            *("--name", self.name, "--state-dir", str(self.state), "--run-dir", str(self.run)),
            *("--cgroup-root", self.cgroup_root, "--resolv-conf", "/dev/null", "--address", "192.0.2.1"),
        ]

    async def wait_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 60)
        assert "is ready" in line, self.log.read_text()

    def wait_blocked(self, seconds: float = 20.0) -> None:
        """Until the agent's main thread waits for the other end of a pipe."""
        deadline = time.monotonic() + seconds
        while "wait_for_partner" not in Path(f"/proc/{self.pid()}/wchan").read_text():
            assert time.monotonic() < deadline, "the agent does not stand still"
            time.sleep(0.02)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, signum: int) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        try:
            code = await asyncio.to_thread(self.process.wait, 40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
            raise
        if self.process.stdout:
            self.process.stdout.close()
        self.process = None
        return code

    async def clean(self) -> str:
        """Everything the agent made, by its own --cleanup, also when it does not end; what that said."""
        try:
            if self.process is not None:
                await self._end(signal.SIGTERM)
        finally:
            try:
                said = await self.end_all()
            finally:  # whatever that left
                self.outlived = leftovers.take_away(self.directory, self.cgroup_root)
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip("netns", "del", self.unique)
                shutil.rmtree(self.state, ignore_errors=True)
        return said

    async def end_all(self) -> str:
        """`orch-agent --cleanup`; what it said."""
        done = await asyncio.to_thread(
            subprocess.run,
            [*self._command(), "--cleanup"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto"},
            cwd=ROOT,
            timeout=60,
        )
        return done.stdout + done.stderr

    async def reboot(self) -> None:
        """Every process, namespace and mount of the node is gone and /run is empty; the disk is as it was."""
        await self.kill()
        for pid in [*self.processes(), *self.contained()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self._forget_run)

    def _forget_run(self) -> None:
        deadline = time.monotonic() + 10
        while self.contained() and time.monotonic() < deadline:
            time.sleep(0.01)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if str(self.run) in line:
                subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
        shutil.rmtree(self.run, ignore_errors=True)
        _ip("netns", "del", self.unique)
        _ip("netns", "add", self.unique)
        _ip("-n", self.unique, "link", "set", "lo", "up")

    def processes(self) -> list[int]:
        """The agent and its helpers: they have the node's directories on their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_text().split("\0")
                if any(word.startswith((str(self.run), str(self.state))) for word in words):
                    found.append(int(entry.parent.name))
        return found

    def contained(self) -> list[int]:
        """Everything that runs in the node's containers."""
        return sorted(sweep.payloads(self.cgroup_root))

    def descriptors(self) -> int:
        """How many the agent holds."""
        return len(list(Path(f"/proc/{self.pid()}/fd").iterdir()))

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def leftovers(self) -> list[str]:
        """Mounts and cgroups with the node's name."""
        mounts = Path("/proc/self/mounts").read_text()
        found = [line for line in mounts.splitlines() if str(self.run) in line or str(self.state) in line]
        groups = subprocess.run(
            ["find", "/sys/fs/cgroup", "-maxdepth", "4", "-name", self.unique],
            capture_output=True,
            text=True,
            check=False,
        )
        return [*self.outlived, *found, *groups.stdout.split()]


def busybox() -> build.Built:
    return pictures.busybox()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
