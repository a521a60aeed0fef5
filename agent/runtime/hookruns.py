"""Hooks of containers of the shim: run in a child of it, so that nobody else waits for them."""

import os

from agent.runtime import exits, handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.runtime import births, kept
    from agent.runtime.eventloop import Loop


class HookRuns:
    def __init__(self, midwife: "births.Midwife", loop: "Loop") -> None:
        self.midwife = midwife
        self.loop = loop

    def run(
        self,
        container: "kept.Container",
        kinds: tuple[str, ...],
        status: str,
        then: "Callable[[kept.Container, list[str]], None]",
    ) -> None:
        """Afterwards is told the step and message of a failure, or nothing."""
        entry = container.entry
        state = {
            **entry["told_to_hooks"],
            "status": status,
            "pid": entry["pid"] if status != "stopped" else 0,
        }
        try:
            container.hooks = runner = self.midwife.run_hooks(kinds, entry["hooks"], state)
        except OSError as error:
            failed = handshake.failed("hook", f"start a process for the {' and '.join(kinds)} hooks", error)
            then(container, [failed.step, failed.message])
            return

        def hear(_: int) -> None:
            if not runner.hear():
                return
            self.loop.forget(runner.sock.fileno())
            runner.sock.close()
            exits.when_dead(self.loop, runner.pidfd, over)

        def over() -> None:
            os.close(runner.pidfd)
            container.hooks = None
            then(container, runner.outcome())

        self.loop.watch(runner.sock.fileno(), hear)
