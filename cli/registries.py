"""The way to registries from a user's machine: the cluster's own with their certificate, others with docker's login."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from cli import context, docker_login, session
from cli.exits import NotSo, Wrong
from orch.oci import reference, routes
from orch.oci.door import Door
from orch.oci.failure import ImageFailure, Reason
from orch.oci.reference import CLUSTER, Reference
from orch.oci.registry import Registry

T = TypeVar("T")


def use(
    session_: session.Session, work: Callable[[Registry], Awaitable[T]], ways: routes.Routes | None = None
) -> T:
    """What `work` answers, given all registries. Raises NotSo, Wrong."""
    way = _door(session_)

    async def working() -> T:
        async with Registry(
            routes_=ways,
            credentials=docker_login.credentials_of,
            door=lambda name: way if name == CLUSTER else None,
        ) as registry:
            return await work(registry)

    try:
        return asyncio.run(working())
    except ImageFailure as failure:
        raise (Wrong if failure.reason is Reason.INVALID_REFERENCE else NotSo)(_told(failure)) from failure


def named(text: str) -> Reference:
    """A name without a registry is the cluster's own. Raises Wrong."""
    try:
        return reference.of_own(text)
    except ImageFailure as failure:
        raise Wrong(failure.message) from failure


def in_cluster(text: str) -> Reference:
    """The same, and it must be the cluster's. Raises Wrong."""
    found = named(text)
    if found.registry != CLUSTER:
        raise Wrong(
            f"{text} is in the registry {found.registry}: leave the host out to mean the cluster's own registry"
        )
    return found


def new_name(text: str) -> Reference:
    """One that an image of the cluster may be given: with a tag. Raises Wrong."""
    found = in_cluster(text)
    if found.digest:
        raise Wrong(f"{text}: a digest cannot be given to an image, it has one; leave it out")
    return found


def elsewhere(text: str) -> Reference:
    """In another registry; without a host it is Docker Hub's. Raises Wrong."""
    try:
        found = reference.parse(text)
    except ImageFailure as failure:
        raise Wrong(failure.message) from failure
    if found.registry == CLUSTER:
        raise Wrong(f"{text} is in the cluster's own registry: orchctl image tag gives it another name there")
    return found


def short(ref: Reference) -> str:
    """As a manifest writes it: without the cluster's own host."""
    return str(ref).removeprefix(f"{CLUSTER}/") if ref.registry == CLUSTER else ref.familiar


def ways(plain_http: Collection[str], *refs: Reference) -> routes.Routes:
    """Without TLS to those allowed by name; to those on this machine where they do not speak it, as docker does."""
    return routes.routes(plain_http, perhaps_plain={ref.registry for ref in refs if _is_here(ref.registry)})


def _is_here(registry: str) -> bool:
    host = registry.rpartition(":")[0] or registry
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _door(session_: session.Session) -> Door | None:
    from orch.identity import tls
    from orch.v1 import control_pb2 as pb

    known = context.current(session_.context_name)
    address = session_.client.call("Version", pb.VersionRequest()).registry
    if not address:
        raise NotSo("error: this cluster has no registry of its own (--registry-listen off)")
    certificate = tls.client(known.certificate.read_bytes(), known.key.read_bytes(), known.ca.read_bytes())
    return Door(address, certificate, known.server_name)


def _told(failure: ImageFailure) -> str:
    text = failure.message.replace(f"{CLUSTER}/", "").replace(
        f"registry {CLUSTER}", "the cluster's own registry"
    )
    return f"error: {text}" if failure.reason is not Reason.INVALID_REFERENCE else text
