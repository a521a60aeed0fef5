"""Debian's docker-registry on a free port of the loopback, for as long as a test lasts."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "docker-registry"


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    host: str
    pid: int
    directory: Path


@contextlib.contextmanager
def running_registry(htpasswd: str = "") -> Iterator[RunningRegistry]:
    """A registry, gone at the end; with `htpasswd` (a line of bcrypt) it asks for a password."""
    directory = Path(tempfile.mkdtemp(prefix="orch-registry-"))
    host = f"127.0.0.1:{_free_port()}"
    settings = directory / "config.yml"
    settings.write_text(_settings(host, directory, htpasswd))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(settings)], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
        )
    try:
        _wait_until_listening(process, host, directory / "log")
        yield RunningRegistry(host, process.pid, directory)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _settings(host: str, directory: Path, htpasswd: str) -> str:
    text = f"""
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {directory}/data}}
  delete: {{enabled: true}}
http: {{addr: "{host}"}}
"""
    if htpasswd:
        (directory / "htpasswd").write_text(htpasswd + "\n")
        text += f"auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}\n"
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_listening(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    address, _, port = host.partition(":")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((address, int(port)), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"docker-registry does not listen on {host}:\n{log.read_text()[-2000:]}")
