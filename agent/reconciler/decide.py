"""The next step of one task (pure).

Reads from top to bottom as the node works: is it over, must it stop, has it what it needs, do its containers
run. The same for a first start, a crash and an agent that came back: there is no second path.
"""

from agent.network.attachment import Published
from agent.probes.schedule import Probes
from agent.reconciler import backoff, health, step
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container, Observed, Trouble
from orch.model.container import ContainerSpec
from orch.model.policy import RestartPolicy
from orch.model.probe import Health
from orch.model.task import TaskState, Wanted

Next = step.Step | step.Idle


def decide(asked: Asked, seen: Observed, now: float, alone_since: float | None) -> Next:
    """What to do now. `alone_since`: since when the node has no contact; None while it has."""
    if seen.final is not None:
        return step.Waiting("it has ended")
    if asked.wanted is Wanted.STOP:
        return _stop(asked, seen, now, asked.leaves_at)
    deadline = alone_until(asked, alone_since)
    if deadline is not None and now >= deadline:
        return _stop(asked, seen, now, now, reason="NodeAlone", message=_ALONE)
    if ending := verdict(asked, seen):
        return _end(asked, seen, now, ending)
    return _sooner(_run(asked, seen, now), deadline)


_ALONE = (
    "the node had no contact to the control plane for longer than onNodeLoss.stopAfter and ended the task; "
    "it is started elsewhere"
)


def alone_until(asked: Asked, alone_since: float | None) -> float | None:
    """When the task must end because the node is alone; None while that is not in sight."""
    if alone_since is None or asked.stop_after is None:
        return None
    return alone_since + asked.stop_after


def verdict(asked: Asked, seen: Observed) -> step.Conclude | None:
    """How the task is to end by itself, if it is."""
    policy = asked.template.restart
    if seen.trouble is not None:
        if seen.trouble.permanent:
            return step.Conclude(TaskState.REJECTED, seen.trouble.reason, seen.trouble.message)
        if backoff.is_spent(policy, seen.trouble):
            return _failed(seen.trouble.reason, seen.trouble.message)
    for spec in asked.all_containers():
        if ending := _verdict_on(policy, seen.container(spec.name)):
            return ending
    if all(_is_done(policy, seen.container(spec.name)) for spec in asked.template.containers):
        return step.Conclude(TaskState.COMPLETE, "Completed", "all containers ended with exit code 0")
    return None


def _verdict_on(policy: RestartPolicy, container: Container) -> step.Conclude | None:
    trouble = container.trouble
    if container.running is not None or trouble is None:
        return None
    if trouble.permanent:
        return step.Conclude(TaskState.REJECTED, trouble.reason, trouble.message)
    if trouble.crash and policy.policy == "never":
        return _failed(trouble.reason, trouble.message)
    if backoff.is_spent(policy, trouble):
        return _failed(trouble.reason, f"{trouble.message}; it was tried {trouble.count} times")
    return None


def _failed(reason: str, message: str) -> step.Conclude:
    return step.Conclude(TaskState.FAILED, reason, message)


def _is_done(policy: RestartPolicy, container: Container) -> bool:
    """It ended with 0 and is not to be started again."""
    return container.running is None and container.ended_well and policy.policy != "always"


# --- to run ------------------------------------------------------------------------------------------


def _run(asked: Asked, seen: Observed, now: float) -> Next:
    if pause := _pause(asked.template.restart, seen.trouble, now):
        return pause
    starting = _to_start(asked, seen)
    if starting and (missing := _prepare(asked, seen, starting)):
        return missing
    return _containers(asked, seen, now)


def _pause(policy: RestartPolicy, trouble: Trouble | None, now: float) -> step.WakeAt | None:
    if trouble is None:
        return None
    again = backoff.retry_at(policy, trouble)
    return step.WakeAt(again, trouble.message) if now < again else None


def _to_start(asked: Asked, seen: Observed) -> list[ContainerSpec]:
    """Those that do not run and should, now or later."""
    policy = asked.template.restart
    return [
        spec for spec in asked.all_containers() if _must_start(asked, seen, policy, seen.container(spec.name))
    ]


def _must_start(asked: Asked, seen: Observed, policy: RestartPolicy, container: Container) -> bool:
    if container.running is not None:
        return False
    if is_init(asked, container.name):
        return not init_is_done(asked, seen, container.name)
    return not _is_done(policy, container)


def is_init(asked: Asked, name: str) -> bool:
    """Whether it is one of the task's init containers."""
    return any(each.name == name for each in asked.template.init_containers)


def init_is_done(asked: Asked, seen: Observed, name: str) -> bool:
    """It ended with 0; or what comes after it has run, which says the same after a restart of the agent."""
    return seen.container(name).ended_well or any(
        seen.container(each.name).run for each in asked.template.containers
    )


def _prepare(asked: Asked, seen: Observed, starting: list[ContainerSpec]) -> Next | None:
    """Image, network, ports and files, in this order; None when all is there."""
    for spec in starting:
        if spec.image not in seen.images:
            return step.PullImage(spec.image, spec.pull_policy.value)
    if asked.missing:
        return step.Waiting(f"{' and '.join(asked.missing)} must come from the control plane first")
    if seen.attached is None:
        return step.WireNetwork()
    if not seen.published and (ports := published(asked)):
        return step.PublishPorts(ports)
    if not seen.files_ready:
        return step.PrepareFiles()
    return None


