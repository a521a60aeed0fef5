"""Shim and logger shall run the code that lies on disk: after an upgrade they are older than the agent.

They keep the modules they began with, and may not understand what an agent of another version asks of them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

_ROOMS = ("runtime", "linux")
_AGENT = Path(__file__).resolve().parents[1]
_log = logging.getLogger(__name__)


def stamp(agent: Path = _AGENT) -> str:
    """Changes with any file that a helper may run; takes a few milliseconds."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((agent / room).rglob("*.py")):
            digest.update(f"{file.relative_to(agent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


async def keep(
    run_dir: Path, code: str, *, are_new: bool, renew: Callable[[], Awaitable[None]], within_seconds: float
) -> None:
    """Renew the helpers that were there before us and run other code. Containers do not notice."""
    written = run_dir / "code"
    if written.exists() and written.read_text() == code:
        return
    if not are_new:
        _log.info("shim and logger become the code of this agent")
        try:
            async with asyncio.timeout(within_seconds):
                await renew()
        except TimeoutError:
            _log.warning("shim and logger are busy and stay as they are until the agent starts again")
            return
    written.write_text(code)
