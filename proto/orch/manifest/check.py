"""Rules that span fields: what no single value can know. Asked by the reader and by the control plane."""

import ipaddress
import re
import signal

from orch.manifest import check_container, check_routes, check_security
from orch.manifest.check_container import Found
from orch.manifest.labels import entry_fault, label_faults
from orch.manifest.problem import Path, Problem
from orch.model import constraint
from orch.model.names import ObjectName
from orch.model.policy import CanaryStep, NodeLoss, PortSpec, RolloutPolicy
from orch.model.quantity import amount_of
from orch.model.service import Mode, ServiceSpec, TaskTemplate

_RESOLV_WORD = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_HOSTNAME = re.compile(r"(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")

__all__ = ["check", "entry_fault", "in_words", "is_flat_template", "label_faults"]


def check(name: ObjectName, spec: ServiceSpec, replicas: int | None = None) -> list[Problem]:
    """Everything that is wrong with a service. `replicas` is the live number, where a spec has none."""
    count = spec.replicas if spec.replicas is not None else replicas
    found = [*_mode(spec), *_template(spec.template), *_rollout(spec.rollout, spec.mode, count)]
    found += check_routes.of_routes(spec)
    return [
        Problem(f"service {name}: {in_words(path, spec.template)}", what, hint, path)
        for path, what, hint in found
    ]


def in_words(path: Path, template: TaskTemplate) -> str:
    """The path as the user would write it: `spec.containers[proxy].readiness.http.port`."""
    text = "spec"
    is_flat = is_flat_template(template)
    steps = list(path)
    if steps[:1] == ["template"]:
        steps = steps[1:]
        if is_flat and steps[:2] == ["containers", 0]:
            steps = steps[2:]
    owner = ""
    for step in steps:
        if isinstance(step, int):
            of_containers = {
                "containers": template.containers,
                "initContainers": template.init_containers,
            }.get(owner)
            text += f"[{of_containers[step].name}]" if of_containers else f"[{step}]"
        else:
            text += f".{step}"
        owner = str(step)
    return text


def is_flat_template(template: TaskTemplate) -> bool:
    """One container called main is written in the service itself."""
    return len(template.containers) == 1 and template.containers[0].name == "main"


def _mode(spec: ServiceSpec) -> Found:
    if spec.mode is Mode.GLOBAL and spec.replicas is not None:
        yield (
            ("replicas",),
            "a global service runs once on each eligible node",
            "remove replicas, or mode: global",
        )


def _template(template: TaskTemplate) -> Found:
    at: Path = ("template",)
    yield from _containers(template, at)
    yield from _ports(template.ports, (*at, "ports"))
    yield from _placement(template, (*at, "placement"))
    restart = template.restart
    if restart.max_backoff < restart.backoff:
        yield (*at, "restart", "maxBackoff"), "maxBackoff is shorter than backoff", ""
    if isinstance(restart.attempts, int) and restart.attempts < 0:
        yield (*at, "restart", "attempts"), "attempts must not be negative", 'write a number, or "unlimited"'
    if template.stop.signal and not _is_signal(template.stop.signal):
        yield (
            (*at, "stop", "signal"),
            f'"{template.stop.signal}" is not a signal',
            "for example SIGTERM, SIGINT or SIGQUIT",
        )
    loss = template.on_node_loss
    if loss.action is NodeLoss.STOP_AFTER and loss.stop_after <= 0:
        yield (*at, "onNodeLoss", "stopAfter"), "stopAfter must be longer than 0s", ""
    if loss.action is not NodeLoss.STOP_AFTER and loss.stop_after:
        yield (*at, "onNodeLoss", "stopAfter"), f"stopAfter has no effect with {loss.action}", ""
    if template.hostname and not _HOSTNAME.fullmatch(template.hostname):
        what = f'"{template.hostname}" is not a host name'
        yield (*at, "hostname"), what, "at most 63 letters, digits, hyphens and dots"
    yield from _naming(template, at)
    for key, value in template.annotations.items():
        if "\0" in key + value or not key:
            yield (*at, "annotations", key), "an annotation needs a key, and holds text without NUL", ""


def _naming(template: TaskTemplate, at: Path) -> Found:
    for name, address in template.extra_hosts.items():
        if not _HOSTNAME.fullmatch(name):
            yield (
                (*at, "extraHosts", name),
                f'"{name}" is not a host name',
                "letters, digits, hyphens and dots",
            )
        if address != "host-gateway" and not _is_address(address):
            what = f'"{address}" is not an address'
            yield (*at, "extraHosts", name), what, "for example 10.0.0.5, or host-gateway for the node's own"
    for key, words in (("search", template.dns.search), ("options", template.dns.options)):
        for at_word, word in enumerate(words):
            if not _RESOLV_WORD.fullmatch(word):
                yield (*at, "dns", key, at_word), f'"{word}" cannot stand in a resolv.conf', ""


