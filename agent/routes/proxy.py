"""The one that acts: has HAProxy run while there is a route, and be what the endpoints say.

`set` returns when it is so. The agent may be killed at any time: the proxy goes on, and is found again.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from agent.routes import asking, config, control, decide, files, inspection, listening, ports, process, seen
from agent.routes.wanted import Wanted
from orch.model.assignment import EndpointSection
from orch.model.names import ObjectName
from orch.model.traffic import RevisionTraffic

AGAIN_SECONDS = (0.0, 0.2, 1.0, 5.0)
"""Before it is started again after it ended by itself; the last one goes on."""
WELL_SECONDS = 10.0
"""After which an end counts as the first again."""
LEAVE_SECONDS = 1.0
"""Between looks whether those that go are left: the proxy tells nobody."""
RETRY_SECONDS = 5.0
"""Before what could not be is tried again: a port may be free, a package installed."""

_log = logging.getLogger(__name__)


class Proxy:
    """`settle` is told the pid of each proxy: it is to outlive the agent."""

    def __init__(self, places: config.Places, settle: Callable[[int], None] = lambda _: None) -> None:
        self._places = self._given = places
        self._socket = Path(places.socket)
        self._settle = settle
        self._wanted = Wanted()
        self._seen: seen.Seen | None = None
        self._turn = asyncio.Lock()
        self._pid: int | None = None
        self._pidfd = -1
        self._began = 0.0
        self._ends = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._looks_at_ports = True
        self._trouble = ""
        self._is_closed = False
        self._listener = listening.Listener()
        self._dropped: dict[int, int] = {}
        self.reloads = 0
        """New processes since this agent began."""

    async def set(self, section: EndpointSection, pems: Mapping[ObjectName, str]) -> None:
        """Returns when requests are led as the section says. Raises control.Refused where they are not."""
        wanted = asking.wanted(section, pems)
        async with self._turn:
            if wanted == self._wanted and self._seen is not None and self._pid is not None:
                return
            self._wanted = wanted
            await self._follow()

    def problems(self) -> list[str]:
        """What is wrong with it."""
        return [*([self._trouble] if self._trouble else []), *self._wanted.problems]

    def traffic(self) -> list[RevisionTraffic]:
        """Requests since this was asked before."""
        self._listener.read()
        return self._listener.tally.drain()

    async def unmeasured(self) -> int:
        """Requests since this was asked before of which nothing could be told: nobody read for too long."""
        if self._pid is None:
            return 0
        info = await inspection.info(self._socket)
        if info is None:
            return 0
        before = self._dropped.get(info.pid, 0)
        self._dropped = {info.pid: info.dropped_logs}
        return max(0, info.dropped_logs - before)

    def close(self) -> None:
        """It goes on, unwatched."""
        self._is_closed = True
        self._listener.close()
        self._forget()
        for timer in self._timers.values():
            timer.cancel()
        for task in self._work:
            task.cancel()

    # ── following ────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        if self._wanted.is_nothing:
            await self._stop()
            return
        try:
            await self._serve()
        except process.CannotServe as trouble:
            self._tell(str(trouble))
            self._later(RETRY_SECONDS, self._try_again)

    async def _serve(self) -> None:
        if self._pid is None:
            await self._adopt()
        if self._pid is None or self._looks_at_ports:
            self._looks_at_ports = False
            self._places = await asyncio.to_thread(self._open_places)
        now = self._seen if self._pid is not None else None
        if now is None:
            now = await inspection.look(self._places, self._wanted) if self._pid is not None else seen.Seen()
        steps = decide.decide(self._wanted, now, self._places)
        if any(isinstance(each, decide.Reload) for each in steps):
            await self._renew()
        elif steps:
            await self._change(now, [each for each in steps if isinstance(each, decide.Say)])
        else:
            self._seen = now
        if self._places == self._given:
            self._trouble = ""
        else:
            self._later(RETRY_SECONDS, self._try_again)
        if self._seen and decide.draining(self._seen):
            self._later(LEAVE_SECONDS, self._let_go)

    def _open_places(self) -> config.Places:
        """Without the ports that others have: one of the two is better than none."""
        taken, own = {}, process.found(self._given)
        for port in (self._given.http_port, self._given.https_port):
            if port and (holder := ports.holder(port, own)):
                taken[port] = f"port {port} is taken by {holder}"
        if not taken:
            return self._given
        self._tell(
            f"HTTP routes are not served on every port: {'; '.join(taken.values())}; stop it, "
            "or give orch-agent another --http-port or --https-port (0: none)"
        )
        return dataclasses.replace(
            self._given,
            http_port=0 if self._given.http_port in taken else self._given.http_port,
            https_port=0 if self._given.https_port in taken else self._given.https_port,
        )

    async def _change(self, now: seen.Seen, steps: list[decide.Say]) -> None:
        """At run time; the files, for who begins later, come second."""
        self._seen = None
        try:
            await control.say(self._socket, steps)
        except control.Refused as refusal:
            _log.warning("%s: a new one takes over", refusal)
            await self._renew()
            return
        self._seen = decide.after(self._wanted, now, self._places)
        await asyncio.to_thread(files.write, self._places, self._wanted)

    async def _renew(self) -> None:
        """A new process takes over."""
        self._seen = None
        await asyncio.to_thread(files.write, self._places, self._wanted)
        before = self._pid
        structure = config.structure(self._wanted, self._places)
        self._forget()  # it will end, and not by itself
        try:
            child, info = await process.start(self._places, structure, before)
        except BaseException:
            if before is not None:
                self._watch(before)
            raise
        _reap(child)
        self.reloads += before is not None
        self._watch(info.pid)
        self._seen = decide.after(self._wanted, seen.Seen(), self._places)
        await asyncio.to_thread(process.bound, self._places, info.pid)

    async def _adopt(self) -> None:
        """One that runs from before."""
        if info := await inspection.info(self._socket):
            self._seen = None
            self._watch(info.pid)

    async def _stop(self) -> None:
        """Nobody is led anywhere any more: it ends with its last connection."""
        if self._pid is None:
            await self._adopt()
        if self._pid is not None:
            process.finish(self._pid)
            self._forget()
        self._seen, self._trouble = None, ""

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, pid: int) -> None:
        self._forget()
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)
            self._pid = pid
            self._settle(pid)
            self._listener.begin(process.pipe(self._places))
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            loop.add_reader(self._pidfd, self._lost)

    def _forget(self) -> None:
        self._pid = None
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _lost(self) -> None:
        """It ended, and nobody told it to."""
        self._forget()
        loop = asyncio.get_running_loop()
        self._ends = 0 if loop.time() - self._began > WELL_SECONDS else self._ends + 1
        _log.warning("haproxy ended by itself and is started again")
        self._later(AGAIN_SECONDS[min(self._ends, len(AGAIN_SECONDS) - 1)], self._try_again)

    async def _try_again(self) -> None:
        async with self._turn:
            self._looks_at_ports = self._places != self._given
            try:
                await self._follow()
            except (control.Refused, OSError) as error:
                self._tell(f"HTTP routes are not served as they should be: {error}")
                self._later(RETRY_SECONDS, self._try_again)

    async def _let_go(self) -> None:
        """Those that nobody uses any more are taken out."""
        async with self._turn:
            if self._seen is None or self._pid is None:
                return
            gone: set[tuple[str, str]] = set()
            try:
                for backend, names in decide.draining(self._seen).items():
                    left = await inspection.let_go(self._socket, backend, names)
                    gone |= {(backend, name) for name in left}
            except control.Refused as refusal:
                _log.warning("%s", refusal)
                self._seen = None
                return
            self._seen = _without(self._seen, gone)
            if decide.draining(self._seen):
                self._later(LEAVE_SECONDS, self._let_go)

    def _later(self, seconds: float, what: Callable[[], Coroutine[None, None, None]]) -> None:
        """Once for each thing, as soon as anybody asked for it."""
        if self._is_closed:
            return
        loop, name = asyncio.get_running_loop(), what.__name__
        known = self._timers.get(name)
        if known is not None:
            if known.when() <= loop.time() + seconds:
                return
            known.cancel()
        self._timers[name] = loop.call_later(seconds, self._begin, name, what)

    def _begin(self, name: str, what: Callable[[], Coroutine[None, None, None]]) -> None:
        del self._timers[name]
        task = asyncio.create_task(what(), name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%s", trouble)


def _reap(child: "subprocess.Popen[bytes]") -> None:
    """Once it has ended: nobody waits for it."""
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(child.pid)

    def ended() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        child.poll()

    loop.add_reader(handle, ended)


def _without(now: seen.Seen, gone: set[tuple[str, str]]) -> seen.Seen:
    servers = {
        backend: {name: each for name, each in there.items() if (backend, name) not in gone}
        for backend, there in now.servers.items()
    }
    return seen.Seen(now.structure, servers, now.maps, now.certificates)
