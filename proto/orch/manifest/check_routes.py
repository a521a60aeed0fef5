"""What is wrong with the routes of a service, by themselves."""

import re
from collections.abc import Iterator

from orch.model.network import RouteSpec
from orch.model.policy import PortSpec
from orch.model.service import ServiceSpec

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str, str]]

_HOST = re.compile(
    r"(\*\.)?([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
MOST_ROUTES = 100


def of_routes(spec: ServiceSpec) -> Found:
    """Where, what, and what to do."""
    if len(spec.routes) > MOST_ROUTES:
        yield ("routes",), f"{len(spec.routes)} routes are too many", f"at most {MOST_ROUTES}"
    places: set[tuple[str, str]] = set()
    for index, route in enumerate(spec.routes):
        here: Path = ("routes", index)
        place = (route.host.lower(), route.path.rstrip("/"))
        if place in places:
            yield here, f"{in_words(route)} is listed twice", "remove one"
        places.add(place)
        yield from _words(route, here)
        yield from _port(route, spec.template.ports, here)


def in_words(route: RouteSpec) -> str:
    """Host and path, for people."""
    return f"{route.host or 'any host'} {route.path}"


def _words(route: RouteSpec, here: Path) -> Found:
    if route.host and (len(route.host) > 253 or not _HOST.fullmatch(route.host)):
        what = f'"{route.host}" is not a host name'
        yield (*here, "host"), what, "without scheme, port and path: web.example.com, or *.example.com"
    if not _PATH.fullmatch(route.path) or "//" in route.path:
        what = f'"{route.path}" is not the beginning of a path'
        yield (*here, "path"), what, "it begins with /, and has no space, query or regular expression"
    if route.timeout <= 0:
        yield (*here, "timeout"), "timeout must be longer than 0s", ""
    if not route.tls and not route.redirect:
        yield (
            (*here, "redirect"),
            "without tls there is nothing to redirect to",
            "add tls, or remove redirect",
        )


def _port(route: RouteSpec, ports: tuple[PortSpec, ...], here: Path) -> Found:
    offered = [port for port in ports if port.protocol == "tcp"]
    if not offered:
        yield (*here, "port"), "a route leads to a port, and the service lists none of tcp", "add it to ports"
    elif route.port and not any(route.port in (each.name, str(each.target)) for each in offered):
        names = ", ".join(each.name or str(each.target) for each in offered)
        yield (*here, "port"), f"the service has no tcp port {route.port}", f"one of {names}"
