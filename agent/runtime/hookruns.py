"""Hooks of containers of the shim: run in a child of it, so that nobody else waits for them."""

import os

from agent.runtime import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.runtime import births
    from agent.runtime.eventloop import Loop
    from agent.runtime.keeper import Container


class HookRuns:
    def __init__(self, midwife: "births.Midwife", loop: "Loop", reap_orphans: "Callable[[], None]") -> None:
        self.midwife = midwife
        self.loop = loop
        self.reap_orphans = reap_orphans

    def run(
        self,
        container: "Container",
        kinds: tuple[str, ...],
        status: str,
        then: "Callable[[Container, list[str]], None]",
    ) -> None:
        """Afterwards is told the step and message of a failure, or nothing."""
        entry = container.entry
        state = {
            **entry["told_to_hooks"],
            "status": status,
            "pid": entry["pid"] if status != "stopped" else 0,
        }
        container.hooks = runner = self.midwife.run_hooks(kinds, entry["hooks"], state)

        def hear(_: int) -> None:
            if not runner.hear():
                return
            self.loop.forget(runner.sock.fileno())
            runner.sock.close()
            exits.when_dead(self.loop, runner.pidfd, over)

        def over() -> None:
            os.close(runner.pidfd)
            container.hooks = None
            self.reap_orphans()
            then(container, runner.outcome())

        self.loop.watch(runner.sock.fileno(), hear)
