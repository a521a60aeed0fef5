"""Get and Watch: objects as they are now, and every change from then on.

Any control plane answers from its mirror. What has been asked for by name is shown in detail, and of that some lies in
the leader's memory alone (why a task waits, the traffic of routes): there a follower asks the leader, if it can.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from controlplane.api import catalog, errors, forwarding
from controlplane.loop import clock, picture
from orch.v1 import control_pb2 as pb

OBJECTS_PER_MESSAGE = 200
REST_FACTOR = 3.0
"""After showing what changed, a watch rests for so many times as long as that took: others wait too."""
LONGEST_REST_SECONDS = 0.5
LEADER_SECONDS = 2.0
"""A leader that has not answered by then is not waited for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Handlers of reads."""

    source: catalog.Source
    store_age: Callable[[], float]
    clock: clock.Clock
    forwarding: forwarding.Forwarding

    async def get(self, request: Any, _context: Any) -> pb.GetReply:
        """Everything that the request means. Raises Invalid, Unreachable."""
        kinds = self._kinds(request)
        if request.names and self.forwarding.is_needed:
            seen = self._picture.cluster.revision
            with contextlib.suppress(errors.Unreachable, errors.Passed):
                async with self.forwarding.leader() as stub:
                    reply: pb.GetReply = await stub.Get(request, timeout=LEADER_SECONDS)
                    if reply.revision >= seen:  # what somebody saw here is not undone
                        return reply
        objects = [
            kind.show(self.source, identity)
            for kind in kinds.values()
            for identity in kind.identities(self.source)
            if kind.is_meant(self.source, identity, request)
        ]
        return pb.GetReply(objects=objects, revision=self._picture.cluster.revision, age=self.store_age())

    async def watch(self, request: Any, _context: Any) -> AsyncIterator[pb.WatchReply]:
        """First what there is, then what changes; of one that changes often, some states are left out."""
        kinds = self._kinds(request)
        watcher = _Watcher(self.source, request, kinds)
        stop = self._picture.listen(watcher.on_touched)
        try:
            for reply in watcher.first():
                yield reply
            while True:
                await watcher.news.wait()
                began = self.clock.steady()
                for reply in watcher.next():
                    yield reply
                took = self.clock.steady() - began
                await asyncio.sleep(min(took * REST_FACTOR, LONGEST_REST_SECONDS))
        finally:
            stop()

    @property
    def _picture(self) -> picture.Picture:
        return self.source.picture

    def _kinds(self, request: Any) -> dict[str, catalog.Kind]:
        if not self._picture.is_whole_at(1):
            raise errors.Unreachable("the control plane has not read its store yet: try again")
        unknown = [name for name in request.kinds if name not in catalog.KINDS]
        if unknown or not request.kinds:
            raise errors.Invalid(
                f"kinds: {', '.join(unknown) or 'none given'}; there are {', '.join(catalog.KINDS)}"
            )
        return {name: catalog.KINDS[name] for name in request.kinds}


class _Watcher:
    """What one watch has yet to say: a set of objects, so it never grows beyond what there is."""

    def __init__(self, source: catalog.Source, request: Any, kinds: dict[str, catalog.Kind]) -> None:
        self._source = source
        self._request = request
        self._kinds = kinds
        self._dirty: dict[tuple[str, Any], None] = {}
        self._shown: set[tuple[str, Any]] = set()
        self.news = asyncio.Event()

    def on_touched(self, touched: picture.Touched) -> None:
        """A `picture.Listener`."""
        for name, kind in self._kinds.items():
            for identity in kind.touched_by(self._source, touched):
                self._dirty[name, identity] = None
        if self._dirty:
            self.news.set()

    def first(self) -> list[pb.WatchReply]:
        """All there is; the last message says that it is all."""
        for name, kind in self._kinds.items():
            for identity in kind.identities(self._source):
                self._dirty[name, identity] = None
        replies = self.next() or [pb.WatchReply(revision=self._source.picture.cluster.revision)]
        replies[-1].synced = True
        return replies

    def next(self) -> list[pb.WatchReply]:
        """Everything that has changed since the last time."""
        dirty, self._dirty = self._dirty, {}
        self.news.clear()
        changed: list[pb.Object] = []
        removed: list[pb.Reference] = []
        for each in dirty:
            name, identity = each
            kind = self._kinds[name]
            if kind.is_meant(self._source, identity, self._request):
                changed.append(kind.show(self._source, identity))
                self._shown.add(each)
            elif each in self._shown:
                removed.append(kind.refer(identity))
                self._shown.discard(each)
        return self._messages(changed, removed)

    def _messages(self, changed: list[pb.Object], removed: list[pb.Reference]) -> list[pb.WatchReply]:
        revision = self._source.picture.cluster.revision
        parts = [changed[at : at + OBJECTS_PER_MESSAGE] for at in range(0, len(changed), OBJECTS_PER_MESSAGE)]
        replies = [pb.WatchReply(changed=part, revision=revision) for part in parts]
        if removed:
            replies.append(pb.WatchReply(removed=removed, revision=revision))
        return replies
