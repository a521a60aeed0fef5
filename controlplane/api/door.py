"""Every call passes here: who is calling, may they, and in which words a failure goes back.

One interceptor, so that no handler can forget it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from controlplane.api import errors
from orch.identity import roles

TLS_VERSION = b"TLSv1.3"

_USERS = frozenset({roles.Role.USER, roles.Role.ADMIN, roles.Role.SERVER})
_READERS = _USERS | {roles.Role.VIEWER}
_ADMINS = frozenset({roles.Role.ADMIN, roles.Role.SERVER})
_NODES = frozenset({roles.Role.NODE})

ALLOWED: dict[str, frozenset[roles.Role]] = {
    "/orch.v1.Control/": _USERS,
    "/orch.v1.Control/Get": _READERS,
    "/orch.v1.Control/Watch": _READERS,
    "/orch.v1.Control/Why": _READERS,
    "/orch.v1.Control/Logs": _READERS,
    "/orch.v1.Control/Top": _READERS,
    "/orch.v1.Control/NetCheck": _READERS,
    "/orch.v1.Control/ListImages": _READERS,
    "/orch.v1.Control/Version": _READERS,
    "/orch.v1.Control/JoinToken": _ADMINS,
    "/orch.v1.Control/CertifyUser": _ADMINS,
    "/orch.v1.Control/Store": _ADMINS,
    "/orch.v1.Control/ChangeNode": _ADMINS,
    "/orch.v1.Sessions/": _NODES,
}
"""By method, or by service; a method that is in neither way here is refused."""


def caller(context: Any) -> roles.Caller:
    """Who is calling, by the certificate of the connection. Raises Denied."""
    found = context.auth_context()
    if found.get("ssl_tls_version") != [TLS_VERSION]:
        raise errors.Denied("TLS 1.3 is required")
    subjects = found.get("x509_subject", ())
    known = roles.caller_of_subject(subjects[0].decode()) if subjects else None
    if known is None:
        raise errors.Denied("a certificate of this cluster is required: `orchctl` takes it from its context")
    return known


class Door(aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Wraps every handler."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None:
            return None
        allowed = _allowed(details.method)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _unary(handler.unary_unary, allowed),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _stream(handler.unary_stream, allowed),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _stream(handler.stream_stream, allowed),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return None


def _allowed(method: str) -> frozenset[roles.Role]:
    service = method[: method.rfind("/") + 1]
    return ALLOWED.get(method, ALLOWED.get(service, frozenset()))


def _check(context: Any, allowed: frozenset[roles.Role]) -> None:
    who = caller(context)
    if who.role not in allowed:
        raise errors.Denied(f"{who.name} ({who.role}) may not do this")


def _unary(
    behaviour: Callable[[Any, Any], Awaitable[Any]], allowed: frozenset[roles.Role]
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            _check(context, allowed)
            return await behaviour(request, context)
        except aio.AbortError:
            raise
        except Exception as error:
            await context.abort(*errors.status_of(error))

    return guarded


def _stream(
    behaviour: Callable[[Any, Any], AsyncIterator[Any]], allowed: frozenset[roles.Role]
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            _check(context, allowed)
            async for reply in behaviour(request, context):
                yield reply
        except aio.AbortError:
            raise
        except Exception as error:
            await context.abort(*errors.status_of(error))

    return guarded
