"""A real agent, as a process in a network namespace of its own, and everything it leaves cleaned up."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from agent.images.images import Images
from orch.oci import build, reference
from tests.support import images as pictures

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


class AgentNode:
    """Directories, namespace and process of one node."""

    def __init__(self, directory: Path, name: str = "n1") -> None:
        self.name = name
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

    def start(self, *more: str) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self._command(), "--pool-size", "8", *more],
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
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 20)
        assert "is ready" in line, self.log.read_text()

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, signum: int) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        code = await asyncio.wait_for(asyncio.to_thread(self.process.wait), 20)
        if self.process.stdout:
            self.process.stdout.close()
        self.process = None
        return code

    async def clean(self) -> str:
        """Everything the agent made, by its own --cleanup; what it said."""
        if self.process is not None:
            await self._end(signal.SIGTERM)
        done = await asyncio.to_thread(
            subprocess.run,
            [*self._command(), "--cleanup"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto"},
            cwd=ROOT,
            timeout=60,
        )
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.unique)
        shutil.rmtree(self.state, ignore_errors=True)
        return done.stdout + done.stderr

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
        return [*found, *groups.stdout.split()]


def busybox() -> build.Built:
    return pictures.busybox()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
