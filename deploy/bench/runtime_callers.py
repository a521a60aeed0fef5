"""Calls crun, runc or orchrun as a person would, from a process with mounts of its own.

    runtime_callers.py RUNTIME DIRECTORY     then lines [calls, side by side] on stdin

A worker has a bundle of its own, DIRECTORY/NUMBER, since each names one cgroup. Answers each line with
[[milliseconds until the payload's first byte ...], seconds of all calls together].
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_HYBRID = Path("/sys/fs/cgroup/unified")


class Callers:
    """The process that calls one runtime; the clock runs there."""

    def __init__(self, runtime: str, directory: Path) -> None:
        self.runtime = runtime
        command = [sys.executable, __file__, runtime, str(directory)]
        self._process = subprocess.Popen(
            ["unshare", "--mount", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, calls: int, side_by_side: int = 1) -> tuple[list[float], float]:
        """Milliseconds of each call until its payload said something, and calls a second."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([calls, side_by_side]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.runtime} cannot run the payload here, see above")
        times, seconds = json.loads(line)
        return times, calls / seconds

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def _main(runtime: str, directory: str) -> None:
    if runtime == "crun" and _HYBRID.is_mount():  # which it refuses; without it, the v1 hierarchies will do
        subprocess.run(["umount", "--lazy", str(_HYBRID)], check=True)
    program = str(Path(sys.executable).with_name("orchrun")) if runtime == "orchrun" else runtime
    command = [program, "--root", f"{directory}/state", "run", "--bundle"]
    for line in sys.stdin:
        calls, side_by_side = json.loads(line)
        times: list[float] = []
        names = iter(f"{runtime}-{os.getpid()}-{time.monotonic_ns()}-{number}" for number in range(calls))
        lock = threading.Lock()
        began = time.perf_counter()
        workers = [
            threading.Thread(target=_work, args=([*command, f"{directory}/{number}"], names, lock, times))
            for number in range(side_by_side)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if len(times) != calls:
            sys.exit(1)
        print(json.dumps([times, time.perf_counter() - began]), flush=True)


def _work(command: list[str], names: Any, lock: threading.Lock, times: list[float]) -> None:
    while True:
        with lock:
            name = next(names, None)
        if name is None:
            return
        took = _call([*command, name])
        if took is None:
            return
        times.append(took)


def _call(command: list[str]) -> float | None:
    """Milliseconds from spawn to the first byte; returns when all of it is gone."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    os.close(writing)
    said = os.read(reading, 1)
    took = (time.perf_counter() - began) * 1e3
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return took if said and status == 0 else None


if __name__ == "__main__":
    _main(*sys.argv[1:3])
