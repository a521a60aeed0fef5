"""What the node says of a task."""

from dataclasses import replace

import pytest

from agent.reconciler import learning, observed
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Final, Observed, Probed, Trouble
from agent.reconciler.report import is_ready, report
from agent.runtime.container import Exited, Running
from orch.model.container import ContainerSpec
from orch.model.policy import RestartPolicy
from orch.model.probe import Health, ProbeSpec
from orch.model.task import ContainerState, TaskState, TaskStatus
from tests.agent.reconciler.pictures import (
    IMAGE,
    NOW,
    PLACE,
    a_prepared,
    a_spec,
    an_asked,
    exited,
    running,
    stopped,
)


def said(asked: Asked, seen: Observed, now: float = NOW) -> TaskStatus:
    return report(asked, seen, now, "n1", None)


def test_the_states_of_a_start() -> None:
    assert said(an_asked(), Observed()).state is TaskState.PREPARING
    assert said(an_asked(), a_prepared()).state is TaskState.STARTING
    status = said(an_asked(), a_prepared(running(), ready_since=NOW))
    assert (status.state, status.ready, status.ready_since) == (TaskState.RUNNING, True, NOW)
    assert status.addresses == PLACE.addresses
    assert status.containers[0].pid == 101


def test_what_an_image_exposes_is_told_as_far_as_it_is_a_port() -> None:
    ports = ("8080/tcp", "53/udp", "90", "rm -rf/tcp", "\x1b[31m", *(f"{n}/tcp" for n in range(1000, 2000)))
    image = replace(IMAGE, config=replace(IMAGE.config, exposed_ports=ports))
    seen = replace(a_prepared(running()), images={"web:1": image})

    (status,) = said(an_asked(), seen).containers

    assert status.exposes[:4] == ("8080/tcp", "53/udp", "90/tcp", "1000/tcp")
    assert len(status.exposes) == 20


def test_one_container_of_two_is_still_starting() -> None:
    asked = an_asked(a_spec("a"), a_spec("b"))

    assert said(asked, a_prepared(running("a"))).state is TaskState.STARTING


def test_what_it_waits_for_is_a_reason() -> None:
    status = said(an_asked(missing=("secret db, version 3",)), Observed())

    assert status.reason == "WaitsForFiles"
    assert "secret db, version 3" in status.message


def test_a_wait_is_backoff_with_the_time_of_the_next_try() -> None:
    trouble = Trouble("ImageNotFound", "there is no web:9", NOW)
    status = said(an_asked(), Observed(trouble=trouble, troubles=1))

    assert (status.state, status.reason, status.retry_at) == (TaskState.BACKOFF, "ImageNotFound", NOW + 1)
    assert status.restarts == 0


def test_a_try_after_a_wait_counts_as_a_restart() -> None:
    trouble = Trouble("ImageNotFound", "there is no web:9", NOW)
    status = said(an_asked(), Observed(trouble=trouble, troubles=1), now=NOW + 1)

    assert (status.state, status.restarts) == (TaskState.PREPARING, 1)


def test_what_is_never_restarted_has_no_restarts() -> None:
    asked = an_asked(restart=RestartPolicy(policy="never"))

    assert said(asked, a_prepared(exited(), troubles=1), now=NOW + 1).restarts == 0


@pytest.mark.parametrize("later", [0.0, 0.1, 60.0])
def test_of_two_attempts_there_were_two_restarts_however_late_it_is_told(later: float) -> None:
    asked = an_asked(restart=RestartPolicy(policy="on-failure", backoff=0.05, attempts=2))

    assert said(asked, a_prepared(exited(count=3), troubles=3), now=NOW + later).restarts == 2


def test_a_crash_loop_is_called_so_from_the_second_crash_on() -> None:
    status = said(an_asked(), a_prepared(exited(count=3, tail=("oh no",)), troubles=3))

    assert (status.state, status.reason) == (TaskState.BACKOFF, "CrashLoop")
    assert "exit code 1, 3 times in a row" in status.message
    assert status.log_tail == ("oh no",)
    assert status.containers[0].state is ContainerState.EXITED
    assert status.containers[0].exit_code == 1


