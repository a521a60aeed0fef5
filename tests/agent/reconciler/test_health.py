"""A HEALTHCHECK of the image, where the service asks nothing itself."""

from dataclasses import replace

import pytest

from agent.probes.schedule import Probes
from agent.reconciler import decide, health, learning, observed, step
from agent.reconciler.observed import Observed
from agent.reconciler.report import is_ready
from orch.model.probe import Health, HttpCheck, ProbeSpec
from orch.oci.image_config import HealthCheck
from tests.agent.reconciler.pictures import NOW, a_prepared, a_spec, an_asked, running

SECOND = 1_000_000_000
CHECK = HealthCheck(("CMD-SHELL", "curl -f localhost"), 10 * SECOND, 3 * SECOND, 20 * SECOND, 0, 5)


def with_check(seen: Observed, check: HealthCheck = CHECK) -> Observed:
    images = {
        name: replace(image, config=replace(image.config, health_check=check))
        for name, image in seen.images.items()
    }
    return replace(seen, images=images)


def test_it_is_asked_often_until_it_passes_and_then_at_its_interval() -> None:
    found = health.of_image(CHECK, ())

    assert found.startup and found.liveness and found.readiness is None
    assert found.startup.exec == ("/bin/sh", "-c", "curl -f localhost")
    assert (found.startup.period, found.startup.timeout, found.startup.failure_threshold) == (5, 3, 14)
    assert (found.liveness.period, found.liveness.failure_threshold) == (10, 5)


@pytest.mark.parametrize("test", [("NONE",), (), ("CMD",), ("CMD-SHELL",)])
def test_none_means_none(test: tuple[str, ...]) -> None:
    assert health.of_image(HealthCheck(test), ()) == Probes()


def test_what_the_image_says_nothing_of_is_as_in_docker() -> None:
    found = health.of_image(HealthCheck(("CMD", "/ok")), ())

    assert found.liveness == ProbeSpec(exec=("/ok",), initial_delay=30, period=30, timeout=30)


def test_a_task_is_ready_when_the_check_of_its_image_has_passed() -> None:
    asked, seen = an_asked(), with_check(a_prepared(running()))
    assert not is_ready(asked, seen)
    assert decide.decide(asked, seen, NOW, None) == step.StartProbes("main")

    container = next(iter(seen.containers.values()))
    passed = observed.Probed(Health.HEALTHY, "")
    seen = learning.after(seen, observed.ProbeSaid(container.name, container.run, "startup", passed))

    assert is_ready(asked, seen)


def test_a_probe_of_the_service_puts_the_image_s_aside() -> None:
    probe = ProbeSpec(http=HttpCheck(port=80))
    spec = a_spec(liveness=probe)

    assert health.probes(spec, with_check(a_prepared(running()))) == Probes(None, None, probe)
