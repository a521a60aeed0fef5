"""Takes containers of the shim away: every process, the cgroup, and what the journal knew."""

import time

from agent.runtime import cgroup, journal, keeper, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Packet = dict[str, Any]
    Reply = Callable[..., None]

_RETRY_SECONDS = 0.002
_REMOVAL_SECONDS = 10.0


class Removals:
    def __init__(self, keeper: "keeper.Keeper") -> None:
        self.keeper = keeper

    def remove(self, name: str, reply: "Reply") -> None:
        container = self.keeper.containers.get(name)
        if not container:
            reply({})
            return
        if container.entry["state"] == journal.STARTING:
            reply({"error": ["remove", f"{name} is being started; wait for that to end"]})
            return

        def done(problem: "Packet") -> None:
            if problem:
                reply(problem)
                return
            self.keeper.forget(container)
            self.after(container, {}, reply)

        if container.entry["state"] != journal.EXITED:
            self.keeper.kill_all(container)
        self.group(container.entry["group"], done)

    def group(self, group: str, done: "Callable[[Packet], None]") -> None:
        """Kill what is in it, and remove it with what is below; the dying take a moment to leave."""
        deadline = time.monotonic() + _REMOVAL_SECONDS

        def attempt() -> None:
            if cgroup.remove_tree(self.keeper.cgroups, group):
                done({})
                return
            groups = cgroup.tree(self.keeper.cgroups, group)
            if time.monotonic() > deadline:
                pids = [pid for one in groups for pid in self.keeper.cgroups.pids(one)]
                done({"error": ["cgroup", f"{group} is still in use after a kill, by processes {pids}"]})
                return
            for one in reversed(groups):
                self.keeper.cgroups.kill(one)
            self.keeper.loop.later(_RETRY_SECONDS, attempt)

        attempt()

    def after(self, container: kept.Container, answer: "Packet", reply: "Reply | None") -> None:
        """Its poststop hooks, and the answer."""

        def told(*_: object) -> None:
            if reply:
                reply(answer)

        if "poststop" in container.entry["hooks"]:
            self.keeper.hooks.run(container, ("poststop",), "stopped", told)
        else:
            told()
