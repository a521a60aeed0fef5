"""What the agent is told on its command line."""

import argparse
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.images import care
from agent.network.peering import VXLAN_PORT, VXLAN_VNI, Mode, Underlay
from orch.oci import options, routes

SHARE_PORT = 7423


@dataclass(frozen=True, slots=True)
class Settings:
    name: str
    state_dir: Path
    run_dir: Path
    address: str = ""
    """Where other nodes reach this one."""
    join: str = ""
    token: str = ""
    cgroup_root: str = "orch"
    pool_size: int = 16
    registries: routes.Routes = field(default_factory=routes.Routes)
    """How they are reached."""
    image_marks: care.Marks = field(default_factory=care.Marks)
    """When images that nobody needs go."""
    labels: dict[str, str] = field(default_factory=dict)
    cpu: int = 0
    """Thousandths of a core; 0 is what the machine has."""
    memory: int = 0
    """Bytes; 0 is what the machine has."""
    share_port: int = SHARE_PORT
    """Where other nodes get blobs of images; 0: nowhere, and then this one gets none from others."""
    http_port: int = 80
    """Where HTTP routes are served, once there is one; 0: nowhere."""
    https_port: int = 443
    underlay: Underlay = field(default_factory=Underlay)
    """What carries the packets of tasks between nodes."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    imports: tuple[Path, ...] = ()
    """Archives of images that are taken in at the start."""
    cleanup: bool = False
    verbose: bool = False


def read(arguments: list[str]) -> Settings:
    """Ends the process with a sentence when they make no sense."""
    found = _parser().parse_args(arguments)
    token = found.token or os.environ.get("ORCH_TOKEN", "")
    if found.token_file:
        token = found.token_file
    return Settings(
        name=found.name,
        state_dir=found.state_dir.absolute(),
        run_dir=found.run_dir.absolute(),
        address=found.address,
        join=found.join,
        token=token,
        cgroup_root=found.cgroup_root,
        pool_size=found.pool_size,
        registries=options.read(found),
        image_marks=care.Marks(
            found.image_high_mark / 100, found.image_low_mark / 100, found.image_max_age * 86400.0
        ),
        labels=dict(found.label),
        cpu=found.cpu,
        memory=found.memory,
        share_port=found.share_port,
        http_port=found.http_port,
        https_port=found.https_port,
        underlay=Underlay(Mode(found.network_mode), found.vxlan_port, found.vxlan_vni),
        resolv_conf=found.resolv_conf,
        imports=tuple(found.imports),
        cleanup=found.cleanup,
        verbose=found.verbose,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "orch-agent", description="Makes this machine a node of an orch cluster."
    )
    add = parser.add_argument
    add(
        "--name",
        default=socket.gethostname().partition(".")[0].lower(),
        help="of the node (default: the host's)",
    )
    add("--state-dir", type=Path, default=Path("/var/lib/orch-agent"), help="what must survive a reboot")
    add("--run-dir", type=Path, default=Path("/run/orch-agent"), help="what must not")
    add("--join", default="", type=_address, metavar="HOST:PORT", help="where to join; needed once")
    add("--token", default="", help="from `orchctl node join-token`; also from ORCH_TOKEN")
    add(
        "--token-file",
        type=_word_in,
        metavar="FILE",
        help="a file that holds the token; none is needed after joining",
    )
    add("--address", default="", help="where other nodes reach this one (default: towards the control plane)")
    add("--cgroup-root", default="orch", help="the group below which all containers live")
    add("--pool-size", type=int, default=16, help="network namespaces made ahead of need")
    options.add_to(parser)
    marks = care.Marks()
    add(
        "--image-high-mark",
        type=_percent,
        default=marks.high * 100,
        metavar="PERCENT",
        help="of the disk in use, beyond which images that nothing needs are removed (%(default)g)",
    )
    add(
        "--image-low-mark",
        type=_percent,
        default=marks.low * 100,
        metavar="PERCENT",
        help="of the disk in use, down to which they are removed then (%(default)g)",
    )
    add(
        "--image-max-age",
        type=float,
        default=marks.age_seconds / 86400,
        metavar="DAYS",
        help="after which an image that nothing needs is removed in any case; 0: never (%(default)g)",
    )
    add(
        "--label",
        action="append",
        default=[],
        type=_label,
        metavar="KEY=VALUE",
        help="of the node; repeatable",
    )
    add("--cpu", type=int, default=0, help="offer so many thousandths of a core (default: all)")
    add("--memory", type=int, default=0, help="offer so many bytes (default: all)")
    add(
        "--share-port",
        type=int,
        default=SHARE_PORT,
        metavar="PORT",
        help="where other nodes get what this one got from the cluster's own registry; 0: take no part (%(default)s)",
    )
    for name, port in (("http", 80), ("https", 443)):
        add(
            f"--{name}-port",
            type=int,
            default=port,
            metavar="PORT",
            help=f"where services' routes are served by {name.upper()}, once there is one; 0: nowhere (%(default)s)",
        )
    add(
        "--network-mode",
        default=Mode.AUTO.value,
        choices=[each.value for each in Mode],
        help="how packets of tasks go to other nodes: by plain route, through VXLAN, or (auto) by route to nodes "
        "on a link of ours and else through VXLAN (%(default)s)",
    )
    add(
        "--vxlan-port",
        type=_number(1, 65535),
        default=VXLAN_PORT,
        metavar="PORT",
        help="UDP, the same on all nodes (%(default)s)",
    )
    add(
        "--vxlan-vni",
        type=_number(1, (1 << 24) - 1),
        default=VXLAN_VNI,
        metavar="NUMBER",
        help="the network identifier, the same on all nodes (%(default)s)",
    )
    add(
        "--resolv-conf",
        type=Path,
        default=Path("/etc/resolv.conf"),
        help="whom to ask for names of the world",
    )
    add(
        "--import",
        dest="imports",
        action="append",
        default=[],
        type=Path,
        metavar="IMAGE.tar",
        help="take in the images of an archive (docker save, OCI layout) first; repeatable",
    )
    add("--cleanup", action="store_true", help="end and remove everything of this node, then exit")
    add("--verbose", action="store_true", help="say more")
    return parser


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if text.isascii() and text.isdecimal() and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")

    return number


def _percent(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 100:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and not (host and port.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT; `orchctl node join-token` prints it")
    return text


def _word_in(path: str) -> str:
    """What a file holds. That it can be read is found out here, where the option can be named."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""  # a node that has joined needs it no longer, and it may have been removed
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a token but other data"
        raise argparse.ArgumentTypeError(f"cannot read {path}: {why}") from None


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