def _containers(template: TaskTemplate, at: Path) -> Found:
    seen: set[str] = set()
    for field, containers in (
        ("initContainers", template.init_containers),
        ("containers", template.containers),
    ):
        for index, each in enumerate(containers):
            here = (*at, field, index)
            if each.name in seen:
                yield (
                    (*here, "name"),
                    f'the container name "{each.name}" is used twice',
                    "containers and init containers share one set of names",
                )
            seen.add(each.name)
            yield from check_container.of_container(each, here)
            yield from check_security.of_security(each, here)
            for key in ("startup", "readiness", "liveness"):
                probe = getattr(each, key)
                if probe and field == "initContainers":
                    yield (*here, key), "an init container has no probes", "it must end with exit code 0"
                elif probe:
                    yield from check_container.of_probe(probe, template.ports, key, (*here, key))


def _ports(ports: tuple[PortSpec, ...], at: Path) -> Found:
    names: set[str] = set()
    inside: set[tuple[int, str, int, str]] = set()
    outside: dict[tuple[int, str], list[str]] = {}
    virtual: dict[tuple[int, str], int] = {}
    for index, port in enumerate(ports):
        here = (*at, index)
        if port.name and port.name in names:
            yield (*here, "name"), f'the port name "{port.name}" is used twice', ""
        names.add(port.name)
        if port.host_ip and not _is_address(port.host_ip):
            yield (*here, "hostIp"), f'"{port.host_ip}" is not an IP address', ""
        if port.host_ip and not port.published:
            yield (*here, "hostIp"), "hostIp without a published port has no effect", "add published"
        at_address = (port.port or port.target, port.protocol)
        if virtual.setdefault(at_address, port.target) != port.target:
            what = f"port {at_address[0]}/{port.protocol} of the virtual address leads to two ports inside"
            yield (*here, "port"), what, "choose another"
        whole = (port.target, port.protocol, port.published, port.host_ip)
        if whole in inside:
            yield here, f"port {port.target}/{port.protocol} is listed twice", "remove one"
        elif port.published:
            others = outside.setdefault((port.published, port.protocol), [])
            if others and (port.host_ip in others or "" in others or not port.host_ip):
                yield (
                    (*here, "published"),
                    f"port {port.published}/{port.protocol} is published twice",
                    "choose another",
                )
            others.append(port.host_ip)
        inside.add(whole)


def _placement(template: TaskTemplate, at: Path) -> Found:
    for index, text in enumerate(template.placement.constraints):
        if fault := constraint_fault(text):
            yield (*at, "constraints", index), fault, ""
    for index, key in enumerate(template.placement.spread):
        if key in template.placement.spread[:index]:
            yield (*at, "spread", index), f'"{key}" is listed twice', ""
    for key, value in template.placement.node_selector.items():
        for fault in label_faults(key, value):
            yield (*at, "nodeSelector", key), fault, ""


def constraint_fault(text: str) -> str:
    """What is wrong with an expression on nodes; empty when nothing is."""
    try:
        constraint.parse(text)
    except ValueError as error:
        return str(error)
    return ""


def _rollout(rollout: RolloutPolicy, mode: Mode, replicas: int | None) -> Found:
    at: Path = ("rollout",)
    surge, missing = rollout.max_surge, rollout.max_unavailable
    if surge.rstrip("%") == "0" and missing.rstrip("%") == "0":
        yield (
            (*at, "maxUnavailable"),
            "maxSurge and maxUnavailable are both 0: no instance could ever be replaced",
            "allow one of them",
        )
    elif replicas and surge.rstrip("%") == "0" and amount_of(missing, replicas, round_up=False) == 0:
        yield (
            (*at, "maxUnavailable"),
            f"{missing} of {replicas} is less than one instance, and maxSurge is 0: none could be replaced",
            "allow one of them",
        )
    if rollout.progress_deadline <= rollout.min_ready:
        yield (*at, "progressDeadline"), "progressDeadline must be longer than minReady", ""
    if rollout.canary:
        for index, step in enumerate(rollout.canary.steps):
            yield from _canary_step(step, mode, replicas, (*at, "canary", "steps", index))


def _canary_step(step: CanaryStep, mode: Mode, replicas: int | None, at: Path) -> Found:
    if len(set(step.nodes)) < len(step.nodes):
        yield (*at, "nodes"), "a node is named twice", ""
    for key, value in step.match_labels.items():
        for fault in label_faults(key, value):
            yield (*at, "matchLabels", key), fault, ""
    if mode is Mode.GLOBAL or replicas is None:
        if step.percent == 100:
            yield (*at, "percent"), f"100% {_NO_CANARY}", _LEAVE_IT_OUT
        return
    key, count = ("percent", _rounded(step.percent, replicas)) if step.percent else ("count", step.count)
    what = f"{step.percent}%" if step.percent else str(step.count)
    if count >= replicas and (step.percent or step.count):
        yield (*at, key), f"{what} of {replicas} instances {_NO_CANARY}", _LEAVE_IT_OUT
    elif step.percent and count == 0:
        yield (*at, key), f"{what} of {replicas} instances rounds to none", "choose more, or count: 1"


_NO_CANARY = "is no canary but the whole rollout"
_LEAVE_IT_OUT = "leave the step out, or choose fewer: the rest follows by itself"


def _rounded(percent: int, replicas: int) -> int:
    """Half up, as the rollout controller rounds."""
    return (2 * percent * replicas + 100) // 200


def _is_signal(text: str) -> bool:
    return text in _SIGNALS or f"SIG{text}" in _SIGNALS or (text.isdigit() and 1 <= int(text) <= 64)


_SIGNALS = frozenset(each.name for each in signal.Signals)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
