"""How registries are reached, as programs are told on their command lines."""

import argparse
from pathlib import Path

from orch.oci import routes
from orch.oci.reference import DOCKER_HUB, is_host


def add_to(parser: argparse.ArgumentParser) -> None:
    """--plain-http, --registry-ca, --registry-mirror."""
    parser.add_argument(
        "--plain-http",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a registry without TLS; repeatable",
    )
    parser.add_argument(
        "--registry-ca",
        action="append",
        default=[],
        type=_authority,
        metavar="HOST[:PORT]=FILE",
        help="certificates (PEM) to trust for a registry, beside the machine's; repeatable",
    )
    parser.add_argument(
        "--registry-mirror",
        action="append",
        default=[],
        type=_mirror,
        metavar="REGISTRY=HOST[:PORT]",
        help=f"asked before the registry itself, for example {DOCKER_HUB}=mirror.lan:5000; repeatable",
    )


def read(found: argparse.Namespace) -> routes.Routes:
    """What `add_to` made the parser find."""
    return routes.routes(found.plain_http, dict(found.registry_ca), found.registry_mirror)


def _authority(text: str) -> tuple[str, Path]:
    host, _, file = text.partition("=")
    if not (is_host(host) and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST[:PORT]=FILE")
    try:
        Path(file).open("rb").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {file}: {error.strerror}") from None
    return host, Path(file).absolute()


def _mirror(text: str) -> tuple[str, str]:
    registry, _, mirror = text.partition("=")
    if not (is_host(registry) and is_host(mirror)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not REGISTRY=HOST[:PORT], as {DOCKER_HUB}=mirror.lan:5000"
        )
    return registry, mirror
