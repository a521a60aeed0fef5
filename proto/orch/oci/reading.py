"""JSON of strangers → words of a known kind, or a refusal that says where."""

import json
from collections.abc import Mapping
from typing import Any

from orch.oci import reference
from orch.oci.failure import bad_image

LARGEST_BYTES = 4 << 20
"""The limit of the distribution specification, and of Docker Hub."""


def document(body: bytes, what: str) -> Mapping[str, Any]:
    if len(body) > LARGEST_BYTES:
        raise bad_image(f"the {what} is larger than {LARGEST_BYTES >> 20} MiB")
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError) as problem:
        raise bad_image(f"the {what} is not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise bad_image(f"the {what} is not a JSON object")
    return found


def digest(value: object, where: str) -> str:
    if not isinstance(value, str) or not reference.is_digest(value):
        raise bad_image(f"{where}: {value!r:.80} is not a sha256 digest")
    return value


def mapping(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_image(f"{where} is not a map")
    return value


def items(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_image(f"{where} is not a list")
    return value


def strings(value: object, where: str) -> tuple[str, ...]:
    return tuple(text(item, where) for item in items(value, where))


def text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise bad_image(f"{where} is not text")
    return value


def number(value: object, where: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_image(f"{where} is not a number")
    return value
