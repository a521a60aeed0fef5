"""The next step, case by case."""

from dataclasses import replace

from agent.network.attachment import Published
from agent.reconciler import step
from agent.reconciler.asked import Asked
from agent.reconciler.decide import Next, decide
from agent.reconciler.observed import Container, Final, Observed, Probed, Trouble
from orch.model.policy import NodeLoss, OnNodeLoss, PortSpec, RestartPolicy, StopPolicy
from orch.model.probe import Health, ProbeSpec
from orch.model.task import TaskState
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

PROBE = ProbeSpec(exec=("true",))


def check(
    asked: Asked, seen: Observed, expected: Next, *, now: float = NOW, contact: float | None = None
) -> None:
    assert decide(asked, seen, now, contact) == expected


def next_kind(asked: Asked, seen: Observed, *, now: float = NOW) -> type:
    return type(decide(asked, seen, now, None))


# --- a first start


def test_a_start_takes_image_network_ports_and_files_in_this_order() -> None:
    asked = an_asked(ports=(PortSpec(target=80, published=8080, mode="host"),))
    seen = Observed()

    check(asked, seen, step.PullImage("web:1", "IfNotPresent"))
    seen = replace(seen, images={"web:1": IMAGE})
    check(asked, seen, step.WireNetwork())
    seen = replace(seen, attached=PLACE)
    check(asked, seen, step.PublishPorts((Published("", 8080, 80, "tcp"),)))
    seen = replace(seen, published=True)
    check(asked, seen, step.PrepareFiles())
    seen = replace(seen, files_ready=True)
    check(asked, seen, step.Launch("main", 1))


def test_a_task_whose_secret_has_not_come_waits_and_says_for_what() -> None:
    asked = an_asked(missing=("secret db, version 3",))

    found = decide(asked, Observed(images={"web:1": IMAGE}), NOW, None)

    assert isinstance(found, step.Waiting)
    assert "secret db, version 3" in found.why


def test_a_running_task_does_not_care_for_a_secret_that_went_missing() -> None:
    assert next_kind(an_asked(missing=("secret db, version 3",)), a_prepared(running())) is step.Waiting


def test_init_containers_run_one_after_the_other_and_before_the_others() -> None:
    asked = an_asked(inits=(a_spec("one"), a_spec("two")))

    check(asked, a_prepared(), step.Launch("one", 1))
    check(asked, a_prepared(running("one")), step.Waiting("init container one runs"))
    check(asked, a_prepared(exited("one", 0)), step.Launch("two", 1))
    check(asked, a_prepared(exited("one", 0), exited("two", 0)), step.Launch("main", 1))


def test_an_init_container_that_fails_is_tried_again_and_the_others_wait() -> None:
    asked = an_asked(inits=(a_spec("one"),))

    check(asked, a_prepared(exited("one", 3)), step.Launch("one", 2))


def test_init_containers_are_not_run_again_for_a_container_that_crashed() -> None:
    asked = an_asked(inits=(a_spec("one"),))

    check(asked, a_prepared(exited("main", 1)), step.Launch("main", 2))


def test_probes_start_when_the_container_runs() -> None:
    asked = an_asked(a_spec(readiness=PROBE))

    check(asked, a_prepared(running()), step.StartProbes("main"))
    assert next_kind(asked, a_prepared(running(probing=True))) is step.Waiting


def test_containers_start_side_by_side() -> None:
    asked = an_asked(a_spec("main"), a_spec("proxy"))

    check(asked, a_prepared(running("main")), step.Launch("proxy", 1))


# --- crashes


def test_the_first_restart_is_immediate_and_needs_nothing_anew() -> None:
    check(an_asked(), a_prepared(exited(code=1, count=1)), step.Launch("main", 2))


def test_further_restarts_wait_longer_and_longer() -> None:
    for count, wait in ((2, 1.0), (3, 2.0), (4, 4.0), (20, 60.0)):
        seen = a_prepared(exited(count=count, tail=()))

        found = decide(an_asked(), seen, NOW, None)

        assert isinstance(found, step.WakeAt)
        assert found.at == NOW + wait
        check(an_asked(), seen, step.Launch("main", 2), now=NOW + wait)


def test_the_last_words_are_read_while_the_container_waits() -> None:
    check(an_asked(), a_prepared(exited(count=2)), step.ReadTail("main"))


def test_after_an_immediate_restart_the_last_words_are_read_and_then_the_old_run_goes() -> None:
    again = replace(running(run=2), exited=exited().exited, trouble=exited().trouble)
    seen = a_prepared(again, old_runs=("old",))

    check(an_asked(), seen, step.ReadTail("main"))
    seen = replace(seen, containers={"main": replace(again, tail=("bye",))})
    check(an_asked(), seen, step.Discard(("old",)))


def test_one_containers_crash_restarts_that_container_only() -> None:
    asked = an_asked(a_spec("main"), a_spec("proxy"))

    check(asked, a_prepared(exited("main"), running("proxy")), step.Launch("main", 2))


def test_a_container_that_never_started_waits_before_the_first_retry() -> None:
    trouble = Trouble("CommandNotFound", "exec nope: not found", NOW)
    seen = a_prepared(Container("main", trouble=trouble))

    check(an_asked(), seen, step.WakeAt(NOW + 1.0, "exec nope: not found"))
    check(an_asked(), seen, step.Launch("main", 1), now=NOW + 1.0)


def test_spent_attempts_fail_the_task_after_all_of_it_is_gone() -> None:
    asked = an_asked(restart=RestartPolicy(attempts=2))
    seen = a_prepared(exited(count=3))

    check(asked, seen, step.ReadTail("main"))
    seen = a_prepared(exited(count=3, tail=()))
    check(asked, seen, step.CleanUp())
    found = decide(asked, replace(seen, clean=True), NOW, None)
    assert isinstance(found, step.Conclude)
    assert (found.state, found.reason) == (TaskState.FAILED, "ExitCode")


