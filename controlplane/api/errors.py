"""What went wrong, as a gRPC status: the one place where errors of this program become codes."""

import asyncio
import logging

import grpc
import pydantic

from controlplane.store import leadership, port

log = logging.getLogger(__name__)


class NotFound(Exception):
    """There is no such object; the message names it."""


class Invalid(Exception):
    """The request makes no sense, whatever the cluster is like; one problem a line."""


class NotPossible(Exception):
    """The request makes sense but the cluster, as it is, does not allow it; says why and what to do."""


class Unreachable(Exception):
    """A node, or the leader, that is needed to answer cannot be reached."""


class Passed(Exception):
    """What another control plane answered."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        super().__init__(details)


class Denied(Exception):
    """The caller may not do this."""


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The code and the sentence for the caller."""
    code = grpc.StatusCode
    match error:
        case NotFound():
            return code.NOT_FOUND, str(error)
        case Invalid():
            return code.INVALID_ARGUMENT, str(error)
        case pydantic.ValidationError():
            return code.INVALID_ARGUMENT, _problems(error)
        case NotPossible():
            return code.FAILED_PRECONDITION, str(error)
        case Passed():
            return error.code, str(error)
        case Denied():
            return code.PERMISSION_DENIED, str(error)
        case Unreachable() | TimeoutError():
            return code.UNAVAILABLE, str(error) or "it took too long"
        case leadership.NotLeading():
            return code.UNAVAILABLE, "this control plane does not lead at the moment: try again"
        case port.Conflict():
            return (
                code.ABORTED,
                "someone else changed the same object at the same time: look at it, then try again",
            )
        case port.OutcomeUnknown():
            return (
                code.UNKNOWN,
                f"the store's answer was lost; look whether it was made before you repeat it ({error})",
            )
        case port.Unavailable() | port.LeaseLost():
            return code.UNAVAILABLE, f"the control plane cannot reach its store: {error}"
        case port.TooLarge():
            return (
                code.RESOURCE_EXHAUSTED,
                f"too much for one transaction of the store: apply fewer objects at once ({error})",
            )
        case port.StoreError():
            return code.FAILED_PRECONDITION, f"the store refused: {error}"
        case asyncio.CancelledError():
            return code.CANCELLED, "cancelled"
    log.error("a request failed in an unexpected way", exc_info=error)
    return (
        code.INTERNAL,
        f"the control plane failed: {type(error).__name__}: {error}; its log has the details",
    )


def _problems(error: pydantic.ValidationError) -> str:
    lines = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in each["loc"])
        lines.append(f"{where}: {each['msg']}" if where else each["msg"])
    return "\n".join(lines)
