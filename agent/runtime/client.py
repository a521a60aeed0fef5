"""The runtime as the agent sees it: launch, watch, stop, enter, remove. Nothing here forks.

Containers belong to the shim; this side may come and go. Exits are told through `on_exit` until that has
returned once, also when they happened while no agent was there.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.linux import removal
from agent.runtime import (
    cgroup,
    cgroup_stats,
    ends,
    freshness,
    journal,
    leavings,
    line,
    packets,
    refusals,
    sealed,
    spawn,
    visits,
)
from agent.runtime import plan as planning
from agent.runtime.channel import Disconnected
from agent.runtime.container import Exited, Launch, LaunchFailed, NoSuchContainer, Running, Usage
from agent.runtime.entered import Entered

_SHUTDOWN_WITHIN_SECONDS = 10.0

log = logging.getLogger(__name__)


RuntimeBroken = line.RuntimeBroken


class Runtime:
    def __init__(
        self, run_dir: Path, state_dir: Path, cgroup_root: str, on_exit: Callable[[Exited], None]
    ) -> None:
        self.run_dir = run_dir
        self.state_dir = state_dir
        self.cgroup_root = cgroup_root.strip("/")
        self._cgroups = cgroup.detect()
        self._line = line.Line(
            (run_dir, state_dir),
            self.cgroup_root,
            on_event=self._event,
            on_found=self._found,
            on_lost=self._lost,
        )
        self._visits = visits.Visits(self._line)
        self._ends = ends.Ends(on_exit, lambda name: self._line.in_background(self._acknowledge(name)))
        self._sandboxes: dict[str, str] = {}

    @classmethod
    async def open(
        cls, *, run_dir: Path, state_dir: Path, cgroup_root: str, on_exit: Callable[[Exited], None]
    ) -> "Runtime":
        """Connect to shim and logger, or start them; tell the exits that nobody has acknowledged."""
        for directory in (run_dir, state_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        runtime = cls(run_dir, state_dir, cgroup_root, on_exit)
        await runtime._line.connect()
        await freshness.keep(
            run_dir,
            await asyncio.to_thread(freshness.stamp),
            are_new=len(runtime._line.children) == 2,  # both, by us and just now
            renew=runtime._renew,
            within_seconds=_SHUTDOWN_WITHIN_SECONDS,
        )
        known = set(await runtime._entries())
        await asyncio.to_thread(leavings.sweep, state_dir / "roots", known)
        return runtime

    async def launch(self, launch: Launch) -> Running:
        """Start a container; LaunchFailed says at which step and why, and then nothing of it is left."""
        plan = planning.plan(launch)
        for sentence in plan.pop("warnings"):
            log.warning("%s: %s", launch.container, sentence)
        for _ in range(line.ATTEMPTS):
            try:
                answer, _ = await self._line.ask_once(op="launch", plan=plan)
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
        raise LaunchFailed(
            "shim", f"it ended {line.ATTEMPTS} times while it started this; see {self._line.errors}"
        )

    async def containers(self) -> dict[str, Running | Exited]:
        """Everything that the journal knows and that has not been removed."""
        known: dict[str, Running | Exited] = {}
        for name, entry in (await self._entries()).items():
            if entry["state"] == journal.RUNNING:
                known[name] = _running(entry)
            elif entry["state"] == journal.EXITED:
                known[name] = ends.exited(entry)
        return known

    async def signal(self, container: str, signum: int) -> None:
        """Send a signal to the main process; NoSuchContainer when it does not run."""
        answer = await self._line.ask(op="signal", container=container, signum=int(signum))
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
        with self._ends.awaited(container) as end:
            entry = (await self._entries(container=container)).get(container)
            if entry is None:
                raise NoSuchContainer(container)
            if entry["state"] == journal.EXITED:
                return ends.exited(entry)
            return await end

    async def kill(self, container: str) -> None:
        """Kill every process of it; one that is gone already is fine."""
        refusals.raise_for(await self._line.ask(op="kill", container=container))

    async def remove(self, container: str) -> None:
        """Its processes, cgroup, root and journal entry; what is gone already is fine."""
        refusals.raise_for(await self._line.ask(op="remove", container=container))
        await self._delete_root(container)
        self._ends.forget(container)
        self._sandboxes.pop(container, None)

    async def remove_sandbox(self, sandbox: str) -> None:
        """The parent cgroup of a task, with all that is still in it."""
        refusals.raise_for(await self._line.ask(op="remove_sandbox", sandbox=sandbox))

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
        return await self._visits.enter(container, process, (stdin, stdout, stderr))

    async def terminal(self, container: str) -> int:
        """The master of its main process's terminal, to type and to resize; yours to close.

        What it says is in the logs. NoSuchContainer when it does not run, LaunchFailed when it has none.
        """
        answer, received = await self._line.ask_once(op="terminal", container=container)
        if "missing" in answer:
            raise NoSuchContainer(container)
        refusals.raise_for(answer)
        return received[0]

    def stdin(self, container: str) -> int:
        """The writing end of its standard input, which never ends; non-blocking, yours to close.

        LaunchFailed when it was started without one, or does not read it any more.
        """
        path = self.run_dir / "containers" / container / "stdin"
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise LaunchFailed("stdin", f"{container} has none; start it with one") from None
        except OSError as error:  # ENXIO
            raise LaunchFailed("stdin", f"{container} has closed its standard input: {error}") from None

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
                await self._line.ask_once((program,), op="upgrade")
        finally:
            os.close(program)

    async def _renew(self) -> None:
        await self.upgrade()
        await self._line.renew_logger()

    async def close(self) -> None:
        """Go away; containers, shim and logger stay."""
        self._line.close()
        self._visits.lost()

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
        await self._line.end()
        await self.close()
        await asyncio.to_thread(self._take_down)

    # -- below ---------------------------------------------------------------------------------------

    async def _entries(self, **only: str) -> dict[str, dict[str, Any]]:
        """All, or the `container` of that name; a shim of an older version tells of all in any case."""
        answer = await self._line.ask(op="list", **only)
        for entry in answer["containers"]:
            self._sandboxes[entry["container"]] = entry["sandbox"]
        return {entry["container"]: entry for entry in answer["containers"]}

    def _found(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            self._sandboxes[entry["container"]] = entry["sandbox"]
            if entry["state"] == journal.EXITED:
                self._ends.come(entry)

    def _lost(self) -> None:
        self._visits.lost()

    def _event(self, packet: dict[str, Any]) -> None:
        match packet["event"]:
            case "exited":
                self._ends.come(packet["entry"])
            case "left":
                self._visits.left(packet["pid"], packet["status"])

    async def _acknowledge(self, container: str) -> None:
        with contextlib.suppress(Disconnected, RuntimeBroken):  # told again when the shim is back
            await self._line.ask(op="acknowledge", container=container)

    async def _delete_root(self, container: str) -> None:
        await asyncio.to_thread(removal.tree, self.state_dir / "roots" / container, ignore_errors=True)

    def _take_down(self) -> None:
        for child in self._line.children:
            child.wait(_SHUTDOWN_WITHIN_SECONDS)
        leavings.take_down(self.run_dir, self._cgroups, self.cgroup_root)


def _running(entry: dict[str, Any]) -> Running:
    return Running(entry["container"], entry["pid"], entry["start_time"], entry["started_at"])
