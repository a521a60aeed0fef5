"""The runtime as the agent sees it: launch, watch, stop, enter, remove. Nothing here forks.

Containers belong to the shim; this side may come and go. Exits are told through `on_exit` until that has
returned once, also when they happened while no agent was there.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.linux import removal
from agent.runtime import cgroup, cgroup_stats, exits, freshness, journal, packets, sealed, spawn
from agent.runtime import plan as planning
from agent.runtime.channel import Channel, Disconnected
from agent.runtime.container import Exited, Launch, LaunchFailed, NoSuchContainer, Running, Usage
from agent.runtime.entered import Entered

_RECONNECT_SECONDS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_RETRY_SECONDS = 0.005
_SHUTDOWN_WITHIN_SECONDS = 10.0
_ATTEMPTS = 3

log = logging.getLogger(__name__)


class RuntimeBroken(RuntimeError):
    """Shim or logger cannot be started or does not obey; the message says which and where to look."""


class Runtime:
    def __init__(
        self, run_dir: Path, state_dir: Path, cgroup_root: str, on_exit: Callable[[Exited], None]
    ) -> None:
        self.run_dir = run_dir
        self.state_dir = state_dir
        self.cgroup_root = cgroup_root.strip("/")
        self._on_exit = on_exit
        self._cgroups = cgroup.detect()
        self._shim: Channel | None = None
        self._log: Channel | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._entered: dict[int, Entered] = {}
        self._early: dict[int, int] = {}
        self._waiters: dict[str, list[asyncio.Future[Exited]]] = {}
        self._told: set[str] = set()
        self._sandboxes: dict[str, str] = {}
        self._errors = state_dir / "helpers.log"
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._closing = False

    @classmethod
    async def open(
        cls, *, run_dir: Path, state_dir: Path, cgroup_root: str, on_exit: Callable[[Exited], None]
    ) -> "Runtime":
        """Connect to shim and logger, or start them; tell the exits that nobody has acknowledged."""
        for directory in (run_dir, state_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        runtime = cls(run_dir, state_dir, cgroup_root, on_exit)
        await runtime._connect()
        await freshness.keep(
            run_dir,
            await asyncio.to_thread(freshness.stamp),
            are_new=len(runtime._children) == 2,  # both, by us and just now
            renew=runtime._renew,
            within_seconds=_SHUTDOWN_WITHIN_SECONDS,
        )
        await asyncio.to_thread(runtime._sweep, set(await runtime._entries()))
        return runtime

    async def launch(self, launch: Launch) -> Running:
        """Start a container; LaunchFailed says at which step and why, and then nothing of it is left."""
        plan = planning.plan(launch)
        for sentence in plan.pop("warnings"):
            log.warning("%s: %s", launch.container, sentence)
        for _ in range(_ATTEMPTS):
            try:
                answer, _ = await self._request(op="launch", plan=plan)
            except packets.PacketTooLargeError as error:
                raise LaunchFailed("config", f"the configuration is too large: {error}") from error
            except Disconnected:
                # Either its successor finds the payload running, or it has removed what was half made.
                if entry := (await self._entries()).get(launch.container):
                    return _running(entry)
                await self._delete_root(launch.container)
                continue
            if failure := answer.get("error"):
                if failure[0] != "journal":
                    await self._delete_root(launch.container)
                raise LaunchFailed(*failure)
            self._sandboxes[launch.container] = launch.sandbox
            return _running(answer["entry"])
        raise LaunchFailed("shim", f"it ended {_ATTEMPTS} times while it started this; see {self._errors}")

    async def containers(self) -> dict[str, Running | Exited]:
        """Everything that the journal knows and that has not been removed."""
        known: dict[str, Running | Exited] = {}
        for name, entry in (await self._entries()).items():
            if entry["state"] == journal.RUNNING:
                known[name] = _running(entry)
            elif entry["state"] == journal.EXITED:
                known[name] = _exited(entry)
        return known

    async def signal(self, container: str, signum: int) -> None:
        """Send a signal to the main process; NoSuchContainer when it does not run."""
        answer = await self._ask(op="signal", container=container, signum=int(signum))
        if "missing" in answer:
            raise NoSuchContainer(container)

    async def stop(self, container: str, *, signum: int, grace_seconds: float) -> Exited:
        """Signal, wait up to the grace, then kill everything in its cgroup."""
        with contextlib.suppress(NoSuchContainer):
            await self.signal(container, signum)
        try:
            async with asyncio.timeout(grace_seconds):
                return await self.wait(container)
        except TimeoutError:
            await self.kill(container)
        return await self.wait(container)

    async def wait(self, container: str) -> Exited:
        """Its end, once it has come."""
        future: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(container, []).append(future)
        try:
            entry = (await self._entries(container=container)).get(container)
            if entry is None:
                raise NoSuchContainer(container)
            if entry["state"] == journal.EXITED:
                return _exited(entry)
            return await future
        finally:
            self._waiters[container].remove(future)
            if not self._waiters[container]:
                del self._waiters[container]

    async def kill(self, container: str) -> None:
        """Kill every process of it; one that is gone already is fine."""
        _raise(await self._ask(op="kill", container=container))

    async def remove(self, container: str) -> None:
        """Its processes, cgroup, root and journal entry; what is gone already is fine."""
        _raise(await self._ask(op="remove", container=container))
        await self._delete_root(container)
        self._told.discard(container)
        self._sandboxes.pop(container, None)

    async def remove_sandbox(self, sandbox: str) -> None:
        """The parent cgroup of a task, with all that is still in it."""
        _raise(await self._ask(op="remove_sandbox", sandbox=sandbox))

    async def enter(
        self,
        container: str,
        *,
        args: list[str],
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: tuple[int, int] | None = None,
        groups: Sequence[int] = (),
        terminal: bool = False,
        size: tuple[int, int] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Entered:
        """Run a second process in it, on our descriptors (kept by the caller) or on a new terminal.

        `size`: rows and columns of the terminal.
        """
        process: dict[str, Any] = {"args": list(args), "terminal": terminal}
        if size is not None:
            process["console_size"] = list(size)
        if cwd is not None:
            process["cwd"] = cwd
        if user is not None:
            process |= {"uid": user[0], "gid": user[1], "groups": list(groups)}
        if env is not None:
            process["env"] = dict(env)
        entering = asyncio.create_task(self._enter(container, process, (stdin, stdout, stderr)))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            self._in_background(self._abandon(entering))
            raise

    async def _enter(self, container: str, process: dict[str, Any], given: tuple[int | None, ...]) -> Entered:
        """With descriptors of our own: whoever gave them may be cancelled, and close them, before they are sent."""
        fds = tuple(os.open(os.devnull, os.O_RDWR) if fd is None else os.dup(fd) for fd in given)
        try:
            answer, received = await self._request(fds, op="enter", container=container, process=process)
        finally:
            for fd in fds:
                os.close(fd)
        if "missing" in answer:
            raise NoSuchContainer(container)
        _raise(answer)
        entered = Entered(answer["pid"], received[0] if received else None, self._signal_entered)
        self._entered[entered.pid] = entered
        if entered.pid in self._early:
            self._left(entered.pid, self._early.pop(entered.pid))
        return entered

    async def _abandon(self, entering: asyncio.Task[Entered]) -> None:
        """Nobody waits for this process any more: it ends as soon as it is there."""
        with contextlib.suppress(Exception):
            entered = await entering
            entered.close_terminal()
            await entered.signal(signal.SIGKILL)
            await entered.wait()

    async def terminal(self, container: str) -> int:
        """The master of its main process's terminal, to type and to resize; yours to close.

        What it says is in the logs. NoSuchContainer when it does not run, LaunchFailed when it has none.
        """
        answer, received = await self._request(op="terminal", container=container)
        if "missing" in answer:
            raise NoSuchContainer(container)
        _raise(answer)
        return received[0]

    async def usage(self, name: str) -> Usage:
        """Of a container, or of a whole sandbox; all zero for one that is gone."""
        sandbox = self._sandboxes.get(name)
        group = f"{sandbox}/{name}" if sandbox else name
        return Usage(*self._cgroups.usage(f"{self.cgroup_root}/{group}"))

    def stats(self, name: str) -> cgroup_stats.Stats:
        """All that the kernel counts of a container, or of a whole sandbox; zero for one that is gone. Reads files."""
        sandbox = self._sandboxes.get(name)
        group = f"{sandbox}/{name}" if sandbox else name
        return cgroup_stats.read(self._cgroups, f"{self.cgroup_root}/{group}")

    async def upgrade(self) -> None:
        """The shim becomes the code that now lies on disk, and keeps its children."""
        program = sealed.interpreter(spawn.interpreter())
        try:
            with contextlib.suppress(Disconnected):
                await self._request((program,), op="upgrade")
        finally:
            os.close(program)

    async def _renew(self) -> None:
        await self.upgrade()
        if self._log:
            await _quit(self._log)  # what is said meanwhile waits in its pipes for the next one

    async def close(self) -> None:
        """Go away; containers, shim and logger stay."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for channel in (self._shim, self._log):
            if channel:
                channel.close()
        for entered in list(self._entered.values()):
            entered.left(None)

    def take_in(self, pid: int) -> None:
        """A helper of another room joins shim and logger: whoever ends all of the agent's cgroup spares it."""
        try:
            cgroup.join_helpers(self._cgroups, self.cgroup_root, pid)
        except OSError as error:
            log.warning("process %d stays in the agent's own cgroup: %s", pid, error)

    async def shutdown(self) -> None:
        """Kill and remove what still runs, end shim and logger, take the cgroups away."""
        for name, entry in (await self._entries()).items():
            with contextlib.suppress(LaunchFailed):  # the rest is taken down all the same
                await self.remove(name)
                await self.remove_sandbox(entry["sandbox"])
        self._closing = True
        for channel in (self._shim, self._log):
            if channel and channel.is_open:
                await _quit(channel)
        await self.close()
        await asyncio.to_thread(self._take_down)

    # -- below: staying in touch ---------------------------------------------------------------------

    async def _ask(self, **request: Any) -> dict[str, Any]:
        """For requests that may be asked twice: a shim that dies is replaced and asked again."""
        for _ in range(_ATTEMPTS):
            try:
                return (await self._request(**request))[0]
            except Disconnected:
                continue
        raise RuntimeBroken(f"orch-shim does not stay up; see {self._errors}")

    async def _request(self, fds: tuple[int, ...] = (), **request: Any) -> tuple[dict[str, Any], list[int]]:
        if not self._shim or not self._shim.is_open:
            await self._connect()
        assert self._shim
        return await self._shim.ask(fds, **request)

    async def _entries(self, **only: str) -> dict[str, dict[str, Any]]:
        """All, or the `container` of that name; a shim of an older version tells of all in any case."""
        answer = await self._ask(op="list", **only)
        for entry in answer["containers"]:
            self._sandboxes[entry["container"]] = entry["sandbox"]
        return {entry["container"]: entry for entry in answer["containers"]}

    async def _connect(self) -> None:
        async with self._connecting:
            if self._closing:
                raise Disconnected("the runtime is closed")
            is_log_new = not self._log or not self._log.is_open
            if is_log_new:
                self._log = self._dial("logger", "log", self._log_ended)
            is_shim_new = not self._shim or not self._shim.is_open
            if is_shim_new:
                self._shim = self._dial("shim", "shim", self._shim_ended)
            assert self._shim
            if is_log_new:  # the shim may have been there before this logger
                await self._shim.ask(op="log")
            if not is_shim_new:
                return
            answer, _ = await self._shim.ask(op="list")
        for entry in answer["containers"]:
            self._sandboxes[entry["container"]] = entry["sandbox"]
            if entry["state"] == journal.EXITED:
                self._exit(entry)

    def _dial(self, module: str, short: str, on_end: Callable[[], None]) -> Channel:
        """Connect to a helper that runs; start one where none does."""
        path = self.run_dir / f"{short}.sock"
        with contextlib.suppress(OSError):
            return Channel(path, self._event, on_end)
        self._children = [child for child in self._children if child.poll() is None]
        arguments = [str(self.run_dir), str(self.state_dir), self.cgroup_root]
        try:
            self._children.append(spawn.helper(module, f"orch-{short}", path, self._errors, arguments))
            return Channel(path, self._event, on_end)
        except OSError as error:
            raise RuntimeBroken(f"orch-{short} cannot be started: {error}; see {self._errors}") from error

    def _shim_ended(self) -> None:
        for entered in self._entered.values():
            entered.left(None)
        self._entered.clear()
        self._come_back()

    def _log_ended(self) -> None:
        self._come_back()

    def _come_back(self) -> None:
        if self._closing:
            return
        self._in_background(self._reconnect())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        """Until it has worked or we are closed: exits are told also when nobody asks."""
        for pause in itertools.chain(_RECONNECT_SECONDS, itertools.repeat(_RECONNECT_SECONDS[-1])):
            await asyncio.sleep(pause)
            if self._closing:
                return
            try:
                await self._connect()
            except Disconnected:
                continue
            except RuntimeBroken as error:
                log.warning("%s; trying again", error)
            else:
                return

    def _event(self, packet: dict[str, Any]) -> None:
        match packet["event"]:
            case "exited":
                self._exit(packet["entry"])
            case "left":
                self._left(packet["pid"], packet["status"])

    def _exit(self, entry: dict[str, Any]) -> None:
        """Tell it once, then say so to the shim; a crash in between tells it again, never not at all."""
        name = entry["container"]
        exited = _exited(entry)
        for future in self._waiters.get(name, []):
            if not future.done():
                future.set_result(exited)
        if entry["acknowledged"] or name in self._told:
            return
        self._on_exit(exited)
        self._told.add(name)
        self._in_background(self._acknowledge(name))

    async def _acknowledge(self, container: str) -> None:
        with contextlib.suppress(Disconnected, RuntimeBroken):  # told again when the shim is back
            await self._ask(op="acknowledge", container=container)

    def _left(self, pid: int, status: int) -> None:
        entered = self._entered.pop(pid, None)
        if entered:
            entered.left(status)
        else:
            self._early[pid] = status

    async def _signal_entered(self, pid: int, signum: int) -> None:
        await self._ask(op="signal_entered", process=pid, signum=int(signum))

    async def _delete_root(self, container: str) -> None:
        await asyncio.to_thread(removal.tree, self.state_dir / "roots" / container, ignore_errors=True)

    def _sweep(self, known: set[str]) -> None:
        """Roots that no container owns: of removals cut short, and of before a reboot."""
        for root in (self.state_dir / "roots").iterdir():
            if root.name not in known:
                removal.tree(root, ignore_errors=True)

    def _take_down(self) -> None:
        for child in self._children:
            child.wait(_SHUTDOWN_WITHIN_SECONDS)
        deadline = time.monotonic() + _SHUTDOWN_WITHIN_SECONDS
        children = [f"{self.cgroup_root}/{child}" for child in self._cgroups.children(self.cgroup_root)]
        for group in (*children, self.cgroup_root):
            while not self._cgroups.remove(group) and time.monotonic() < deadline:
                time.sleep(_RETRY_SECONDS)
        parent = self.cgroup_root
        while parent := parent.rpartition("/")[0]:
            if not self._cgroups.remove(parent):
                break  # another node of this machine lives there
        for name in ("shim.sock", "log.sock", "shim.lock", "log.lock", "log.scratch", "code"):
            (self.run_dir / name).unlink(missing_ok=True)
        for name in ("containers", "root"):
            with contextlib.suppress(OSError):
                (self.run_dir / name).rmdir()


async def _quit(channel: Channel) -> None:
    """It answers, or it just ends; both will do."""
    with contextlib.suppress(Disconnected):
        async with asyncio.timeout(_SHUTDOWN_WITHIN_SECONDS):
            await channel.ask(op="quit")


def _raise(answer: dict[str, Any]) -> None:
    if failure := answer.get("error"):
        raise LaunchFailed(*failure)


def _running(entry: dict[str, Any]) -> Running:
    return Running(entry["container"], entry["pid"], entry["start_time"], entry["started_at"])


def _exited(entry: dict[str, Any]) -> Exited:
    code, signum = exits.split(entry["status"])
    return Exited(entry["container"], entry["pid"], code, signum, entry["oom_killed"], entry["at"])
