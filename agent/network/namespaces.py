"""Makes and removes slots: a user and a network namespace each, joined to the bridge, without forking.

Blocking, and for one thread that does nothing else: to make a namespace is to enter it.
"""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.linux import constants, holder, syscalls
from agent.network import entries, idranges, kernel, netlink
from agent.network.addresses import Subnet
from agent.network.topology import BRIDGE, Seen, SeenLink, Slot, link_name, mac_of, slot_of

INSIDE = "eth0"
_DOOMED = 0x6F726368
"""The link group from which links are removed together."""
_OWN_NAMESPACE = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class Bridge:
    """The bridge as it exists."""

    index: int
    mtu: int


class Workshop:
    """Where slots are made. `folder` gets a mount of its own, so that ours do not spread to other places."""

    def __init__(self, folder: Path, subnets: Sequence[Subnet]) -> None:
        """Called on the thread that will do all the rest, in the node's network namespace."""
        self._folder = folder
        self._subnets = subnets
        self._outside = kernel.Socket()
        self._home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        self._bridge = Bridge(0, 0)

    def prepare(self, mtu: int) -> None:
        """The folder's mount and the bridge with the gateways; both may exist already, and then keep their size."""
        if not is_mounted(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            syscalls.mount("orch-netns", str(self._folder), "tmpfs", constants.MS_NOSUID, "mode=0755")
        syscalls.mount("", str(self._folder), "", constants.MS_PRIVATE, "")
        self._remove_foreign_bridge()
        self._outside.ask([netlink.bridge(BRIDGE, mac=mac_of(self._subnets[0].gateway), mtu=mtu)])
        there = netlink.link(self._outside, BRIDGE)
        if there is None:
            raise OSError(f"the bridge {BRIDGE} is gone again: somebody else removed it")
        self._bridge = Bridge(there.index, there.mtu)
        _allow("net/ipv4/ip_forward")
        if any(subnet.family == 6 for subnet in self._subnets):
            _forward_ipv6()
            # until it knew for sure that nobody else has the bridge's address, it would forward nothing to tasks
            _forbid(f"net/ipv6/conf/{BRIDGE}/accept_dad")
        _allow(f"net/ipv4/conf/{BRIDGE}/route_localnet")
        for each in (
            "all",
            BRIDGE,
        ):  # tasks of one node pass it on purpose: none is to be told of a shorter way
            _forbid(f"net/ipv4/conf/{each}/send_redirects")
        gateways = [str(subnet.interface(subnet.gateway)) for subnet in self._subnets]
        self._outside.ask([netlink.address(gateway, index=self._bridge.index) for gateway in gateways])

    def route_services(self, service_range: str) -> None:
        """What the node itself sends to a virtual address goes out, and comes from the address its tasks know."""
        gateway = next(
            each.gateway for each in self._subnets if each.family == (6 if ":" in service_range else 4)
        )
        self._outside.ask([entries.on_link(service_range, index=self._bridge.index, source=gateway)])

    def seen(self) -> Seen:
        """What exists now."""
        files = [entry.name for entry in os.scandir(self._folder)] if self._folder.is_dir() else []
        return Seen(
            links=frozenset(
                SeenLink(link.name, port=link.master == self._bridge.index)
                for link in netlink.links(self._outside)
            ),
            namespaces=frozenset(name for name in files if _is_namespace(self._folder / name)),
            files=frozenset(files),
        )

    def make(self, slots: Sequence[Slot], made: Callable[[Slot], None]) -> None:
        """Tells of each slot as soon as it can be used; what fails half-way is removed, and raises."""
        for slot in slots:
            try:
                self._make(slot)
            except BaseException:
                self.remove([slot.name])
                raise
            made(slot)

    def remove(self, names: Sequence[str]) -> None:
        """Links, namespaces and files of these slots; whatever of it is gone already counts as removed."""
        remove_slots(self._folder, self._outside, names)

    def begin_resize(self, mtu: int) -> list[str]:
        """The bridge, and slots made from now on; the names of those that are there and must follow."""
        if mtu != self._bridge.mtu:
            self._outside.ask([netlink.resize(self._bridge.index, mtu)])
            self._bridge = Bridge(self._bridge.index, mtu)
        ports = entries.ports(self._outside, self._bridge.index)
        return [name for link, size in ports if size != mtu and (name := slot_of(link))]

    def resize(self, names: Sequence[str], mtu: int) -> None:
        """Both ends of the links of these slots, the inner first: what it may send, the outer must take."""
        for name in names:
            try:
                namespace = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # it was removed meanwhile
            try:
                with self._inside_of(namespace) as inside:
                    inside.ask([netlink.resize(netlink.INNER_INDEX, mtu)])
            except OSError as error:
                if error.errno != errno.EINVAL or isinstance(error, kernel.KernelRefusedError):
                    raise
                continue  # it is being removed: its file is there, its namespace is not
            finally:
                os.close(namespace)
            self._outside.ask([netlink.resize_named(link_name(name), mtu)])

    def socket_inside(self, slot: Slot, family: int, kind: int) -> socket.socket:
        """Made inside, used from anywhere: a socket stays in the namespace in which it was made."""
        namespace = os.open(self._folder / slot.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(namespace, constants.CLONE_NEWNET)
            try:
                return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            finally:
                syscalls.setns(self._home, constants.CLONE_NEWNET)
        finally:
            os.close(namespace)

    def close(self) -> None:
        """Leaves everything in place."""
        self._outside.close()
        os.close(self._home)

    def tear_down(self) -> None:
        """Removes the bridge and the folder's mount, after every slot."""
        self._outside.ask([netlink.remove_link(BRIDGE)])
        remove_folder(self._folder)

    def _remove_foreign_bridge(self) -> None:
        """One from a time when the node had other subnets; its ports are swept as leftovers."""
        there = netlink.link(self._outside, BRIDGE)
        if there is None:
            return
        ours = {subnet.gateway for subnet in self._subnets}
        found = {address for index, address in entries.addresses(self._outside) if index == there.index}
        if any(address not in ours and not address.startswith("fe80:") for address in found):
            self._outside.ask([netlink.remove_link(BRIDGE)])

    def _make(self, slot: Slot) -> None:
        namespace = self._new_namespace(slot)
        try:
            with self._inside_of(namespace) as inside:
                self._outside.ask([self._link(slot, namespace), netlink.reflecting_port(slot.link)])
                inside.ask(self._wishes_inside(slot))
        finally:
            os.close(namespace)

    def _inside_of(self, namespace: int) -> kernel.Socket:
        """A conversation with another namespace; the thread is back home when it begins."""
        syscalls.setns(namespace, constants.CLONE_NEWNET)
        try:
            return kernel.Socket()
        finally:
            syscalls.setns(self._home, constants.CLONE_NEWNET)

    def _new_namespace(self, slot: Slot) -> int:
        """Owned by a user namespace of its own, which lives as long and needs no file: it is asked for its owner."""
        path = self._folder / slot.name
        path.touch()
        ids = [[0, idranges.first_id(self._subnets[0], slot.addresses[0]), idranges.SIZE]]
        held = holder.Holder(ids, ids, network=True)
        try:
            syscalls.mount(held.path("net"), str(path), "", constants.MS_BIND, "")
            return held.open("net")
        finally:
            held.close()

    def _link(self, slot: Slot, namespace: int) -> kernel.Message:
        return netlink.veth(
            slot.link,
            bridge_index=self._bridge.index,
            mtu=self._bridge.mtu,
            mac=slot.mac,
            namespace=namespace,
            inside=INSIDE,
        )

    def _wishes_inside(self, slot: Slot) -> list[kernel.Message]:
        wishes = [netlink.raise_link(netlink.LOOPBACK_INDEX), netlink.raise_link(netlink.INNER_INDEX)]
        for address in slot.addresses:
            subnet = next(each for each in self._subnets if each.holds(address))
            anywhere, whole = ("0.0.0.0/0", 32) if subnet.family == 4 else ("::/0", 128)
            inside = str(subnet.interface(address))
            wishes.append(netlink.address(inside, index=netlink.INNER_INDEX, neighbours=False))
            wishes.append(entries.on_link(f"{subnet.gateway}/{whole}", index=netlink.INNER_INDEX))
            wishes.append(entries.route(anywhere, subnet.gateway, index=netlink.INNER_INDEX))
        return wishes


def remove_slots(folder: Path, outside: kernel.Socket, names: Sequence[str]) -> None:
    """The kernel answers when all who might still look at their links are done: some 40 ms."""
    for name in names:
        path = folder / name
        if path.exists():
            unmount(path)
            path.unlink()
    links = [netlink.group_link(link_name(name), _DOOMED) for name in names]
    if links:
        outside.ask([*links, netlink.remove_group(_DOOMED)])


def remove_folder(folder: Path) -> None:
    """With the mounts on it and in it; idempotent."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        unmount(Path(entry.path))
    while is_mounted(folder):
        unmount(folder)
    for entry in os.scandir(folder):
        Path(entry.path).unlink()
    folder.rmdir()


def unmount(path: Path) -> None:
    """At once for us, later for those who still use it; not being a mount is fine."""
    try:
        syscalls.umount(str(path), constants.MNT_DETACH)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def is_mounted(path: Path) -> bool:
    """Whether something is mounted exactly there."""
    wanted = str(path.resolve())
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        return any(line.split(" ", 5)[4] == wanted for line in mounts)


def _forward_ipv6() -> None:
    """A router believes no other router's advertisement unless told to: the node's own way out must stay."""
    for link in Path("/proc/sys/net/ipv6/conf").iterdir():
        if (link / "accept_ra").read_text().strip() == "1":
            (link / "accept_ra").write_text("2", encoding="ascii")
    _allow("net/ipv6/conf/all/forwarding")


def _allow(setting: str) -> None:
    Path("/proc/sys", setting).write_text("1", encoding="ascii")


def _forbid(setting: str) -> None:
    Path("/proc/sys", setting).write_text("0", encoding="ascii")


def _is_namespace(path: Path) -> bool:
    return path.stat().st_dev != path.parent.stat().st_dev
