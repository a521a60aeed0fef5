"""From text to instructions, and what is said about text that is none."""

import pytest

from orch.dockerfile import instructions as i
from orch.dockerfile import parse
from orch.dockerfile.problem import DockerfileError
from orch.dockerfile.source import Heredoc


def only(text: str) -> i.Instruction:
    (one,) = parse.parse(text)
    return one.instruction


def test_directives_comments_and_continuations_are_taken_in() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\n\n# a comment\nRUN one `\n  # between\n\n  two\nCMD x\n"

    first, second = parse.parse(text)

    assert (first.line, first.instruction) == (5, i.Run(i.Command(shell="one   two")))
    assert second.line == 9


def test_a_directive_below_an_instruction_is_a_comment() -> None:
    first, *_ = parse.parse("FROM a\n# escape=`\nRUN one \\\n two")

    assert first.instruction == i.From("a")


def test_both_forms_of_a_command_are_told_apart() -> None:
    assert only('CMD ["a", "b c"]') == i.Cmd(i.Command(("a", "b c")))
    assert only("CMD a b") == i.Cmd(i.Command(shell="a b"))
    assert only("CMD [a, b]") == i.Cmd(i.Command(shell="[a, b]"))  # no JSON, so a shell gets it
    assert only("cmd []") == i.Cmd(i.Command(()))


def test_env_has_a_new_form_and_an_old_one() -> None:
    assert only('ENV a=1 b="x y" c=d\\ e') == i.Env((("a", "1"), ("b", '"x y"'), ("c", "d\\ e")))
    assert only("ENV a  b c") == i.Env((("a", "b c"),))


def test_arguments_may_have_defaults() -> None:
    assert only("ARG a b=1 c=") == i.Arg((("a", None), ("b", "1"), ("c", "")))


def test_from_may_name_stage_and_platform() -> None:
    assert only("FROM --platform=$P a:1 as Build") == i.From("a:1", "build", "$P")


def test_copy_has_flags_lists_and_here_documents() -> None:
    assert only('COPY --from=x --chown=a:b --chmod=755 ["a b", "c/"]') == i.Copy(
        ("a b",), "c/", stage="x", owner="a:b", mode="755"
    )
    document = only("COPY <<-'X' <<Y /etc/\n\tone\n\tX\ntwo $n\nY\n")
    assert isinstance(document, i.Copy)
    assert document.heredocs == (Heredoc("X", "one\n", expands=False), Heredoc("Y", "two $n\n", expands=True))


def test_a_mount_says_what_and_where() -> None:
    run = only("RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=key,env=KEY make")

    assert isinstance(run, i.Run)
    cache, secret = run.mounts
    assert (cache.kind, cache.target, cache.id, cache.sharing) == ("cache", "/c", "/c", "locked")
    assert (secret.kind, secret.id, secret.env) == ("secret", "key", "KEY")


def test_a_bind_is_read_only_unless_it_says_otherwise() -> None:
    run = only("RUN --mount=target=/src --mount=type=bind,target=/w,from=build,rw make")

    assert isinstance(run, i.Run)
    assert [(mount.readonly, mount.stage) for mount in run.mounts] == [(True, ""), (False, "build")]


def test_a_health_check_has_durations() -> None:
    assert only("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x") == i.HealthCheck(
        i.Command(shell="curl x"), interval_ns=90_000_000_000, retries=3
    )
    assert only("HEALTHCHECK NONE") == i.HealthCheck(None)


def test_onbuild_keeps_what_is_to_come() -> None:
    assert only("ONBUILD COPY . /src") == i.OnBuild("COPY . /src")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 0, "no instruction"),
        ("FROM a\nRUM x", 2, "RUM is not an instruction"),
        ("FROM a\n\nCOPY x", 3, "at least one source"),
        ("FROM a\nRUN", 2, "says nothing"),
        ("FROM a as", 1, "FROM takes an image"),
        ("FROM a AS 1x", 1, "no name for a stage"),
        ("FROM a\nCOPY --chwon=x a b", 2, "does not take --chwon"),
        ("FROM a\nRUN <<EOF\nx", 2, "does not end"),
        ("FROM a\nRUN --mount=type=nfs,target=/x y", 2, "none of bind"),
        ("FROM a\nRUN --security=lax y", 2, "neither sandbox nor insecure"),
        ("FROM a\nENV a=1 b", 2, "b has no value"),
        ("FROM a\nENV a", 2, "a has no value"),
        ("FROM a\nSHELL bash -c", 2, "SHELL takes a list"),
        ("FROM a\nHEALTHCHECK curl x", 2, "CMD and a command"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", 2, "not a duration"),
        ("FROM a\nONBUILD FROM b", 2, "not allowed"),
        ('FROM a\nCMD ["a", 1]', 2, "only strings"),
        ("# escape=x\nFROM a", 1, "neither"),
        ("# escape=`\n# escape=`\nFROM a", 2, "twice"),
        ("FROM a\nRUN --network=lan x", 2, "none of default"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse.parse(text)

    assert caught.value.line == line
    assert said in caught.value.message


def test_the_nearest_word_is_offered() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse.parse("FROM a\nCOPPY a b")

    assert (
        caught.value.sentence("Dockerfile") == "Dockerfile:2: COPPY is not an instruction; did you mean COPY?"
    )
