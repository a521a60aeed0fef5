"""`orchctl describe`: everything about one object, in sections."""

from collections.abc import Sequence
from typing import Any

from cli.render import confinement, endpoints, rollouts, routes, table, words
from cli.render.words import NOTHING

_MOST_EVENTS = 20
_MOST_LOG_LINES = 20


def service(view: Any, tasks: Sequence[Any], events: Sequence[Any], now: float, reached: Any = None) -> str:
    """A ServiceView, its tasks and what happened; `reached` is its EndpointsView, where it has one."""
    of = view.service
    spec = of.spec
    rows = [
        ["Name", of.name.name],
        ["Namespace", of.name.namespace],
        ["Labels", words.labels(of.labels)],
        ["Mode", spec.mode if spec.mode == "global" else f"{spec.mode}, {view.desired} wanted"],
        ["Status", view.status + (f": {view.reason}" if view.reason else "")],
        [
            "Instances",
            f"{view.ready} ready, {view.running} running, {view.updated} of revision {of.revision}",
        ],
        ["Created", f"{words.age(of.created_at, now)} ago"],
        ["Changed", f"{words.age(of.updated_at, now)} ago by {of.updated_by or 'somebody'}"],
    ]
    rows += _network(spec, reached)
    rows += _exposed(spec, tasks)
    rows += _placement(spec.template.placement)
    parts = [table.lay_out(_labelled(rows))]
    for title, containers in (
        ("Init containers", spec.template.init_containers),
        ("Containers", spec.template.containers),
    ):
        if containers:
            parts.append(f"{title}:\n" + "".join(_container(each) for each in containers))
    if reached is not None and (behind := list(endpoints.lines(reached))):
        parts.append("Endpoints:\n" + _indented(table.lay_out(behind)))
    if spec.routes:
        parts.append("Routes:\n" + _indented(table.lay_out(list(routes.lines(spec)))))
    if view.traffic:
        parts.append("Requests:\n" + _indented(table.lay_out(list(routes.traffic(view)))))
    parts.append("Rollout:\n" + _indented(rollouts.status(view, now)))
    if tasks:
        parts.append("Tasks:\n" + _indented(table.table("task", tasks, table.Style(now))))
    return "\n".join([*parts, _events(events, now)])


def task(view: Any, events: Sequence[Any], now: float) -> str:
    """A TaskView and what happened to its slot."""
    of, status = view.task, view.status
    rows = [
        ["Name", f"{of.id.service}.{of.id.slot}.{of.id.attempt}"],
        ["Namespace", of.id.namespace],
        ["Node", of.node or "waits for a place"],
        ["Status", words.state(view) + (f": {view.reason}" if view.reason else "")],
        ["Ready", "yes" if view.ready else "no"],
        ["Revision", str(of.revision)],
        ["Restarts", str(status.restarts)],
        ["Address", ", ".join(status.addresses) or NOTHING],
        ["Created", f"{words.age(of.created_at, now)} ago" + (f": {of.cause}" if of.cause else "")],
    ]
    if view.unreachable:
        rows.append(["Unreachable", f"{of.node} is not heard from; this is its last word"])
    if status.retry_at > now:
        rows.append(["Tried again", f"in {words.span(status.retry_at - now)}"])
    if status.message or view.message:
        rows.append(["Message", status.message or view.message])
    parts = [table.lay_out(_labelled(rows))]
    known = {each.name: each for each in [*view.template.init_containers, *view.template.containers]}
    parts += [_container_of_task(each, known.get(each.name), now) for each in status.containers]
    if status.log_tail:
        lines = "".join(f"  | {text}\n" for text in list(status.log_tail)[-_MOST_LOG_LINES:])
        parts.append("Its last lines:\n" + lines)
    return "\n".join([*parts, _events(events, now)])


def _container_of_task(status: Any, spec: Any, now: float) -> str:
    told = _container(spec) if spec is not None else ""
    return f"Container {status.name}:\n{_container_status(status, now)}{told}"


def node(view: Any, tasks: Sequence[Any], events: Sequence[Any], now: float) -> str:
    """A NodeView, what runs there, and what happened."""
    facts, status = view.status.facts, view.status
    taints = [
        f"{each.key}{'=' + each.value if each.value else ''}:{each.effect}" for each in view.spec.taints
    ]
    condition = f"{status.condition} for {words.age(status.since, now)}" + (
        f": {status.reason}" if status.reason else ""
    )
    rows = [
        ["Name", view.spec.name],
        ["Status", condition],
        ["Availability", view.spec.availability],
        ["Labels", words.labels(view.spec.labels)],
        ["Taints", ", ".join(taints) or NOTHING],
        ["Address", facts.address or NOTHING],
        ["Subnets", ", ".join(status.subnets) or NOTHING],
        ["Machine", f"{facts.os} {facts.kernel}, {facts.architecture}"],
        ["Agent", f"{facts.version or 'unknown'}, run {status.incarnation}"],
        ["Cpu", f"{view.allocated.cpu / 1000:g} of {facts.cpu / 1000:g} cores set aside"],
        ["Memory", f"{words.size(view.allocated.memory)} of {words.size(facts.memory)} set aside"],
        ["Joined", f"{words.age(view.spec.joined_at, now)} ago"],
    ]
    rows += [["Problem", problem] for problem in status.problems]
    parts = [table.lay_out(_labelled(rows))]
    if tasks:
        style = table.Style(now, shows_namespace=True)
        parts.append("Tasks:\n" + _indented(table.table("task", tasks, style)))
    return "\n".join([*parts, _events(events, now)])


