"""Limits of a process as people write them: a number, soft:hard, or unlimited."""

NAMES = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)
"""As `ulimit` and Docker name them."""
UNLIMITED = (1 << 64) - 1
"""What the OCI's runtime configuration says for no limit."""
_MOST = 1 << 62


def parse_ulimit(text: str) -> tuple[int, int]:
    """Soft and hard. Raises ValueError."""
    soft, colon, hard = text.partition(":")
    found = _number(soft), _number(hard if colon else soft)
    if found[0] > found[1]:
        raise ValueError(f'"{text}": the soft limit is greater than the hard one')
    return found


def _number(text: str) -> int:
    if text in {"unlimited", "-1"}:
        return UNLIMITED
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST:
        raise ValueError(f'"{text}" is not an amount')
    return int(text)
