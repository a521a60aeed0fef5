"""Why the registry refuses, in the words of the distribution specification."""

import json
from enum import StrEnum


class Code(StrEnum):
    """The specification's codes."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    TOO_MANY = "TOOMANYREQUESTS"
    UNSUPPORTED = "UNSUPPORTED"


_STATUS = {
    Code.BLOB_UPLOAD_INVALID: 416,
    Code.SIZE_INVALID: 413,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.TOO_MANY: 429,
    Code.UNSUPPORTED: 405,
    Code.DIGEST_INVALID: 400,
    Code.MANIFEST_INVALID: 400,
    Code.NAME_INVALID: 400,
}
"""Of HTTP; what is not here was not found: 404."""


class Refusal(Exception):
    """Answered with the code's status, and a body that says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return _STATUS.get(self.code, 404)

    def body(self) -> bytes:
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode()


class CannotServe(Exception):
    """The registry cannot begin; says what to change."""
