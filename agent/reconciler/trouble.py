"""Whatever a step raises → a reason for the REASON column and a sentence (pure)."""

import errno
from dataclasses import dataclass

from agent.network.addresses import NoAddressLeftError
from agent.network.attachment import NetworkError
from agent.reconciler.accounts import UnknownUser
from agent.reconciler.configuration import NothingToRun
from agent.reconciler.confinement import NotHeld
from agent.reconciler.files import FileMissing
from agent.runtime.container import LaunchFailed
from orch.oci.failure import ImageFailure, Reason

_NEVER_HERE = {Reason.INVALID_REFERENCE, Reason.BAD_IMAGE}
_LAUNCH_REASONS = {
    "exec": "CommandNotFound",
    "mounts": "MountFailed",
    "cwd": "WorkingDirNotFound",
    "root": "RootFailed",
    "config": "NotSupported",
    "network": "NetworkFailed",
    "limits": "LimitRefused",
    "cgroup": "LimitRefused",
}
_FULL = "no space left"


@dataclass(frozen=True, slots=True)
class Explained:
    reason: str
    message: str
    permanent: bool = False
    """It can never work on this node."""


def explain(error: Exception, doing: str) -> Explained:
    """`doing` is what was tried, in words; it begins the sentence where the error itself does not say."""
    match error:
        case ImageFailure():
            return Explained(str(error.reason), error.message, error.reason in _NEVER_HERE)
        case LaunchFailed():
            return _of_launch(error)
        case NoAddressLeftError():
            return Explained("NoAddressLeft", str(error))
        case NetworkError():
            return Explained("PortTaken" if doing == PUBLISHING else "NetworkFailed", str(error))
        case UnknownUser():
            return Explained("UnknownUser", str(error), permanent=True)
        case NothingToRun():
            return Explained("NothingToRun", str(error), permanent=True)
        case NotHeld():
            return Explained("CapabilityMissing", str(error), permanent=True)
        case FileMissing():
            return Explained("FileMissing", str(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return Explained("DiskFull", f"{doing}: the node's disk is full ({error}): free some space on it")
        case _:
            return Explained("NodeError", f"{doing}: {type(error).__name__}: {error}")


PUBLISHING = "publish its ports"


def _of_launch(error: LaunchFailed) -> Explained:
    if _FULL in error.message:
        return Explained("DiskFull", f"{error.message}: free some space on the node's disk")
    reason = _LAUNCH_REASONS.get(error.step, "StartFailed")
    return Explained(reason, error.message, permanent=error.step == "config")
