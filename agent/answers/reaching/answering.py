"""A node's part of a `net check`: says where its place is, hears where all others are, and says what it found."""

import contextlib
from collections.abc import Callable

from agent.answers.place import Refused
from agent.answers.reaching import place, tries
from agent.answers.reaching.place import Insides
from agent.answers.user import User
from agent.network import obstacles
from agent.network.attachment import NetworkError
from orch.v1 import control_pb2 as pb

ALMOST_FULL = 0.95


class Reaching:
    """Of one node."""

    def __init__(
        self, node: str, address: Callable[[], str], insides: Callable[[], Insides], keys: set[str]
    ) -> None:
        """`keys` are of what has a place in the network without being a task."""
        self._node = node
        self._address = address
        self._insides = insides
        self._keys = keys

    async def answer(self, user: User) -> None:
        """Until the control plane has what it wants."""
        insides = self._insides()
        try:
            is_whole = await insides.verify_policy()
            with contextlib.suppress(NetworkError):  # then that is one of the problems
                await insides.look_around()  # whoever asks has perhaps just mended something
            troubles = list(insides.problems())
            if not is_whole:
                troubles.append("the packet rules had been flushed by somebody; they are back")
            async with place.opened(insides, self._keys) as own:
                await user.say(net_place=self._told(own, troubles))
                plan = await user.hear()
                if not isinstance(plan, pb.NetPlan):
                    return
                found = await tries.everything(own, self._node, plan)
                await user.say(net_findings=pb.NetFindings(results=found))
                await user.wait_gone()  # others may still try to reach us
        except (NetworkError, OSError) as error:
            raise Refused(str(error)) from error

    def _told(self, own: place.Place, troubles: list[str]) -> pb.NetPlace:
        count, most = place.conntrack()
        is_full = most > 0 and count >= most * ALMOST_FULL
        if is_full:
            troubles.append(conntrack_words(most))
        with place.plain() as link:
            node_mtu = place.mtu_of(link, place.own_link(self._address()))
        return pb.NetPlace(
            node=self._node,
            address=own.address,
            node_address=self._address(),
            mtu=own.mtu,
            node_mtu=node_mtu,
            problems=troubles,
            is_full=is_full,
            drops_forwarded=obstacles.drops_forwarded(troubles),
        )


def conntrack_words(most: int) -> str:
    """What it means, and what to do."""
    return (
        f"the connection table of the kernel is full ({most} connections): new connections are dropped. "
        f"Raise it: sysctl -w net.netfilter.nf_conntrack_max={most * 4}"
    )
