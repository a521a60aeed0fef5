"""Ports of the node that lead to tasks: whether they may, and that they do."""

from agent.network import ports, rules
from agent.network.attachment import NetworkError
from agent.network.firewall import Firewall
from agent.network.records import Record
from agent.network.rules import Door, Target
from agent.network.services.reserved import why_not


class Publishing:
    """Where the ports of tasks lead, as their records say it."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall

    def check(self, before: Record, after: Record) -> None:
        """Raises NetworkError naming a port that another process, another task or the HTTP routes have."""
        own = _doors(before)
        others = self._firewall.doors().keys() - own.keys()
        for door in _doors(after):
            taken = rules.overlapping(door, others)
            if taken is not None:
                raise NetworkError(
                    f"port {taken.host_ip or '*'}:{taken.port}/{taken.protocol} of this node is published by "
                    "another task: choose another host port"
                )
            if door not in own and self._firewall.is_reserved(door):
                raise NetworkError(why_not(door))
            if door not in own:
                ports.check_free(door)

    def change(self, before: Record, after: Record) -> None:
        """From the firewall's next commit on; both are of one task."""
        for door in _doors(before):
            self._firewall.shut_door(door)
        for door, target in _doors(after).items():
            self._firewall.open_door(door, target)


def _doors(record: Record) -> dict[Door, Target]:
    """The packet rules know IPv4 so far."""
    address = next(each for each in record.addresses if ":" not in each)
    return {
        Door(each.host_ip.replace(ports.ANYWHERE, ""), each.protocol, each.host_port): Target(
            address, each.target_port
        )
        for each in record.published
    }