def plain(object_: Any) -> str:
    """Of kinds that have little to tell."""
    from cli.render import documents

    return documents.as_yaml([documents.document(object_)])


def _labelled(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[f"{key}:", value] for key, value in rows]


def _network(spec: Any, reached: Any) -> list[list[str]]:
    rows = [["Address", endpoints.addresses(reached)]] if reached is not None else []
    rows += [["Ports", ", ".join(map(endpoints.port, spec.template.ports))]] if spec.template.ports else []
    if spec.network.session_affinity:
        rows.append(["Affinity", f"a client stays for {words.span(spec.network.session_affinity)}"])
    return rows


def _exposed(spec: Any, tasks: Sequence[Any]) -> list[list[str]]:
    """What the images speak of and the manifest says nothing of."""
    said = {port for view in tasks for each in view.status.containers for port in each.exposes}
    declared = {f"{each.target}/{each.protocol}" for each in spec.template.ports}
    if not (left := sorted(said - declared)):
        return []
    about = "says the image: reached inside the cluster; `ports` in the manifest publishes it"
    return [["Exposed", f"{', '.join(left)}, {about}"]]


def _placement(placement: Any) -> list[list[str]]:
    rows = []
    if placement.node_selector:
        rows.append(["Nodes with", words.labels(placement.node_selector)])
    rows += [["Only where", text] for text in placement.constraints]
    if placement.spread:
        rows.append(["Spread over", ", ".join(placement.spread)])
    if placement.max_per_node:
        rows.append(["At most", f"{placement.max_per_node} on one node"])
    return rows


def _container(spec: Any) -> str:
    rows = [["name", spec.name], ["image", spec.image]]
    for key, value in (
        ("entrypoint", " ".join(spec.entrypoint)),
        ("command", " ".join(spec.command)),
        ("user", spec.user),
    ):
        if value:
            rows.append([key, value])
    if spec.environment:
        rows.append(
            ["environment", ", ".join(f"{key}={value}" for key, value in sorted(spec.environment.items()))]
        )
    for field in ("configs", "secrets"):
        rows += [
            [field[:-1], f"{each.source} at {each.target or each.key or '(its only entry)'}"]
            for each in getattr(spec, field)
        ]
    rows += [["volume", _volume(each)] for each in spec.volumes]
    rows += [
        [kind, _probe(getattr(spec, kind))]
        for kind in ("startup", "readiness", "liveness")
        if spec.HasField(kind)
    ]
    amounts = _amounts(spec.resources)
    rows += [["resources", amounts]] if amounts else []
    rows.append(["runs with", confinement.line(spec)])
    return _indented(table.lay_out(_labelled(rows)))


def _volume(mount: Any) -> str:
    source = "tmpfs" if mount.type == "tmpfs" else mount.source
    return f"{source} at {mount.target}" + (" (read only)" if mount.read_only else "")


def _probe(probe: Any) -> str:
    if probe.HasField("http"):
        what = f"GET :{probe.http.port}{probe.http.path}"
    elif probe.HasField("tcp"):
        what = f"connect to :{probe.tcp.port}"
    else:
        what = f"run {' '.join(probe.exec)}"
    return (
        f"{what} every {probe.period:g}s, within {probe.timeout:g}s, "
        f"well after {probe.success_threshold}, ill after {probe.failure_threshold}"
    )


def _amounts(resources: Any) -> str:
    parts = []
    for title, each in (("set aside", resources.requests), ("at most", resources.limits)):
        found = [f"{each.cpu / 1000:g} cpu"] if each.cpu else []
        found += [words.size(each.memory)] if each.memory else []
        found += [f"{each.pids} processes"] if each.pids else []
        if found:
            parts.append(f"{title} {', '.join(found)}")
    return "; ".join(parts)


def _container_status(status: Any, now: float) -> str:
    is_running = status.state == "running"
    rows = [["state", status.state + (f": {status.reason}" if status.reason and not is_running else "")]]
    if is_running:
        rows.append(["since", f"{words.age(status.started_at, now)} ago, pid {status.pid}"])
    if status.restarts:
        rows.append(["restarts", str(status.restarts)])
    if status.reason and is_running:
        rows.append(["before that", f"{status.reason}, {_end(status) or 'it did not start'}"])
    elif _end(status):
        rows.append(["ended", _end(status)])
    if status.message:
        rows.append(["message", status.message])
    if status.image_digest:
        rows.append(["digest", status.image_digest])
    if status.exposes:
        rows.append(["exposes", f"{', '.join(status.exposes)} (says the image)"])
    return _indented(table.lay_out(_labelled(rows)))


def _end(status: Any) -> str:
    if status.exit_signal:
        return f"signal {status.exit_signal}" + (" (out of memory)" if status.oom_killed else "")
    return f"exit code {status.exit_code}" if status.HasField("exit_code") else ""


def _events(events: Sequence[Any], now: float) -> str:
    if not events:
        return "Events: none\n"
    latest = table.in_order("event", events)[-_MOST_EVENTS:]
    return "Events:\n" + _indented(table.table("event", latest, table.Style(now)))


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())
