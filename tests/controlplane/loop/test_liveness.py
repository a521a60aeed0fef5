"""Silence is counted from a node's last word, and never more than we were able to listen."""

from controlplane.loop import liveness


def test_a_node_that_speaks_is_young() -> None:
    heard = liveness.Liveness()
    heard.hear("n1", 10.0)
    assert heard.ages(12.0) == {"n1": 2.0}


def test_a_new_leader_gives_every_node_a_full_timeout() -> None:
    heard = liveness.Liveness()
    heard.hear("n1", 1.0)
    heard.begin({"n1": None, "n2": None}, 100.0)
    assert heard.ages(100.0) == {"n1": 0.0, "n2": 0.0}


def test_our_own_standing_still_is_not_held_against_the_nodes() -> None:
    heard = liveness.Liveness()
    heard.begin({"n1": None}, 0.0)
    heard.look(0.1)
    heard.look(30.1)
    age = heard.age("n1", 30.1)
    assert age is not None
    assert age < 0.5


def test_a_silent_node_grows_old_while_we_listen() -> None:
    heard = liveness.Liveness()
    heard.begin({"n1": None}, 0.0)
    for tenth in range(1, 60):
        heard.look(tenth / 10)
    age = heard.age("n1", 5.9)
    assert age is not None
    assert age > 5.8
