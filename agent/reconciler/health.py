"""Who asks a container whether it is well: the service, or else the image's HEALTHCHECK (pure).

One probe in the manifest puts the image's aside. The image's becomes a startup probe, so that the task is ready
with the first check that passes, and a liveness probe, so that a container which is unhealthy is restarted, as
Docker Swarm does it.
"""

import functools
import math

from agent.probes.schedule import Probes
from agent.reconciler.observed import Observed
from orch.model.container import ContainerSpec
from orch.model.probe import ProbeSpec
from orch.oci.image_config import HealthCheck

INTERVAL_SECONDS = 30.0
TIMEOUT_SECONDS = 30.0
START_INTERVAL_SECONDS = 5.0
RETRIES = 3
"""Docker's defaults."""

_NANOSECONDS = 1_000_000_000
_SHORTEST_SECONDS = 0.01
_MOST_FAILURES = 1000


def probes(spec: ContainerSpec, seen: Observed) -> Probes:
    """None of them: nobody asks."""
    if spec.startup or spec.readiness or spec.liveness:
        return Probes(spec.startup, spec.readiness, spec.liveness)
    image = seen.images.get(spec.image)
    check = image.config.health_check if image else None
    return of_image(check, image.config.shell) if image and check else _NOBODY


_NOBODY = Probes()


@functools.lru_cache(maxsize=256)
def of_image(check: HealthCheck, shell: tuple[str, ...]) -> Probes:
    """What a HEALTHCHECK means."""
    command = _command(check.test, shell)
    if not command:
        return _NOBODY
    interval = _seconds(check.interval_ns, INTERVAL_SECONDS)
    timeout = _seconds(check.timeout_ns, TIMEOUT_SECONDS)
    retries = min(check.retries or RETRIES, _MOST_FAILURES)
    soon = min(_seconds(check.start_interval_ns, START_INTERVAL_SECONDS), interval)
    patience = check.start_period_ns / _NANOSECONDS + retries * interval
    startup = ProbeSpec(
        exec=command,
        period=soon,
        timeout=timeout,
        failure_threshold=min(math.ceil(patience / soon), _MOST_FAILURES),
    )
    liveness = ProbeSpec(
        exec=command, initial_delay=interval, period=interval, timeout=timeout, failure_threshold=retries
    )
    return Probes(startup, None, liveness)


def _command(test: tuple[str, ...], shell: tuple[str, ...]) -> tuple[str, ...]:
    """Empty for NONE, and for what no Dockerfile says."""
    match test:
        case ("CMD", *words):
            return tuple(words)
        case ("CMD-SHELL", text):
            return (*(shell or ("/bin/sh", "-c")), text)
        case _:
            return ()


def _seconds(nanoseconds: int, otherwise: float) -> float:
    return max(nanoseconds / _NANOSECONDS, _SHORTEST_SECONDS) if nanoseconds > 0 else otherwise
