"""Which ids of the host a task's users have (pure).

Every task has a user namespace of its own: its ids 0 to 65535 are 65536 ids of the host that nothing else
has. The range follows from the task's address: that is unique on the node, recorded on its disk, kept over
restarts and given back on every path already, so there is no second book that could disagree with the first.

From 0x10000000 up: far above people, services and what useradd writes into /etc/subuid. Below 0x7fff0000,
because some programs and file systems stumble over ids that are negative as signed numbers. Nodes that share
a machine, as in a dev cluster, have neighbouring subnets and so, as far as there is room, other ranges.
"""

from ipaddress import ip_address

from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError

SIZE = 65536
FIRST = 0x1000_0000
COUNT = (0x7FFF_0000 - FIRST) // SIZE
"""28671 tasks on a node."""


def first_id(subnet: Subnet, address: str) -> int:
    """What the host calls the root of the task with this address."""
    network = subnet.network
    room = network.num_addresses
    place = int(ip_address(address)) - int(network.network_address)
    if place >= COUNT:
        raise NetworkError(
            f"{address} is beyond the {COUNT} tasks of one node that get user ids of their own: "
            "give the node a smaller subnet"
        )
    if room <= COUNT:
        place += int(network.network_address) // room % (COUNT // room) * room
    return FIRST + place * SIZE
