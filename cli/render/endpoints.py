"""Where a service is reached, in words."""

from collections.abc import Iterator
from typing import Any

from cli.render.words import NOTHING

MOST_SHOWN = 3


def addresses(view: Any) -> str:
    """Its virtual addresses."""
    return ",".join(view.endpoints.virtual_addresses) or NOTHING


def ports(view: Any) -> str:
    """`http:80→8080/tcp`: what is asked for at the virtual address, and where it leads."""
    return ",".join(_inside(each) for each in view.endpoints.ports) or NOTHING


def port(spec: Any) -> str:
    """And where it is published."""
    return _inside(spec) + published(spec)


def published(spec: Any) -> str:
    """` at :30080 of every node`; empty where it is not."""
    if not spec.published:
        return ""
    where = "every node" if spec.mode == "ingress" else "the task's node"
    return f" at {spec.host_ip}:{spec.published} of {where}"


def ready(view: Any, most: int = MOST_SHOWN) -> str:
    """The first few, and how many more."""
    found = [_address(each) for each in view.endpoints.endpoints if each.ready]
    more = f" +{len(found) - most} more" if len(found) > most else ""
    return ",".join(found[:most]) + more or NOTHING


def out(view: Any) -> str:
    """Who is not led to, and why; the first of them in words."""
    found = list(lines_of_out(view))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more if found else NOTHING


def lines_of_out(view: Any) -> Iterator[str]:
    """One line for each task."""
    for each in view.out:
        yield f"{each.task.service}.{each.task.slot} {each.reason}"


def lines(view: Any) -> Iterator[list[str]]:
    """One row for each endpoint: its task, its address, its node, and whether it is led to."""
    why = {_key(each.task): each.reason for each in view.out}
    for each in view.endpoints.endpoints:
        state = "ready" if each.ready else why.pop(_key(each.task), "is not ready")
        yield [f"{each.task.service}.{each.task.slot}", ",".join(each.addresses), each.node, state]
    for missing in view.out:
        if _key(missing.task) in why:
            name = f"{missing.task.service}.{missing.task.slot}"
            yield [name, NOTHING, missing.node or NOTHING, missing.reason]


def _inside(spec: Any) -> str:
    asked = spec.port or spec.target
    inside = f"{asked}→{spec.target}" if asked != spec.target else str(asked)
    name = f"{spec.name}:" if spec.name else ""
    return f"{name}{inside}/{spec.protocol or 'tcp'}"


def _address(endpoint: Any) -> str:
    return str(endpoint.addresses[0])


def _key(task: Any) -> tuple[int, int, int]:
    return (task.birth, task.slot, task.attempt)
