"""HTTP routes of a service, and what came by them."""

from collections.abc import Iterator
from typing import Any


def lines(spec: Any) -> Iterator[list[str]]:
    """One row for each route: what is asked for, and what it leads to."""
    tcp = (each for each in spec.template.ports if each.protocol != "udp")
    first = next((each.name or str(each.target) for each in tcp), "")
    for each in spec.routes:
        scheme = "https" if each.tls else "http"
        words = [f"{scheme}://{each.host or '*'}{each.path}", f"port {each.port or first}"]
        more = [f"certificate {each.tls}"] if each.tls else []
        if each.HasField("weight"):
            more.append(f"weight {each.weight}")
        yield [*words, ", ".join(more)]


def traffic(view: Any) -> Iterator[list[str]]:
    """One row for each revision; what reached none stands last."""
    yield ["REVISION", "REQ/S", "4XX", "5XX", "P50", "P95", "P99"]
    for each in sorted(view.traffic, key=lambda each: (each.revision == 0, each.revision)):
        yield [
            str(each.revision or "none"),
            f"{each.requests / each.seconds:.1f}",
            _percent(each.client_errors, each.requests),
            _percent(each.server_errors, each.requests),
            *(_time(value) for value in (each.p50, each.p95, each.p99)),
        ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%" if part else "0%"


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f}s" if milliseconds >= 1000 else f"{milliseconds:.1f}ms"
