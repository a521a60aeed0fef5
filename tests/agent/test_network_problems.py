"""A node whose network cannot be set up says why."""

import shutil

import pytest

from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane

pytestmark = pytest.mark.root

WITHOUT_NFT = (
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount --bind /dev/null "$0" && exec "$@"',
    str(shutil.which("nft")),
)


async def test_a_node_without_nftables_says_which_package_is_missing(
    idle_node: AgentNode, plane: ScriptedControlPlane
) -> None:
    idle_node.start(through=WITHOUT_NFT)
    await idle_node.wait_ready()
    await plane.wait_connected()
    plane.give_range()

    found = await plane.wait_problem("nft")
    assert "install the package nftables" in found
