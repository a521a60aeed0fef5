"""Takes over what a shim before this one left: running containers go on, what was half made goes."""

import os

from agent.runtime import entries, journal, keeper, kept, starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Packet = dict[str, Any]


def take_over(keep: "keeper.Keeper", begun: "starts.Starts") -> None:
    """Returns when of every container it is known whether it runs, has ended, or is gone."""
    known = keep.log.connect()
    for name in keep.journal.names():
        try:
            _adopt(keep, begun, name, known)
        except OSError as error:  # one bad entry must not keep us from all the others
            os.write(2, f"orch-shim: {name} is not taken over: {error}\n".encode())
            keep.containers.pop(name, None)
    while keep.has_births():
        keep.loop.turn()
    keep.attach_all()


def _adopt(keep: "keeper.Keeper", begun: "starts.Starts", name: str, known: "Packet") -> None:
    """A running one by pid and start time, never by pid alone."""
    entry = keep.journal.read(name)
    if entry is None:
        keep.journal.forget(name)
        return
    container = kept.Container(entries.completed(entry))
    keep.add(container)
    if entry["boot_id"] != keep.boot_id:
        keep.mark_ended(entry, None)
        return
    if entry["state"] == journal.STARTING:
        # Nobody was told that it runs. Its process has seen the socket close, or ends now.
        container.pidfd = entries.open_same(entry["pid"], entry["start_time"])
        keep.kill_all(container)
        begun.discard(container, ["start", "the shim ended while it started"])
        return
    if entry["terminal"]:
        container.terminal = keep.log.terminal(name)
    else:
        container.fifos = keep.hold(name)
    if entry["state"] == journal.EXITED:
        return
    container.pidfd = entries.open_same(entry["pid"], entry["start_time"])
    if container.pidfd >= 0:
        keep.watch_end(container)
        return
    keep.mark_ended(entry, known.get(name))
