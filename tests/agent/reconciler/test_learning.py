"""How facts change the picture."""

from agent.reconciler import observed
from agent.reconciler.learning import after
from agent.reconciler.observed import Observed, Probed, Trouble
from agent.runtime.container import Exited
from orch.model.probe import Health
from tests.agent.reconciler.pictures import NOW, a_prepared, running


def ended(seen: Observed, code: int, *, may_end: bool = False) -> Observed:
    run = seen.container("main").id
    end = Exited(run, 101, code, None, False, NOW)
    return after(seen, observed.Ended("main", end, NOW, 600.0, may_end))


def test_an_end_that_was_asked_for_is_no_trouble() -> None:
    seen = ended(a_prepared(running(signalled_at=NOW - 1)), 143)

    assert seen.container("main").trouble is None
    assert seen.troubles == 0


def test_an_end_that_a_probe_asked_for_is_the_probes_trouble() -> None:
    sick = running(signalled_at=NOW - 1, condemned="Unhealthy", condemned_message="it did not answer")

    trouble = ended(a_prepared(sick), 0, may_end=True).container("main").trouble

    assert trouble == Trouble("Unhealthy", "it did not answer", NOW, 1, crash=True)


def test_work_done_is_no_trouble() -> None:
    assert ended(a_prepared(running()), 0, may_end=True).troubles == 0
    assert ended(a_prepared(running()), 1, may_end=True).troubles == 1


def test_words_about_an_earlier_run_are_not_heard() -> None:
    seen = a_prepared(running(run=2))
    old = Exited("another", 1, 1, None, False, NOW)

    assert after(seen, observed.Ended("main", old, NOW, 600.0)) == seen
    assert after(seen, observed.ProbeSaid("main", 1, "readiness", Probed(Health.HEALTHY))) == seen


def test_a_step_that_succeeds_forgets_the_troubles_before_it() -> None:
    seen = Observed()
    for count in (1, 2):
        seen = after(seen, observed.Troubled("DiskFull", "full", NOW))
        assert seen.trouble == Trouble("DiskFull", "full", NOW, count)

    assert after(seen, observed.FilesPrepared()).trouble is None
