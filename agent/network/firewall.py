"""Keeps the packet rules as they should be, through nft.

Each change is one transaction of some 15 ms, nearly all of it nft's own start; changes that arrive
while one is under way go together in the next.
"""

import asyncio
import logging
import shutil
from collections.abc import Sequence

from agent.network import rules
from agent.network.attachment import NetworkError
from agent.network.rules import Door, Target

NFT_TIMEOUT_SECONDS = 20
_log = logging.getLogger(__name__)


class Firewall:
    """Doors are wanted or not; `commit` returns when the kernel has what is wanted."""

    def __init__(self, bridge: str, cluster_range: str, subnets: Sequence[str]) -> None:
        """Changes nothing yet."""
        self._bridge = bridge
        self._cluster_range = cluster_range
        self._subnets = subnets
        self._wanted: dict[Door, Target] = {}
        self._present: dict[Door, Target] | None = None
        """None where the kernel's state is not known: then the table is written anew."""
        self._turn = asyncio.Lock()

    def open_door(self, door: Door, target: Target) -> None:
        """From the next commit on."""
        self._wanted[door] = target

    def shut_door(self, door: Door) -> None:
        """From the next commit on; idempotent."""
        self._wanted.pop(door, None)

    def doors(self) -> dict[Door, Target]:
        """What is wanted."""
        return dict(self._wanted)

    async def commit(self) -> None:
        """Who comes while another's transaction is under way shares the next one with all who wait."""
        async with self._turn:
            wanted = dict(self._wanted)
            if wanted == self._present:
                return
            present, self._present = self._present, None
            if present is None or not await self._changed(wanted, present):
                await _run_nft(self._whole(wanted))
            self._present = wanted

    async def remove(self) -> None:
        """Nothing of ours stays."""
        async with self._turn:
            self._wanted.clear()
            self._present = None
            await _run_nft(rules.removal())

    async def _changed(self, wanted: dict[Door, Target], present: dict[Door, Target]) -> bool:
        """False where the table is not as we left it: somebody flushed the node's rules."""
        try:
            await _run_nft(rules.change(wanted, present))
        except NetworkError as refusal:
            _log.warning("%s; the whole table is written anew", refusal)
            return False
        return True

    def _whole(self, wanted: dict[Door, Target]) -> str:
        return rules.whole(
            wanted, bridge=self._bridge, cluster_range=self._cluster_range, subnets=self._subnets
        )


async def _run_nft(text: str) -> None:
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise NetworkError("published ports need the program nft: install the package nftables on this node")
    process = await asyncio.create_subprocess_exec(
        program,
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(NFT_TIMEOUT_SECONDS):
            _, complaint = await process.communicate(text.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    if process.returncode:
        words = complaint.decode(errors="replace").strip()
        raise NetworkError(f"nft refused the packet rules of this node: {words}")
