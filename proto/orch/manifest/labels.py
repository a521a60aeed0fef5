"""What may be the key and value of a label, and the name of an entry of a config or secret."""

import re
from collections.abc import Iterator

_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
_ENTRY = re.compile(r"[A-Za-z0-9._-]+")
_LABEL_RULE = "letters, digits and . _ -{}, beginning and ending with a letter or digit"
_LONGEST_LABEL = 253


def label_faults(key: str, value: str) -> Iterator[str]:
    """What is wrong with a label."""
    if not _LABEL_KEY.fullmatch(key) or len(key) > _LONGEST_LABEL:
        yield f'"{key}" is not a label key: {_LABEL_RULE.format(", /")}'
    if not _LABEL_VALUE.fullmatch(value) or len(value) > _LONGEST_LABEL:
        yield f'"{value}" is not a label value: {_LABEL_RULE.format("")}'


def entry_fault(key: str) -> str:
    """What is wrong with the name of an entry of a config or secret; empty when nothing is."""
    if _ENTRY.fullmatch(key) and key not in {".", ".."} and len(key) <= _LONGEST_LABEL:
        return ""
    return f'"{key}" cannot be a file name: use letters, digits, ".", "_" and "-"'
