"""A task sends only as itself: from its own address, with its own hardware address, through its own link.

Names and policies rest on addresses. The check is made where the link enters the bridge, before anything else sees
the packet; ARP likewise, or a task could have its neighbour's packets sent to it. Link and hardware address follow
from the address, so all that may be sent is known before there is any task, and starts cost nothing more.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from agent.network import nfnetlink
from agent.network.addresses import Subnet
from agent.network.services import kernel, messages
from agent.network.topology import Slot, link_name

FAMILY, TABLE = "bridge", "orch-guard"
_AF_BRIDGE = 7
_SETS = ("own", "own_arp")
_NAME_BYTES = 16
_PER_TRANSACTION = 10_000


def install(subnet: Subnet, *more: Subnet) -> None:
    """From now on, in the calling thread's network namespace; idempotent. Blocking. Raises NetworkError, OSError."""
    kernel.run_nft(text(str(each.network) for each in more if each.family == 6))
    keys = [(key, b"") for address in subnet.hosts() for key in _keys(Slot((address,)))]
    with nfnetlink.Socket() as link:
        for at in range(0, len(keys), _PER_TRANSACTION):
            part = keys[at : at + _PER_TRANSACTION]
            wishes = [each for name in _SETS for each in messages.new_elements(TABLE, name, part)]
            link.transact(*messages.transaction([messages.of_family(each, _AF_BRIDGE) for each in wishes]))


def remove() -> None:
    """Nothing of ours stays. Blocking. Raises NetworkError."""
    kernel.run_nft(f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n")


def text(six: Iterable[str] = ()) -> str:
    """The table, if it is not there; what is in its sets stays.

    Subnets of IPv6 are too large for a list of who is behind which link: there a task is only kept to the subnet.
    """
    sources = ", ".join(six)
    allowed = (
        f"add rule {FAMILY} {TABLE} checked ip6 saddr {{ {sources}, fe80::/10, :: }} accept"
        if sources
        else ""
    )
    return f"""
add table {FAMILY} {TABLE}
add set {FAMILY} {TABLE} own {{ typeof iifname . ether saddr . ip saddr; }}
add set {FAMILY} {TABLE} own_arp {{ typeof iifname . arp saddr ether . arp saddr ip; }}
add chain {FAMILY} {TABLE} entering {{ type filter hook prerouting priority -300; policy accept; }}
add chain {FAMILY} {TABLE} checked
flush chain {FAMILY} {TABLE} entering
flush chain {FAMILY} {TABLE} checked
add rule {FAMILY} {TABLE} entering iifname "{link_name("")}*" goto checked
add rule {FAMILY} {TABLE} checked ether type ip iifname . ether saddr . ip saddr @own accept
add rule {FAMILY} {TABLE} checked ether type arp iifname . arp saddr ether . arp saddr ip @own_arp accept
{allowed}
add rule {FAMILY} {TABLE} checked counter drop
"""


def _keys(slot: Slot) -> Iterator[bytes]:
    """The link's name, the hardware address and the address, each filled up to four bytes."""
    link = slot.link.encode().ljust(_NAME_BYTES, b"\0")
    mac = bytes.fromhex(slot.mac.replace(":", "")) + b"\0\0"
    yield from (link + mac + ip_address(address).packed for address in slot.addresses)
