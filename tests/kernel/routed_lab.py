"""Machines of which some share a link and others are behind a router: a data centre of two rooms."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.kernel.network_lab import Machine, run_in


@contextmanager
def rooms(*addresses: str, mtu: int = 1500, ipv6: bool = False) -> Iterator[list[Machine]]:
    """Machines with these addresses, /24; those of one subnet share a switch, and a router joins the switches.

    The router knows the machines, and of the addresses of tasks nothing. With `ipv6`, 192.0.2.7 is also
    2001:db8:192::7 and fe80-less: a /64 for each room.
    """
    name = f"orchroom{os.getpid()}"
    made: list[str] = []

    def namespace(suffix: str) -> str:
        subprocess.run(["ip", "netns", "add", f"{name}{suffix}"], check=True)
        made.append(f"{name}{suffix}")
        path = f"/run/netns/{name}{suffix}"
        run_in(path, "ip", "link", "set", "lo", "up")
        # A real machine's links have been up for long; these would ask no neighbour for two seconds.
        run_in(path, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        return path

    try:
        router = namespace("r")
        run_in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        switches: dict[str, str] = {}
        machines = []
        for number, address in enumerate(addresses):
            room = address.rpartition(".")[0]
            if room not in switches:
                switches[room] = f"room{len(switches)}"
                _ip(router, f"link add {switches[room]} mtu {mtu} up type bridge")
                _ip(router, f"address add {room}.254/24 dev {switches[room]}")
                if ipv6:
                    _ip(router, f"address add {six(room + '.254')}/64 dev {switches[room]} nodad")
            netns = namespace(str(number))
            _ip(
                router,
                f"link add port{number} mtu {mtu} type veth peer name uplink mtu {mtu} netns {made[-1]}",
            )
            _ip(router, f"link set port{number} master {switches[room]} up")
            _ip(netns, f"address add {address}/24 dev uplink")
            _ip(netns, "link set uplink up")
            _ip(netns, f"route add default via {room}.254")
            if ipv6:
                _ip(netns, f"address add {six(address)}/64 dev uplink nodad")
                _ip(netns, f"route add default via {six(room + '.254')}")
            machines.append(Machine(netns, address))
        yield machines
    finally:
        for each in made:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["ip", "netns", "delete", each], check=True)


def six(address: str) -> str:
    """The IPv6 address of the machine or router with this IPv4 address."""
    room, _, host = address.rpartition(".")
    return f"2001:db8:{room.replace('.', ':')}::{host}"


def _ip(netns: str, words: str) -> None:
    run_in(netns, "ip", *words.split())