def test_reports_of_crashes_and_tries_are_always_greater_than_the_ones_before() -> None:
    asked, seen = an_asked(restart=RestartPolicy(backoff=1.0)), a_prepared()
    order, now = [], NOW
    for run in range(1, 5):
        number = f"x.main.1.{run}"
        launched = observed.Launched("main", run, Running(number, run, 1, now), "sha256:1")
        seen = learning.after(seen, launched)
        order.append(said(asked, seen, now).order)
        end = observed.Ended("main", Exited(number, run, 1, None, False, now), now, reset_after=600.0)
        seen = learning.after(seen, end)
        order.append(said(asked, seen, now).order)
        now += 100
    assert order == sorted(order)


def test_out_of_memory_is_called_so() -> None:
    end = Exited("x.main.1.1", 1, None, 9, True, NOW)
    seen = learning.after(
        a_prepared(replace(running(), id="x.main.1.1")), observed.Ended("main", end, NOW, reset_after=600.0)
    )

    assert said(an_asked(), seen).containers[0].reason == "OOMKilled"
    assert "resources.limits.memory" in said(an_asked(), seen).containers[0].message


def test_a_long_run_forgets_the_crashes_before_it() -> None:
    run = replace(running(), trouble=Trouble("ExitCode", "", NOW - 999, 5, crash=True))
    end = observed.Ended("main", Exited(run.id, 1, 1, None, False, NOW), NOW, reset_after=30.0)

    seen = learning.after(a_prepared(run), end)

    assert seen.container("main").trouble == Trouble(
        "ExitCode", "container main ended with exit code 1; `orchctl logs` shows its last words", NOW, 1, True
    )


def probed(**probes: Probed) -> tuple[Asked, Observed]:
    spec = ProbeSpec(exec=("true",))
    asked = an_asked(ContainerSpec(image="web:1", **dict.fromkeys(probes, spec)))
    return asked, a_prepared(running(probing=True, **probes))


def test_unready_says_what_the_probe_answered() -> None:
    asked, seen = probed(readiness=Probed(Health.UNKNOWN, "GET http://10.208.4.2:80/ answered 503"))

    status = said(asked, seen)

    assert (status.state, status.ready, status.reason) == (TaskState.RUNNING, False, "NotReady")
    assert "answered 503" in status.message


def test_readiness_waits_for_startup_too() -> None:
    assert not is_ready(*probed(startup=Probed(), readiness=Probed(Health.HEALTHY)))
    assert is_ready(*probed(startup=Probed(Health.HEALTHY), readiness=Probed(Health.HEALTHY)))


def test_a_stopping_task_is_not_ready() -> None:
    status = said(stopped(an_asked()), a_prepared(running()))

    assert (status.state, status.ready) == (TaskState.STOPPING, False)


def test_an_end_by_itself_is_told_with_its_reason() -> None:
    final = Final(TaskState.FAILED, "ExitCode", "container main ended with exit code 1", NOW)
    seen = Observed(final=final, containers={"main": exited(tail=("last words",))})

    status = said(an_asked(), seen)

    assert (status.state, status.reason, status.finished_at) == (TaskState.FAILED, "ExitCode", NOW)
    assert status.log_tail == ("last words",)
    assert status.containers[0].exit_code == 1


def test_a_pull_says_how_far_it_is() -> None:
    seen = learning.after(Observed(), observed.Pulling("web:1", 41_000_000, 65_000_000))

    status = said(an_asked(), seen)

    assert (status.state, status.message) == (TaskState.PREPARING, "pulling 63 % (41/65 MB)")


def test_a_pull_that_failed_is_no_longer_under_way() -> None:
    seen = learning.after(Observed(), observed.Pulling("web:1", 1, 2))

    seen = learning.after(seen, observed.Troubled("RegistryUnreachable", "broke off", NOW))

    assert said(an_asked(), seen, NOW + 100).message == ""
