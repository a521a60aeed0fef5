"""What an agent that came back makes of what it finds."""

from dataclasses import replace

from agent.reconciler import adopt, learning, notes, observed, report, step
from agent.reconciler.decide import decide
from agent.reconciler.notes import Notes
from agent.reconciler.observed import Final, Observed, Trouble
from agent.reconciler.run_name import RunName, parse
from agent.runtime.container import Exited, Running
from orch.model.policy import RestartPolicy
from orch.model.probe import Health, ProbeSpec
from orch.model.task import TaskState
from tests.agent.reconciler.pictures import IMAGE, NOW, PLACE, TASK, a_spec, an_asked


def run(number: int = 1, container: str = "main", incarnation: int = 5) -> RunName:
    return RunName(TASK.key, container, incarnation, number)


def a_running(name: RunName) -> Running:
    return Running(str(name), 100, 7, NOW - 5)


def an_exit(name: RunName, code: int = 1) -> Exited:
    return Exited(str(name), 100, code, None, False, NOW)


def adopted(found: adopt.Found, known: Notes | None = None, **more: object) -> Observed:
    return adopt.task(an_asked(**more), found, PLACE, known or Notes(), {"web:1": IMAGE}.get)


def test_the_names_of_runs_are_read_back() -> None:
    assert parse(str(run())) == run()
    for stranger in ("", "x", "a.b.c", "a.b.zz.1", "a.b.1.x", "a.b.1.1.1"):
        assert parse(stranger) is None


def test_what_runs_goes_on_and_needs_nothing() -> None:
    seen = adopted({run(): a_running(run())})

    assert seen.container("main").running == a_running(run())
    assert seen.attached == PLACE
    assert isinstance(decide(an_asked(), seen, NOW, None), step.Waiting)


def test_probes_start_again() -> None:
    asked = an_asked(a_spec(readiness=ProbeSpec(exec=("true",))))
    seen = adopt.task(asked, {run(): a_running(run())}, PLACE, Notes(), {"web:1": IMAGE}.get)

    assert decide(asked, seen, NOW, None) == step.StartProbes("main")


def test_what_was_ready_is_ready_until_its_probes_say_otherwise() -> None:
    asked = an_asked(a_spec(readiness=ProbeSpec(exec=("true",))))
    before = adopt.task(asked, {run(): a_running(run())}, PLACE, Notes(), {"web:1": IMAGE}.get)
    for fact in (
        observed.ProbesStarted("main"),
        observed.ProbeSaid("main", 1, "readiness", observed.Probed(Health.HEALTHY)),
        observed.BecameReady(NOW - 3),
    ):
        before = learning.after(before, fact)
    known = notes.read(notes.write(notes.of(before)))

    seen = adopt.task(asked, {run(): a_running(run())}, PLACE, known, {"web:1": IMAGE}.get)
    assert report.is_ready(asked, seen)
    assert seen.ready_since == NOW - 3
    unsure = observed.ProbeSaid("main", 1, "readiness", observed.Probed(Health.UNKNOWN, "refused"))
    assert report.is_ready(asked, learning.after(seen, unsure))
    ill = observed.ProbeSaid("main", 1, "readiness", observed.Probed(Health.UNHEALTHY, "refused"))
    assert not report.is_ready(asked, learning.after(seen, ill))

    again = {run(1): an_exit(run(1)), run(2): a_running(run(2))}
    seen = adopt.task(asked, again, PLACE, known, {"web:1": IMAGE}.get)
    assert not report.is_ready(asked, seen), "another run has not passed anything yet"


def test_of_several_runs_the_last_counts_and_the_others_are_removed() -> None:
    seen = adopted({run(1): an_exit(run(1)), run(2, incarnation=6): a_running(run(2, incarnation=6))})

    assert seen.container("main").run == 2
    assert decide(an_asked(), seen, NOW, None) == step.Discard((str(run(1)),))


def test_a_container_that_died_meanwhile_is_a_crash_with_its_exit_code() -> None:
    seen = adopted({run(): an_exit(run(), code=7)})

    assert seen.troubles == 1
    assert seen.container("main").trouble == Trouble(
        "ExitCode", "container main ended with exit code 7; `orchctl logs` shows its last words", NOW, 1, True
    )


def test_a_crash_that_was_noted_is_not_counted_twice() -> None:
    trouble = Trouble("ExitCode", "noted", NOW, 3, crash=True)

    seen = adopted({run(): an_exit(run())}, Notes(troubles=3, containers={"main": (1, trouble)}))

    assert seen.troubles == 3
    assert seen.container("main").trouble == trouble


def test_crashes_before_the_agents_end_still_count_after_it() -> None:
    trouble = Trouble("ExitCode", "noted", NOW - 1, 3, crash=True)
    known = Notes(troubles=3, containers={"main": (1, trouble)})

    seen = adopted({run(2): an_exit(run(2))}, known, restart=RestartPolicy())

    assert seen.container("main").trouble is not None
    assert seen.container("main").trouble.count == 4


def test_after_a_reboot_everything_begins_anew_with_its_troubles_in_mind() -> None:
    trouble = Trouble("ExitCode", "noted", NOW, 2, crash=True)
    known = Notes(troubles=2, containers={"main": (4, trouble)})

    seen = adopted({}, known)

    assert seen.attached is None
    assert seen.container("main").trouble == trouble
    assert decide(an_asked(), seen, NOW, None) == step.PullImage("web:1", "IfNotPresent")


def test_an_end_is_for_ever() -> None:
    final = Final(TaskState.FAILED, "ExitCode", "it failed", NOW)

    seen = adopted({}, notes.read(notes.write(Notes(final=final, troubles=1))))

    assert seen.final == final
    assert isinstance(decide(an_asked(), seen, NOW, None), step.Waiting)


def test_notes_are_read_back_as_they_were_written() -> None:
    trouble = Trouble("OOMKilled", "too much", NOW, 2, crash=True)
    known = Notes(Final(TaskState.COMPLETE, "Stopped", "", NOW), 5, {"main": (3, trouble)})

    assert notes.read(notes.write(known)) == known
    assert notes.read(notes.write(Notes())) == replace(known, final=None, troubles=0, containers={})
