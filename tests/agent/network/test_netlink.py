import subprocess
import sys

from agent.network import kernel, netlink


def test_only_the_messages_of_pyroute2_are_loaded() -> None:
    code = (
        "import sys; import agent.network.netlink; "
        "print(*({'pyroute2.ndb', 'pyroute2.iproute', 'sqlite3', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_loopback_is_seen_with_its_name() -> None:
    with kernel.Socket() as conversation:
        assert "lo" in [link.name for link in netlink.links(conversation)]
