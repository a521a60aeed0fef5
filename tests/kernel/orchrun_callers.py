"""podman and dockerd of a test's own: storage, sockets, cgroups and a network namespace that nobody else sees."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import ORCHRUN, PATIENCE, Done

_FILES = "nofile=1024:4096"
"""Both ask for a million open files unless told otherwise, which not every machine may give."""


class Netns:
    """A network namespace with a name of its own."""

    def __init__(self) -> None:
        self.name = f"orchrun-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run([*self.inside, "ip", "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    @property
    def inside(self) -> list[str]:
        """Only the network: `ip netns exec` would hide the cgroups behind a /sys of its own."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def fetch(self, url: str) -> str:
        """What a web server in there says, once it is up."""
        deadline = time.monotonic() + 20 * PATIENCE
        while True:
            done = subprocess.run(
                [*self.inside, "busybox", "wget", "-qO-", url], capture_output=True, text=True, check=False
            )
            if done.returncode == 0 or time.monotonic() > deadline:
                return done.stdout
            time.sleep(0.05)


@dataclass(eq=False)
class Caller:
    """podman or docker, as a command whose containers orchrun makes."""

    command: list[str]
    environment: dict[str, str]
    network: Netns
    run_options: tuple[str, ...]
    directory: Path

    def __call__(self, *words: str, stdin: str | None = None, check: bool = False) -> Done:
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            [*self.command, *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=90 * PATIENCE,
            check=False,
            env={**os.environ, **self.environment},
            cwd=self.directory,  # conmon tells of a container out of memory by a file where it is called
            **source,
        )
        assert done.returncode == 0 or not check, (words, done.stderr)
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *words: str, stdin: str | None = None) -> Done:
        return self("run", *self.run_options, *words, stdin=stdin)

    def in_terminal(self, *words: str) -> Done:
        """With a terminal of 33 rows and 111 columns as its standard input and output."""
        line = " ".join(_quoted(word) for word in [*self.command, *words])
        done = subprocess.run(
            ["script", "-qec", f"stty rows 33 cols 111; {line}", "/dev/null"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90 * PATIENCE,
            check=False,
            env={**os.environ, **self.environment},
            cwd=self.directory,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def image(directory: Path) -> Path:
    """A tar of busybox, with a page to serve."""
    root = orchrun_bench.unpack_busybox(directory / "image")
    (root / "www").mkdir()
    (root / "www" / "index.html").write_text("served by orchrun\n")
    tar = directory / "image.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
    return tar


@contextlib.contextmanager
def podman(_: Path) -> Iterator[Caller]:
    """In a directory of its own: podman hears of no exit where names of its sockets are too long, and waits 20 s."""
    with tempfile.TemporaryDirectory(prefix="podman") as short:
        yield from _podman(Path(short))


def _podman(directory: Path) -> Iterator[Caller]:
    parent = f"orchrun-podman-{uuid.uuid4().hex[:8]}"
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{directory}/run"\ngraphroot = "{directory}/root"\n'
    )
    (directory / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = ["{_FILES}", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime_supports_json = ["orchrun"]\n'
        f'[network]\nnetwork_config_dir = "{directory}/networks"\n'
    )
    environment = {
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        "CONTAINERS_CONF": str(directory / "containers.conf"),
        "TMPDIR": str(directory),
    }
    with Netns() as network, _groups(parent):
        options = ["--tmpdir", str(directory / "tmp"), "--runtime", ORCHRUN]
        command = [*network.inside, "podman", *options]
        caller = Caller(command, environment, network, (f"--cgroup-parent=/{parent}",), directory)
        try:
            caller("import", "--quiet", str(image(directory)), "localhost/box:1", check=True)
            yield caller
        finally:
            caller("rm", "--all", "--force", "--time", "0")
            _unmount_below(directory)


@contextlib.contextmanager
def docker(directory: Path) -> Iterator[Caller]:
    """dockerd with a containerd of its own."""
    parent = f"orchrun-docker-{uuid.uuid4().hex[:8]}"
    sock = directory / "docker.sock"
    (directory / "daemon.json").write_text(json.dumps({"runtimes": {"orchrun": {"path": ORCHRUN}}}))
    options = {
        "--config-file": directory / "daemon.json",
        "--data-root": directory / "data",
        "--exec-root": directory / "exec",
        "--pidfile": directory / "pid",
        "--host": f"unix://{sock}",
        "--cgroup-parent": f"/{parent}",
        "--default-ulimit": _FILES,
        "--default-runtime": "orchrun",
    }
    words = [str(word) for pair in options.items() for word in pair]
    client = "/usr/bin/docker" if shutil.which("/usr/bin/docker") else "docker"
    with Netns() as network, _groups(parent):
        with (directory / "dockerd.log").open("w") as log:
            daemon = subprocess.Popen(
                [*network.inside, "dockerd", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        caller = Caller(
            [client, "--host", f"unix://{sock}"], {"DOCKER_CONFIG": str(directory)}, network, (), directory
        )
        try:
            _wait_until_up(caller, daemon, directory / "dockerd.log")
            caller("import", str(image(directory)), "box:1", check=True)
            yield caller
        finally:
            _remove_all(caller)
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(30 * PATIENCE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            _unmount_below(directory)


def _wait_until_up(caller: Caller, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60 * PATIENCE
    while caller("version").code != 0:
        assert daemon.poll() is None, f"dockerd ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"dockerd is not up: {log.read_text()[-2000:]}"
        time.sleep(0.1)


def _remove_all(caller: Caller) -> None:
    for name in caller("ps", "--all", "--quiet").out.split():
        caller("rm", "--force", name)


@contextlib.contextmanager
def _groups(parent: str) -> Iterator[None]:
    try:
        yield
    finally:
        left = orchrun_bench.remove_groups(parent)
    assert left == [], "processes are left behind"


def _unmount_below(directory: Path) -> None:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((one for one in points if one.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
