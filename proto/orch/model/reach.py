"""The words for who may reach a service and whom it may reach: svc/web, svc/web.shop, ns/shop, 10.0.0.0/8, *."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator

from orch.model.names import ServiceName, check_name

ANYBODY = "*"
DEFAULT = "default"
"""As the namespace says: everybody, or its own services only where it is isolated."""


@dataclass(frozen=True, slots=True)
class Anybody:
    """No limit."""


@dataclass(frozen=True, slots=True)
class AsTheNamespace:
    """What the namespace says of its services."""


@dataclass(frozen=True, slots=True)
class OfService:
    """All tasks of a service."""

    service: ServiceName


@dataclass(frozen=True, slots=True)
class OfNamespace:
    """All tasks of all services of a namespace."""

    namespace: str


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses, whosever they are: 10.0.0.0/8."""

    addresses: str


Meant = Anybody | AsTheNamespace | OfService | OfNamespace | Range


def meant(word: str, namespace: str) -> Meant:
    """What a word means that was written in this namespace. Raises ValueError."""
    kind, slash, name = word.partition("/")
    if word == ANYBODY:
        return Anybody()
    if word == DEFAULT:
        return AsTheNamespace()
    if slash and kind == "svc":
        service, dot, space = name.partition(".")
        return OfService(ServiceName(check_name(space) if dot else namespace, check_name(service)))
    if slash and kind == "ns":
        return OfNamespace(check_name(name))
    if kind[:1].isdigit() or ":" in kind:
        return Range(_network(word))
    raise ValueError(
        f"{word!r} names nobody: write svc/web (of this namespace), svc/web.shop, ns/shop, "
        f"a range of addresses such as 10.0.0.0/8, {ANYBODY} for everybody, or {DEFAULT}"
    )


def _network(word: str) -> str:
    try:
        return str(ip_network(word))
    except ValueError:
        pass
    try:
        near = ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"{word!r} is not a range of addresses: write for example 10.0.0.0/8") from None
    raise ValueError(f"{word!r} has bits set behind its length: write {near}")


def _check(word: str) -> str:
    meant(word, "default")
    return word


Word = Annotated[str, AfterValidator(_check)]