def test_never_fails_with_the_first_bad_exit_and_takes_the_others_along() -> None:
    asked = an_asked(a_spec("main"), a_spec("proxy"), restart=RestartPolicy(policy="never"))

    check(asked, a_prepared(exited("main"), running("proxy")), step.Signal("proxy", "SIGQUIT"))


def test_on_failure_ends_well_when_all_containers_have() -> None:
    asked = an_asked(a_spec("a"), a_spec("b"), restart=RestartPolicy(policy="on-failure"))

    assert next_kind(asked, a_prepared(exited("a", 0), running("b"))) is step.Waiting
    found = decide(asked, a_prepared(exited("a", 0), exited("b", 0), clean=True), NOW, None)
    assert isinstance(found, step.Conclude)
    assert found.state is TaskState.COMPLETE


def test_always_restarts_also_what_ended_well() -> None:
    check(an_asked(), a_prepared(exited(code=0)), step.Launch("main", 2))


def test_what_can_never_work_here_is_rejected() -> None:
    trouble = Trouble("BadImage", "the image is not made for linux/amd64", NOW, permanent=True)

    found = decide(an_asked(), Observed(trouble=trouble, clean=True), NOW, None)

    assert isinstance(found, step.Conclude)
    assert (found.state, found.reason) == (TaskState.REJECTED, "BadImage")


def test_a_pull_that_failed_is_tried_again_later() -> None:
    trouble = Trouble("RegistryUnreachable", "nobody answers", NOW, count=2)

    check(an_asked(), Observed(trouble=trouble), step.WakeAt(NOW + 2.0, "nobody answers"))
    check(an_asked(), Observed(trouble=trouble), step.PullImage("web:1", "IfNotPresent"), now=NOW + 2.0)


def test_failing_liveness_ends_the_container_and_says_why() -> None:
    asked = an_asked(a_spec(liveness=PROBE))
    sick = running(probing=True, liveness=Probed(Health.UNHEALTHY, "exit code 1"))

    found = decide(asked, a_prepared(sick), NOW, None)

    assert isinstance(found, step.Condemn)
    assert found.reason == "Unhealthy"
    assert "exit code 1" in found.message
    assert found.signal == "SIGQUIT"


def test_a_condemned_container_is_killed_when_its_grace_is_over() -> None:
    asked = an_asked(a_spec(liveness=PROBE))
    seen = a_prepared(running(probing=True, signalled_at=NOW, condemned="Unhealthy"))

    assert next_kind(asked, seen) is step.WakeAt
    check(asked, seen, step.Kill("main"), now=NOW + 10.0)


# --- to stop


def test_a_stop_drains_closes_ports_signals_kills_cleans_and_concludes() -> None:
    ports = (PortSpec(target=80, published=8080, mode="host"),)
    asked = stopped(an_asked(ports=ports, stop=StopPolicy(drain_delay=2.0, grace_period=10.0)))
    seen = a_prepared(running(), published=True)

    check(asked, seen, step.WakeAt(NOW + 2.0, "its connections drain"))
    check(asked, seen, step.UnpublishPorts(), now=NOW + 2.0)
    seen = replace(seen, published=False)
    check(asked, seen, step.Signal("main", "SIGQUIT"), now=NOW + 2.0)
    seen = a_prepared(running(signalled_at=NOW + 2.0))
    assert next_kind(asked, seen, now=NOW + 11.9) is step.WakeAt
    check(asked, seen, step.Kill("main"), now=NOW + 12.0)
    seen = a_prepared(exited(code=0))
    check(asked, seen, step.CleanUp(), now=NOW + 12.0)
    found = decide(asked, replace(seen, clean=True), NOW + 12.0, None)
    assert isinstance(found, step.Conclude)
    assert found.state is TaskState.COMPLETE


def test_the_services_signal_is_preferred_to_the_images() -> None:
    asked = stopped(an_asked(stop=StopPolicy(signal="SIGINT", drain_delay=0.0)))

    check(asked, a_prepared(running()), step.Signal("main", "SIGINT"))


def test_what_never_began_is_stopped_without_draining() -> None:
    asked = stopped(an_asked(stop=StopPolicy(drain_delay=30.0)))

    check(asked, Observed(), step.CleanUp())


def test_a_clean_up_that_failed_is_tried_again_later() -> None:
    trouble = Trouble("CleanUpFailed", "busy", NOW)

    check(stopped(an_asked()), a_prepared(clean_up_trouble=trouble), step.WakeAt(NOW + 1.0, "busy"))


def test_what_has_ended_is_left_alone() -> None:
    seen = Observed(final=Final(TaskState.FAILED, "ExitCode", "", NOW))

    check(an_asked(), seen, step.Waiting("it has ended"))
    check(stopped(an_asked()), seen, step.Waiting("it has ended"))


# --- a node that is alone

ALONE = OnNodeLoss(action=NodeLoss.STOP_AFTER, stop_after=60.0)


def test_stop_after_ends_the_task_when_the_node_was_alone_for_so_long() -> None:
    asked = an_asked(loss=ALONE)

    found = decide(asked, a_prepared(running()), NOW + 59.9, NOW)
    assert isinstance(found, step.WakeAt)
    assert found.at == NOW + 60.0
    check(asked, a_prepared(running()), step.Signal("main", "SIGQUIT"), now=NOW + 60.0, contact=NOW)


def test_other_tasks_run_on_however_long_the_node_is_alone() -> None:
    assert isinstance(decide(an_asked(), a_prepared(running()), NOW + 1e6, NOW), step.Waiting)
