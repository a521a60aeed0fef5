"""The processes of a dev cluster: started apart from the terminal, found again by a mark in their environment.

A mark is better than a list of pids: it is inherited, so it also finds the children of a crashed parent, and a pid
that was given to a stranger does not carry it.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.dev.cluster import JOIN_PORT, RUN_ROOT, SESSION_PORT, DevCluster, DevNode

MARK = "ORCH_DEV"
_START_TIMEOUT_S = 30.0


def control_command(cluster: DevCluster) -> list[str]:
    """How the control plane is started."""
    address = cluster.control_address
    command = [
        _program("orch-controlplane"),
        "--data", str(cluster.control_state),
        "--name", "control",
        "--listen", f"{address}:{SESSION_PORT}",
        "--join-listen", f"{address}:{JOIN_PORT}",
        "--advertise", f"{address}:{SESSION_PORT}",
    ]  # fmt: skip
    return command + _registry(cluster)


def agent_command(cluster: DevCluster, node: DevNode) -> list[str]:
    """How a node's agent is started."""
    command = [
        _program("orch-agent"),
        "--name", node.name,
        "--state-dir", str(node.state),
        "--run-dir", str(node.run),
        "--address", node.address,
        "--cgroup-root", node.cgroup,
        "--network-mode", cluster.network_mode,
        "--join", f"{cluster.control_address}:{JOIN_PORT}",
        "--token-file", str(cluster.control_state / "join-token"),
    ]  # fmt: skip
    return command + _registry(cluster)


def _registry(cluster: DevCluster) -> list[str]:
    """The registry beside the cluster, if there is one, speaks plain HTTP."""
    return ["--plain-http", cluster.registry_address] if cluster.has_registry else []


def start(
    cluster: str, part: str, command: Sequence[str], *, netns: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start one process of the cluster in a network namespace; its output goes to the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            ["nsenter", f"--net={netns}", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=os.environ | {MARK: f"{cluster}/{part}"},
            start_new_session=True,
        )


def wait_for_line(process: subprocess.Popen[bytes], log: Path, word: str, what: str, offset: int = 0) -> None:
    """Return when `log` says `word` beyond `offset` bytes. Raises RuntimeError when the process ends before."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while word.encode() not in (said := log.read_bytes()[offset:]):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = b"\n".join(said.splitlines()[-15:]).decode(errors="replace")
            ended = "did not become ready in time" if process.poll() is None else "ended"
            raise RuntimeError(f"{what} {ended}; {log} ends with:\n{tail}")
        time.sleep(0.02)  # a log file has no event that costs less than this


def marked(cluster: str, part: str = "") -> Iterator[int]:
    """Pids of the living processes of a cluster, or of one part of it (`control`, `registry`, `node-2`).

    A helper that was given an environment of its own is known by the run directory on its command line.
    """
    wanted = f"{MARK}={cluster}/{part}".encode()
    run = f"{RUN_ROOT / cluster / part}".encode()
    for entry in os.listdir("/proc"):  # noqa: PTH208  a thousand Path objects would cost more than the reading
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environment = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            arguments = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        by_mark = any(word == wanted or (not part and word.startswith(wanted)) for word in environment)
        if by_mark or any(word == run or word.startswith(run + b"/") for word in arguments):
            yield int(entry)


def kill(pids: Sequence[int], *, timeout_s: float = 10.0) -> None:
    """Kill them and wait until they are gone. Raises RuntimeError when one stays."""
    handles = []
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue
        handles.append((pid, handle))
    deadline = time.monotonic() + timeout_s
    for pid, handle in handles:
        _wait_gone(pid, handle, deadline)


def _wait_gone(pid: int, handle: int, deadline: float) -> None:
    ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
    os.close(handle)
    if not ready:
        raise RuntimeError(f"process {pid} does not end")


def _program(name: str) -> str:
    """The program installed beside this one."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name
