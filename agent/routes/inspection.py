"""What the running proxy is, by its own word, and whom of those that go nobody uses any more."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from agent.routes import config, control, seen
from agent.routes.wanted import Wanted


async def info(socket: Path) -> seen.Info | None:
    """None where nobody is there, or nobody who says who it is."""
    with contextlib.suppress(control.Refused, ValueError):
        return seen.info(await control.ask(socket, "show info"))
    return None


async def look(places: config.Places, wanted: Wanted) -> seen.Seen:
    """Nothing where it is not there. Of certificates it does not say what is in them, so they are told again."""
    socket = Path(places.socket)
    said = await info(socket)
    if said is None:
        return seen.Seen()
    try:
        servers = seen.servers(await control.ask(socket, "show servers state"))
        maps = {}
        for name in config.maps(wanted):
            maps[name] = seen.entries(await control.ask(socket, f"show map {places.map(name)}"))
        listed = await control.ask(socket, "show ssl cert")
    except (control.Refused, ValueError):
        return seen.Seen()
    files = [line for line in listed.splitlines() if line.startswith(places.certificates)]
    return seen.Seen(said.structure, servers, maps, dict.fromkeys(files, ""))


async def let_go(socket: Path, backend: str, names: Iterable[str]) -> list[str]:
    """Those of them that nobody uses any more are taken out. Raises control.Refused."""
    used = seen.used_now(await control.ask(socket, f"show servers conn {backend}"))
    gone = []
    for name in names:
        if used.get(name, 0) == 0:
            await control.ask(socket, f"set server {backend}/{name} state maint")
            said = await control.ask(socket, f"del server {backend}/{name}")
            if "Server deleted" in said or "No such server" in said:
                gone.append(name)
    return gone
