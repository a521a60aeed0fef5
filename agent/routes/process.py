"""HAProxy as processes: one that serves, and those before it that still have connections to end.

Each has a session of its own, for it outlives the agent, and is found again by its socket. What it is told of
requests goes into a pipe with a name, which keeps 1 MiB of it while no agent reads.
"""

import asyncio
import contextlib
import fcntl
import os
import pwd
import resource
import select
import shutil
import signal
import subprocess
from pathlib import Path

from agent.routes import inspection, seen
from agent.routes.config import MOST_CONNECTIONS, Places

PROGRAM = "haproxy"
START_SECONDS = 20.0
END_SECONDS = 3.0
PIPE_BYTES = 1 << 20
MOST_THREADS = 16
MOST_LOG_BYTES = 1 << 20
MOST_LEAVING = 8
"""So many may end with their last connections; before that, the oldest."""
_F_SETPIPE_SZ = 1031
_KEPT = "+net_bind_service,+setuid,+setgid,+sys_chroot,+sys_resource,+kill,+dac_override"
_SPARE_DESCRIPTORS = 200
_FIRST_LOOK_SECONDS = 0.005
_LAST_LOOK_SECONDS = 0.1
MISSING = "HTTP routes are not served here: haproxy is missing; install Debian's package haproxy"


class CannotServe(Exception):
    """There is no proxy, or it does not begin; the sentence says why and what to do."""


def account() -> tuple[int, int]:
    """Who it runs as: Debian's user for it, or nobody."""
    for name in ("haproxy", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    return 65534, 65534


def most_connections() -> int:
    """Each needs two descriptors, and of those this system gives only so many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if hard < 0 else max(100, min(MOST_CONNECTIONS, hard // 2 - _SPARE_DESCRIPTORS))


def threads() -> int:
    """Half of the cores, which belong to containers first; one thread alone has no lock to wait for."""
    return max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def program() -> str:
    """Raises CannotServe."""
    found = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotServe(MISSING)
    return found


def pipe(places: Places) -> Path:
    """What it says of requests; made when it is not there."""
    path = Path(places.folder) / "requests"
    if not path.is_fifo():
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
    return path


def found(places: Places) -> list[int]:
    """The processes of this folder, whoever started them."""
    mark = os.fsencode(places.config)
    pids = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                if mark in words and words[0].endswith(PROGRAM.encode()):
                    pids.append(int(entry.name))
    return sorted(pids)


async def start(
    places: Places, structure: str, before: int | None
) -> "tuple[subprocess.Popen[bytes], seen.Info]":
    """A new one, which serves before the one before it lets go. Raises CannotServe."""
    output = os.open(pipe(places), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, _F_SETPIPE_SZ, PIPE_BYTES)
        tidy_log(places)
        with _log(places).open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(  # noqa: ASYNC220  returns once the child runs; nobody waits for its end
                _command(places, before),
                cwd="/",
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise CannotServe(f"HTTP routes are not served here: {error.filename} is missing") from error
    finally:
        os.close(output)
    return process, await _begun(places, structure, process, begin)


def _command(places: Places, before: int | None) -> list[str]:
    """It begins as root, for ports and keys, with what of root it needs for that, and then is nobody."""
    words = ["setpriv", "--no-new-privs", "--bounding-set", f"-all,{_KEPT}"]
    words += [program(), "-db", "-f", places.config]
    return [*words, "-x", places.socket, "-sf", str(before)] if before else words


def tidy_log(places: Places) -> None:
    """What it says of itself begins anew when it is much; every word at run time is a line there."""
    with contextlib.suppress(FileNotFoundError):
        if _log(places).stat().st_size > MOST_LOG_BYTES:
            os.truncate(_log(places), 0)


def _log(places: Places) -> Path:
    return Path(places.folder) / "log"


async def _begun(
    places: Places, structure: str, process: "subprocess.Popen[bytes]", log_begin: int
) -> seen.Info:
    pause = _FIRST_LOOK_SECONDS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.poll() is None:
                info = await inspection.info(Path(places.socket))
                if info and (info.pid, info.structure) == (process.pid, structure):
                    return info
                await asyncio.sleep(pause)  # it tells nobody when it has begun
                pause = min(pause * 1.5, _LAST_LOOK_SECONDS)
    process.kill()
    process.wait()
    raise CannotServe(f"HTTP routes are not served here: {_complaint(places, log_begin)}")


def _complaint(places: Places, begin: int) -> str:
    text = _log(places).read_bytes()[begin:].decode(errors="replace")
    alerts = [line.rpartition(") : ")[2].strip() for line in text.splitlines() if "[ALERT]" in line]
    return "; ".join(alerts[:3]) or f"haproxy does not begin: see {places.folder}/log"


def finish(pid: int) -> None:
    """It takes no more connections, and ends with its last one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)


def bound(places: Places, own: int) -> None:
    """Those before `own` that still have connections are not more and more: each takes some 20 MiB."""
    leaving = sorted((pid for pid in found(places) if pid != own), key=_began_at)
    for pid in leaving[:-MOST_LEAVING]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _began_at(pid: int) -> int:
    """In the kernel's ticks; one that has ended meanwhile comes first."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def end(places: Places) -> None:
    """All of this folder, at once; returns when they are gone."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        handles = []
        for pid in found(places):
            with contextlib.suppress(ProcessLookupError):
                handles.append(os.pidfd_open(pid))
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signum)
        for handle in handles:
            select.select([handle], [], [], END_SECONDS)
            os.close(handle)