def published(asked: Asked) -> tuple[Published, ...]:
    """The ports of the node that lead to the task."""
    return tuple(
        Published(each.host_ip, each.published, each.target, each.protocol)
        for each in asked.template.ports
        if each.is_on_host
    )


def _containers(asked: Asked, seen: Observed, now: float) -> Next:
    for spec in asked.template.init_containers:
        if not init_is_done(asked, seen, spec.name):
            return _start(asked, seen.container(spec.name), now)
    idle: Next = step.Waiting("all containers run")
    for spec in asked.template.containers:
        found = _container(asked, seen, spec, now)
        if isinstance(found, step.WakeAt):
            idle = found if not isinstance(idle, step.WakeAt) or found.at < idle.at else idle
        elif not isinstance(found, step.Waiting):
            return found
    return _tidy(seen) or idle


def _container(asked: Asked, seen: Observed, spec: ContainerSpec, now: float) -> Next:
    container = seen.container(spec.name)
    if container.running is None:
        if _is_done(asked.template.restart, container):
            return step.Waiting(f"container {spec.name} has done its work")
        return _start(asked, container, now)
    if container.signalled_at:
        return _press(asked, container, now)
    if health.probes(spec, seen) != _NOBODY_ASKS and not container.probing:
        return step.StartProbes(spec.name)
    return _judge(asked, seen, container)


def _start(asked: Asked, container: Container, now: float) -> Next:
    """Launch it, unless it runs or has to wait; the last words of its last run are read while it waits."""
    if container.running is not None:
        return step.Waiting(f"init container {container.name} runs")
    if pause := _pause(asked.template.restart, container.trouble, now):
        return _read_tail(container) or pause
    return step.Launch(container.name, container.run + 1)


_NOBODY_ASKS = Probes()


def _judge(asked: Asked, seen: Observed, container: Container) -> Next:
    for name, probed in (("startup", container.startup), ("liveness", container.liveness)):
        if probed.health is Health.UNHEALTHY:
            message = f"container {container.name} was restarted: its {name} probe failed: {probed.answer}"
            return step.Condemn(container.name, stop_signal(asked, seen, container), "Unhealthy", message)
    return step.Waiting(f"container {container.name} runs")


def _press(asked: Asked, container: Container, now: float) -> Next:
    """It was told to end: wait for its grace to be over, then kill it."""
    deadline = container.signalled_at + asked.template.stop.grace_period
    if container.killed:
        return step.Waiting(f"container {container.name} was killed and ends")
    if now < deadline:
        return step.WakeAt(deadline, f"container {container.name} was told to end; its grace is over then")
    return step.Kill(container.name)


def _tidy(seen: Observed) -> Next | None:
    """What earlier runs left; their last words are read before they go."""
    for container in seen.containers.values():
        if container.trouble is not None and container.tail is None and (reading := _read_tail(container)):
            return reading
    return step.Discard(seen.old_runs) if seen.old_runs else None


def _read_tail(container: Container) -> step.ReadTail | None:
    if container.exited is None or container.tail is not None:
        return None
    return step.ReadTail(container.name)


# --- to end ------------------------------------------------------------------------------------------


def _stop(
    asked: Asked,
    seen: Observed,
    now: float,
    drained_at: float,
    reason: str = "Stopped",
    message: str = "it was asked to stop",
) -> Next:
    """First it leaves every table, then it is asked to end, then killed, then all of it is removed."""
    if seen.running() and now < drained_at:
        return step.WakeAt(drained_at, "its connections drain")
    return _end(asked, seen, now, step.Conclude(TaskState.COMPLETE, reason, message))


def _end(asked: Asked, seen: Observed, now: float, ending: step.Conclude) -> Next:
    running = seen.running()
    if running and seen.published:
        return step.UnpublishPorts()
    for container in running:
        if not container.signalled_at:
            return step.Signal(container.name, stop_signal(asked, seen, container))
    if running:
        return _soonest([_press(asked, each, now) for each in running])
    if ending.state is TaskState.FAILED and (reading := _last_words(seen)):
        return reading
    if not seen.clean:
        return _pause(asked.template.restart, seen.clean_up_trouble, now) or step.CleanUp()
    return ending


def _last_words(seen: Observed) -> step.ReadTail | None:
    return next((found for each in seen.containers.values() if (found := _read_tail(each))), None)


def stop_signal(asked: Asked, seen: Observed, container: Container) -> str:
    """The service's word, the image's, or SIGTERM."""
    if asked.template.stop.signal:
        return asked.template.stop.signal
    spec = next((each for each in asked.all_containers() if each.name == container.name), None)
    image = seen.images.get(spec.image) if spec else None
    return (image.config.stop_signal if image else "") or "SIGTERM"


def _soonest(steps: list[Next]) -> Next:
    """Whatever can be done now; else the first to wake."""
    for each in steps:
        if not isinstance(each, step.WakeAt | step.Waiting):
            return each
    waking = [each for each in steps if isinstance(each, step.WakeAt)]
    return min(waking, key=lambda each: each.at) if waking else steps[0]


def _sooner(found: Next, deadline: float | None) -> Next:
    """Wakes no later than the deadline."""
    if deadline is None or not isinstance(found, step.WakeAt | step.Waiting):
        return found
    if isinstance(found, step.WakeAt) and found.at <= deadline:
        return found
    return step.WakeAt(
        deadline, "without contact to the control plane the task ends then (onNodeLoss.stopAfter)"
    )
