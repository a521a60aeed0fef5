"""Small amounts in few letters: ages, shares, states."""

import re
from typing import Any

_STATES = {
    1: "Pending", 2: "Assigned", 3: "Preparing", 4: "Starting", 5: "Running",
    6: "Backoff", 7: "Stopping", 8: "Complete", 9: "Failed", 10: "Rejected",
}  # fmt: skip
NOTHING = "-"
_OWN_IMAGE = re.compile(r"\bregistry\.orch/([a-z0-9][^\s@]*)@sha256:([0-9a-f]{12})[0-9a-f]{52}")


def age(since: float, now: float) -> str:
    """`12s`, `5m`, `3h12m`, `2d`; nothing for a moment that has not come."""
    return span(now - since) if since else NOTHING


def span(seconds: float) -> str:
    """The two greatest units while they matter."""
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"
    if whole < 48 * 3600:
        hours, rest = divmod(whole, 3600)
        return f"{hours}h{rest // 60}m" if hours < 10 and rest >= 60 else f"{hours}h"
    return f"{whole // 86400}d"


def share(part: float, whole: float) -> str:
    """`37%`."""
    return f"{round(100 * part / whole)}%" if whole else NOTHING


def size(count: int) -> str:
    """`12.3MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f}{unit}" if unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    raise AssertionError("the loop returns")


def images(text: str) -> str:
    """Images of the cluster's own registry as people call them: `web:1@5b6faa192bac`."""
    return _OWN_IMAGE.sub(r"\1@\2", text)


def labels(found: Any) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())) or NOTHING


def state(view: Any) -> str:
    """Of a TaskView, for the STATUS column."""
    if view.unreachable:
        return "Unreachable"
    if view.state == 5 and not view.ready:
        return "Unready"
    return _STATES.get(view.state, "Unknown")


def port(spec: Any) -> str:
    """`30080→8080`, `8080`, `10.0.0.5:53→53/udp`."""
    inside = str(spec.target) + ("" if spec.protocol in ("", "tcp") else f"/{spec.protocol}")
    if not spec.published:
        return inside
    return f"{spec.host_ip + ':' if spec.host_ip else ''}{spec.published}→{inside}"
