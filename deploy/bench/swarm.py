"""Docker Swarm on one node, for `peers.py`: a daemon of its own, in namespaces of its own, measured and gone.

Runs inside `unshare --net --mount --pid`: whatever it starts, mounts or links ends with it. Times run from the
moment the API is asked to the payload's start as the daemon reports it: as `bench.py` does with orch.
Every pull is spared (the image is named by the digest of what is local), and no port or overlay is asked for: the best
that Swarm can do.
"""

import contextlib
import datetime as dt
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo import images

REGISTRY = "127.0.0.1:5000"
UP_SECONDS = 60.0
DONE_SECONDS = 180.0
LOOK_SECONDS = 0.02


class Failed(Exception):
    """Why Swarm could not be measured."""


class Docker:
    """The daemon's API, on its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, verb: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON. Raises Failed."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._path))
        words = urllib.parse.urlencode({key: _json(value) for key, value in query.items()})
        headers = {"Content-Type": "application/json", "X-Registry-Auth": "e30="}
        payload = None if body is None else json.dumps(body)
        connection.request(verb, f"/v1.41{path}?{words}", payload, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status >= 400:
            raise Failed(f"docker: {verb} {path}: {answer.status} {text.strip()}")
        with contextlib.suppress(ValueError):
            return json.loads(text)
        return text

    def tasks(self, service: str) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/tasks", filters={"service": [service]}))

    def running(self, service: str, image: str = "") -> list[dict[str, Any]]:
        """Tasks that run and are to run; of one image if it is given."""
        return [
            task
            for task in self.tasks(service)
            if task["Status"]["State"] == task["DesiredState"] == "running"
            and image in task["Spec"]["ContainerSpec"]["Image"]
        ]

    def containers(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/containers/json", all="1"))

    def started_at(self, task: dict[str, Any]) -> float:
        container = task["Status"]["ContainerStatus"]["ContainerID"]
        return _seconds(self.ask("GET", f"/containers/{container}/json")["State"]["StartedAt"])


def main() -> None:
    """Prints one line of JSON: figure → samples."""
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run"],
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", "192.0.2.1/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    with tempfile.TemporaryDirectory(prefix="orch-peers-") as directory:
        work = Path(directory)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)
        try:
            with _registry(work), _daemon(work, sys.argv[1]) as docker:
                print(json.dumps(_measured(docker, int(sys.argv[2]))))
        finally:
            subprocess.run(["umount", "--lazy", work], check=False)


@contextlib.contextmanager
def _registry(work: Path) -> Iterator[None]:
    file = work / "registry.yml"
    file.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\nhttp: {{addr: {REGISTRY}}}\n"
    )
    with _process(["docker-registry", "serve", str(file)], work / "registry.log"):
        _wait("the registry", lambda: not socket.socket().connect_ex(("127.0.0.1", 5000)), UP_SECONDS)
        yield


@contextlib.contextmanager
def _daemon(work: Path, cgroup: str) -> Iterator[Docker]:
    docker = Docker(work / "docker.sock")
    command = [
        "dockerd",
        f"--host=unix://{work}/docker.sock",
        f"--data-root={work}/data",
        f"--exec-root={work}/exec",
        f"--pidfile={work}/pid",
        f"--cgroup-parent={cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]
    log = work / "dockerd.log"
    with _process(command, log) as daemon:
        try:
            _wait("dockerd", lambda: _is_up(docker, daemon), UP_SECONDS)
            docker.ask("POST", "/swarm/init", {"ListenAddr": "192.0.2.1:2377", "AdvertiseAddr": "192.0.2.1"})
            yield docker
        except Failed as error:
            raise Failed(f"{error}\n{_tail(log)}") from error


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def _is_up(docker: Docker, daemon: subprocess.Popen[bytes]) -> bool:
    if daemon.poll() is not None:
        raise Failed(f"dockerd ended with {daemon.returncode}")
    with contextlib.suppress(OSError):
        return bool(docker.ask("GET", "/_ping"))
    return False


# ── the figures ──────────────────────────────────────────────────────────────────────────────────────────────


def _measured(docker: Docker, rounds: int) -> dict[str, list[float]]:
    first, second = (_image(docker, tag) for tag in ("1", "2"))
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    for count in (1, 10, 50):
        for _ in range(rounds if count < 50 else 2):
            note(f"apply {count} → running", _applied(docker, count, first))
            gone = _deleted(docker)
            if count == 10:
                note("delete 10 → nothing left", gone)
    for _ in range(rounds):
        _applied(docker, 1, first)
        note("container killed → running again", _killed(docker))
        _deleted(docker)
    for _ in range(2):
        _applied(docker, 20, first)
        note("rolling update of 20, five at a time", _rolled(docker, 20, second))
        _deleted(docker)
    return found


def _image(docker: Docker, tag: str) -> str:
    """Pushed, pulled, and named by its digest."""
    pushed = images.push_web(REGISTRY, f"bench:{tag}")
    docker.ask("POST", "/images/create", fromImage=f"{REGISTRY}/bench", tag=tag)
    return str(docker.ask("GET", f"/images/{urllib.parse.quote(pushed, safe='')}/json")["RepoDigests"][0])


def _spec(count: int, image: str) -> dict[str, Any]:
    return {
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": {"Image": image},
            "RestartPolicy": {
                "Condition": "any",
                "Delay": 1,
            },  # a nanosecond: none at all would be five seconds
        },
        "Mode": {"Replicated": {"Replicas": count}},
        "UpdateConfig": {"Parallelism": 5, "Order": "start-first", "Monitor": 1_000_000, "Delay": 0},
    }


def _applied(docker: Docker, count: int, image: str) -> float:
    began = time.time()
    docker.ask("POST", "/services/create", _spec(count, image))
    _wait(f"{count} running", lambda: len(docker.running("web")) == count, DONE_SECONDS)
    return max(docker.started_at(task) for task in docker.running("web")) - began


def _deleted(docker: Docker) -> float:
    """Until no container is left; looked at every LOOK_SECONDS."""
    began = time.time()
    docker.ask("DELETE", "/services/web")
    _wait("nothing left", lambda: not docker.containers(), DONE_SECONDS)
    return time.time() - began


def _killed(docker: Docker) -> float:
    (before,) = docker.running("web")
    killed = time.time()
    docker.ask("POST", f"/containers/{before['Status']['ContainerStatus']['ContainerID']}/kill")
    again: list[dict[str, Any]] = []

    def is_back() -> bool:
        again[:] = [task for task in docker.running("web") if task["ID"] != before["ID"]]
        return bool(again)

    _wait("the restart", is_back, DONE_SECONDS)
    return docker.started_at(again[0]) - killed


def _rolled(docker: Docker, count: int, image: str) -> float:
    version = docker.ask("GET", "/services/web")["Version"]["Index"]
    began = time.time()
    docker.ask("POST", "/services/web/update", _spec(count, image), version=version)

    def is_done() -> bool:
        state = docker.ask("GET", "/services/web").get("UpdateStatus", {}).get("State")
        return state == "completed" and len(docker.running("web", image)) == count

    _wait("the rolling update", is_done, DONE_SECONDS)
    return time.time() - began


def _wait(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(LOOK_SECONDS)


def _seconds(text: str) -> float:
    """`2026-11-21T03:10:41.123456789Z`."""
    return dt.datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=dt.UTC).timestamp()


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
