"""Why an image could not be had: one reason a program can act on, one sentence a person can."""

from enum import StrEnum


class Reason(StrEnum):
    """The words users see in a task's REASON; they are part of the interface."""

    IMAGE_NOT_FOUND = "ImageNotFound"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    DIGEST_MISMATCH = "DigestMismatch"
    INVALID_REFERENCE = "InvalidReference"
    UNAUTHORIZED = "Unauthorized"
    NOT_PRESENT = "NotPresent"
    DISK_FULL = "DiskFull"
    BAD_IMAGE = "BadImage"


class ImageFailure(Exception):
    """An image, or a part of one, is not to be had."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def bad_image(message: str) -> ImageFailure:
    return ImageFailure(Reason.BAD_IMAGE, message)
