"""What the node says of one task: its state, why, and what to do (pure)."""

import re
from dataclasses import replace

from agent.reconciler import backoff, decide, health, pulling
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container, Final, Observed, Trouble
from orch.model.container import ContainerSpec
from orch.model.policy import RestartPolicy
from orch.model.probe import Health
from orch.model.task import ContainerState, ContainerStatus, TaskState, TaskStatus, Wanted

MOST_TAIL_LINES = 20
_MOST_EXPOSED = 20
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?")


def report(asked: Asked, seen: Observed, now: float, node: str, alone_since: float | None) -> TaskStatus:
    """The status, without incarnation and sequence, which the loop counts."""
    status = TaskStatus(
        id=asked.id,
        node=node,
        state=TaskState.PREPARING,
        restarts=restarts(asked, seen, now),
        addresses=seen.attached.addresses if seen.attached else (),
        containers=tuple(_container(seen, spec) for spec in asked.all_containers()),
        started_at=max((each.running.started_at for each in seen.running() if each.running), default=0.0),
        log_tail=_log_tail(seen),
    )
    if seen.final is not None:
        return _final(status, seen.final)
    if _is_stopping(asked, now, alone_since):
        trouble = seen.clean_up_trouble
        message = trouble.message if trouble else "it was asked to stop"
        return replace(
            status, state=TaskState.STOPPING, reason=trouble.reason if trouble else "", message=message
        )
    return _living(status, asked, seen, now)


def is_ready(asked: Asked, seen: Observed) -> bool:
    """All its containers run, and whoever asks them hears that they are well."""
    if asked.wanted is Wanted.STOP or seen.final is not None:
        return False
    containers = [(spec, seen.container(spec.name)) for spec in asked.template.containers]
    return all(_is_well(spec, container, seen) for spec, container in containers)


def restarts(asked: Asked, seen: Observed, now: float) -> int:
    """How often something was tried again. What still waits to be tried again, or never is, does not count."""
    policy = asked.template.restart
    waiting = sum(_is_pending(policy, each, now) for each in _troubles(seen))
    return max(seen.troubles - waiting, 0)


def _troubles(seen: Observed) -> list[Trouble]:
    """Those that have not been overcome."""
    of_containers = [each.trouble for each in seen.containers.values() if each.running is None]
    return [each for each in (seen.trouble, *of_containers) if each is not None]


def _is_pending(policy: RestartPolicy, trouble: Trouble, now: float) -> bool:
    is_final = trouble.permanent or (trouble.crash and policy.policy == "never")
    if is_final or backoff.is_spent(policy, trouble):
        return True
    return now < backoff.retry_at(policy, trouble)


def _is_well(spec: ContainerSpec, container: Container, seen: Observed) -> bool:
    asking = health.probes(spec, seen)
    return (
        container.running is not None
        and not container.signalled_at
        and (asking.startup is None or container.startup.health is Health.HEALTHY)
        and (asking.readiness is None or container.readiness.health is Health.HEALTHY)
    )


def _is_stopping(asked: Asked, now: float, alone_since: float | None) -> bool:
    deadline = decide.alone_until(asked, alone_since)
    return asked.wanted is Wanted.STOP or (deadline is not None and now >= deadline)


def _final(status: TaskStatus, final: Final) -> TaskStatus:
    return replace(
        status,
        state=final.state,
        reason=final.reason,
        message=final.message,
        finished_at=final.at,
        addresses=(),
    )


