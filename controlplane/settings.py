"""What may be set from outside, read once.

The data directory holds, besides the store of an embedded etcd in `etcd/`:

| file | what it is |
|---|---|
| `lock` | held while a control plane uses the directory |
| `ca.crt`, `ca.key` | the cluster's certificate authority (the key 0600) |
| `server.crt`, `server.key` | this control plane's own certificate, made anew when it is due |
| `admin.crt`, `admin.key` | an administrator's certificate for `orchctl`, to be used with `ca.crt` |
| `join-token` | a token for `orch-agent --join`, valid and renewed while the control plane runs (0600) |
| `registry/` | the cluster's own images, unless `--registry-store` says otherwise |
| `sealing.key` | encrypts secrets before they reach the store (0600) |

Another control plane of the cluster needs copies of `ca.crt`, `ca.key` and `sealing.key` before it starts.
"""

import argparse
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orch.oci import options, routes

DEFAULT_PORT = 7420
DEFAULT_JOIN_PORT = 7421
DEFAULT_REGISTRY_PORT = 7422
RESOLVE_SECONDS = 3.0
NO_REGISTRY = "off"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them."""

    data: Path
    listen: tuple[str, ...]
    """host:port or unix:PATH, for users and nodes with certificates."""
    join_listen: str
    """host:port where nodes without a certificate yet show their token."""
    advertise: str
    """host:port under which nodes and other control planes reach `listen`."""
    name: str
    registry_listen: str = ""
    """host:port of the cluster's own image registry; empty: there is none."""
    registry_store: str = ""
    """Where it keeps images: a directory, or the address of an object store."""
    registries: routes.Routes = field(default_factory=routes.Routes)
    """How those of others are reached."""
    resolve_seconds: float = 0.0
    """How long an apply may wait for registries to say what tags stand for; 0: nobody is asked."""
    etcd_endpoints: tuple[str, ...] = ()
    """Empty: etcd runs as our own child."""
    etcd_ca: Path | None = None
    etcd_cert: Path | None = None
    etcd_key: Path | None = None
    task_range: str = "10.208.0.0/12"
    node_prefix: int = 22
    service_range: str = "10.224.0.0/16"
    heartbeat_interval: float = 1.0
    """Seconds between a node's heartbeats."""
    node_timeout: float = 5.0
    """Seconds of silence after which a node is down."""
    leader_ttl: float = 5.0
    """Seconds after which another control plane may lead when the leader is silent."""
    restored: bool = False
    """The store was brought back from a snapshot: another life of the cluster begins."""
    verbose: bool = False

    @property
    def registry_address(self) -> str:
        """host:port under which nodes reach the registry; empty without one."""
        if not self.registry_listen:
            return ""
        return f"{self.advertise.rpartition(':')[0]}:{self.registry_listen.rpartition(':')[2]}"


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """From the command line; ends the program with a message when something is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    listen = tuple(given.listen or [f"0.0.0.0:{DEFAULT_PORT}"])
    try:
        _check_ranges(given.task_range, given.node_prefix, given.service_range)
    except ValueError as error:
        parser.error(str(error))
    return Settings(
        data=given.data,
        listen=listen,
        join_listen=given.join_listen or _beside(listen[0], 1),
        registry_listen=_registry_listen(given.registry_listen, listen[0]),
        registry_store=given.registry_store or str(given.data / "registry"),
        advertise=given.advertise or _advertised(listen),
        name=given.name,
        etcd_endpoints=tuple(part for part in (given.etcd_endpoints or "").split(",") if part),
        etcd_ca=given.etcd_ca,
        etcd_cert=given.etcd_cert,
        etcd_key=given.etcd_key,
        task_range=given.task_range,
        node_prefix=given.node_prefix,
        service_range=given.service_range,
        heartbeat_interval=given.heartbeat_interval,
        node_timeout=given.node_timeout,
        leader_ttl=given.leader_ttl,
        registries=options.read(given),
        resolve_seconds=given.resolve_timeout,
        restored=given.restored,
        verbose=given.verbose,
    )


def _parser() -> argparse.ArgumentParser:
    defaults = {each.name: each.default for each in Settings.__dataclass_fields__.values()}
    parser = argparse.ArgumentParser(
        "orch-controlplane", description="Decides what runs where.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("/var/lib/orch/controlplane"), help="data directory (%(default)s)")
    add(
        "--listen",
        action="append",
        type=_address,
        metavar="HOST:PORT",
        help=f"may be repeated; default 0.0.0.0:{DEFAULT_PORT}",
    )
    add(
        "--join-listen",
        type=_address,
        metavar="HOST:PORT",
        help="default: the next port of the first --listen",
    )
    add(
        "--advertise",
        type=_address,
        metavar="HOST:PORT",
        help="where nodes reach this control plane; default: the first --listen",
    )
    add(
        "--registry-listen",
        type=_address_or_none,
        metavar="HOST:PORT",
        help=f"of the cluster's own image registry; {NO_REGISTRY}: none; default: two ports after --listen",
    )
    add(
        "--registry-store",
        metavar="PLACE",
        help="where it keeps images: a directory, or s3://bucket/prefix; default: registry/ in --data",
    )
    options.add_to(parser)
    add(
        "--resolve-timeout",
        type=float,
        default=RESOLVE_SECONDS,
        metavar="SECONDS",
        help="how long an apply may wait for registries to say what tags stand for; 0: nobody is asked",
    )
    add("--name", default=socket.gethostname(), help="of this control plane (%(default)s)")
    add("--etcd-endpoints", metavar="URL,…", help="an external etcd; without it one is started as a child")
    add("--etcd-ca", type=_file, metavar="FILE")
    add("--etcd-cert", type=_file, metavar="FILE")
    add("--etcd-key", type=_file, metavar="FILE")
    add(
        "--task-range",
        default=defaults["task_range"],
        help="of all tasks' addresses (%(default)s); first start only",
    )
    add(
        "--node-prefix", type=int, default=defaults["node_prefix"], help="size of a node's part (%(default)s)"
    )
    add("--service-range", default=defaults["service_range"], help="of services' addresses (%(default)s)")
    add(
        "--node-timeout",
        type=float,
        default=defaults["node_timeout"],
        help="silence after which a node is down",
    )
    add(
        "--heartbeat-interval",
        type=float,
        default=defaults["heartbeat_interval"],
        help="seconds (%(default)s)",
    )
    add("--leader-ttl", type=float, default=defaults["leader_ttl"], help="seconds (%(default)s)")
    add(
        "--restored",
        action="store_true",
        help="once, after the store was brought back from a snapshot: nodes obey what would seem old to them",
    )
    add("--verbose", action="store_true", help="say more")
    return parser


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text.startswith("unix:") or (host and port.isdecimal() and int(port) < 65536):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 0.0.0.0:{DEFAULT_PORT}")


def _address_or_none(text: str) -> str:
    return text if text == NO_REGISTRY else _address(text)


def _file(text: str) -> Path:
    """That it can be read is found out here, where the option can be named."""
    try:
        Path(text).open("rb").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error.strerror}") from None
    return Path(text)


def _check_ranges(task_range: str, node_prefix: int, service_range: str) -> None:
    tasks = ipaddress.ip_network(task_range)
    services = ipaddress.ip_network(service_range)
    if tasks.version == services.version and tasks.overlaps(services):
        raise ValueError(f"--task-range {tasks} and --service-range {services} overlap")
    if not tasks.prefixlen <= node_prefix <= 30:
        raise ValueError(f"--node-prefix {node_prefix} does not cut {tasks} into parts")


def _beside(listen: str, distance: int) -> str:
    """So many ports after this one."""
    if listen.startswith("unix:"):
        return f"0.0.0.0:{DEFAULT_PORT + distance}"
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + distance if int(port) else 0}"


def _registry_listen(given: str | None, listen: str) -> str:
    if given == NO_REGISTRY:
        return ""
    return given or _beside(listen, DEFAULT_REGISTRY_PORT - DEFAULT_PORT)


def _advertised(listen: Sequence[str]) -> str:
    first = next((each for each in listen if not each.startswith("unix:")), f"127.0.0.1:{DEFAULT_PORT}")
    host, _, port = first.rpartition(":")
    if host not in {"0.0.0.0", "[::]", "::"}:  # noqa: S104  a comparison, not a listener
        return first
    return f"{_own_address()}:{port}"


def _own_address() -> str:
    """The address that this machine would speak from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
