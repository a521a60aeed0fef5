"""Options as callers of runc and crun write them."""

import pytest

from agent.orchrun import options
from agent.orchrun.errors import Misused

TABLE = {"bundle,b": "text", "detach,d": "flag", "env,e": "list", "tty,t": "maybe", "preserve-fds": "text"}


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "--detach", "name"],
        ["--bundle=/b", "-d", "name"],
        ["-b", "/b", "-detach", "name"],
        ["-db", "/b", "name"],
        ["-db/b", "name"],
        ["name", "--detach", "-b=/b"],
        ["--detach=true", "-b", "/b", "--", "name"],
    ],
)
def test_every_way_to_write_an_option_is_understood(words: list[str]) -> None:
    given, rest = options.parse(words, TABLE)

    assert (given.text("bundle"), given.flag("detach"), rest) == ("/b", True, ["name"])


def test_what_follows_the_container_belongs_to_the_command() -> None:
    given, rest = options.parse(["-e", "A=1", "-e", "B=--x", "name", "ls", "-d", "--env"], TABLE, mixed=False)

    assert given.every("env") == ["A=1", "B=--x"]
    assert rest == ["name", "ls", "-d", "--env"]
    assert not given.flag("detach")


def test_a_flag_can_be_said_to_be_off() -> None:
    given, _ = options.parse(["--detach=false", "--tty=false"], TABLE)

    assert not given.flag("detach")
    assert not given.flag("tty")


def test_two_dashes_end_the_options() -> None:
    _, rest = options.parse(["--", "-d", "--bundle"], TABLE)

    assert rest == ["-d", "--bundle"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nonsense"], "not defined: --nonsense"),
        (["-x"], "not defined: -x"),
        (["--bundle"], "needs an argument: --bundle"),
        (["-b"], "needs an argument"),
        (["--detach=perhaps"], "neither true nor false"),
    ],
)
def test_what_makes_no_sense_is_named(words: list[str], said: str) -> None:
    with pytest.raises(Misused) as refused:
        options.parse(words, TABLE)

    assert said in refused.value.message


def test_a_number_must_be_one() -> None:
    given, _ = options.parse(["--preserve-fds", "two"], TABLE)

    with pytest.raises(Misused):
        given.number("preserve-fds")
    assert given.number("bundle", 7) == 7