def _living(status: TaskStatus, asked: Asked, seen: Observed, now: float) -> TaskStatus:
    ending = decide.verdict(asked, seen)
    if ending is not None and ending.state is not TaskState.REJECTED:
        return replace(status, state=TaskState.STOPPING, reason=ending.reason, message=ending.message)
    policy = asked.template.restart
    if pending := [each for each in _troubles(seen) if _is_pending(policy, each, now)]:
        return _in_backoff(status, policy, max(pending, key=lambda each: each.at))
    mains = [seen.container(spec.name) for spec in asked.template.containers]
    if all(each.running is not None or each.ended_well for each in mains) and seen.running():
        return _running(status, asked, seen)
    has_all = seen.files_ready and seen.attached is not None
    state = TaskState.STARTING if has_all or seen.running() else TaskState.PREPARING
    reason = "WaitsForFiles" if asked.missing and not seen.running() else ""
    message = f"waits for {' and '.join(asked.missing)}" if reason else ""
    if seen.pulling is not None and not reason:
        message = pulling.sentence(seen.pulling)
    return replace(status, state=state, reason=reason, message=message)


def _in_backoff(status: TaskStatus, policy: RestartPolicy, trouble: Trouble) -> TaskStatus:
    looping = trouble.crash and trouble.count > 1 and trouble.reason in {"ExitCode", "Killed", "Ended"}
    again = f", {trouble.count} times in a row" if looping else ""
    return replace(
        status,
        state=TaskState.BACKOFF,
        reason="CrashLoop" if looping else trouble.reason,
        message=trouble.message + again,
        retry_at=backoff.retry_at(policy, trouble),
    )


def _running(status: TaskStatus, asked: Asked, seen: Observed) -> TaskStatus:
    ready = is_ready(asked, seen)
    reason, message = ("", "") if ready else _why_unready(asked, seen)
    return replace(
        status,
        state=TaskState.RUNNING,
        ready=ready,
        ready_since=seen.ready_since if ready else 0.0,
        reason=reason,
        message=message,
    )


def _why_unready(asked: Asked, seen: Observed) -> tuple[str, str]:
    for spec in asked.template.containers:
        container = seen.container(spec.name)
        if container.condemned:
            return container.condemned, container.condemned_message
        asking = health.probes(spec, seen)
        for name, probe, probed in (
            ("startup", asking.startup, container.startup),
            ("readiness", asking.readiness, container.readiness),
        ):
            if probe is not None and probed.health is not Health.HEALTHY:
                said = f": {probed.answer}" if probed.answer else ""
                return "NotReady", f"container {spec.name}: its {name} probe has not passed yet{said}"
    return "", ""


def _exposes(seen: Observed, spec: ContainerSpec) -> tuple[str, ...]:
    """What is a port of the words in its image, which are a stranger's."""
    image = seen.images.get(spec.image)
    said = image.config.exposed_ports if image else ()
    ports = [port if "/" in port else f"{port}/tcp" for port in said if _PORT.fullmatch(port)]
    return tuple(ports[:_MOST_EXPOSED])


def _container(seen: Observed, spec: ContainerSpec) -> ContainerStatus:
    container = seen.container(spec.name)
    trouble, ended = container.trouble, container.exited
    status = ContainerStatus(
        name=spec.name,
        restarts=max(container.run - 1, 0),
        reason=trouble.reason if trouble else "",
        message=trouble.message if trouble else "",
        image_digest=container.digest,
        exposes=_exposes(seen, spec),
        finished_at=ended.at if ended else 0.0,
        exit_code=ended.exit_code if ended else None,
        exit_signal=(ended.signal or 0) if ended else 0,
        oom_killed=ended.oom_killed if ended else False,
    )
    if container.running is not None:
        return replace(
            status,
            state=ContainerState.RUNNING,
            pid=container.running.pid,
            started_at=container.running.started_at,
            ready=_is_well(spec, container, seen),
        )
    return replace(status, state=ContainerState.EXITED) if ended else status


def _log_tail(seen: Observed) -> tuple[str, ...]:
    """Of the container that failed last."""
    failed = [each for each in seen.containers.values() if each.trouble is not None and each.tail]
    if not failed:
        return ()
    last = max(failed, key=lambda each: each.trouble.at if each.trouble else 0.0)
    return (last.tail or ())[-MOST_TAIL_LINES:]
