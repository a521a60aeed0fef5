"""Stages: what each starts from, and which are needed."""

import pytest

from orch.dockerfile import parse, stages
from orch.dockerfile.problem import DockerfileError


def recipe(text: str, **given: str) -> stages.Recipe:
    return stages.recipe(parse.parse(text), given, {"BUILDPLATFORM": "linux/amd64"})


def test_arguments_before_from_choose_the_base() -> None:
    text = "ARG v=1\nARG image=python:$v\nFROM --platform=$BUILDPLATFORM $image\n"

    assert recipe(text).stages[0].base == "python:1"
    assert recipe(text).stages[0].platform == "linux/amd64"
    assert recipe(text, v="2").stages[0].base == "python:2"


def test_only_what_the_target_uses_is_built() -> None:
    text = """
    FROM a AS base
    FROM base AS tests
    RUN test
    FROM base AS build
    RUN --mount=type=bind,from=tools,target=/t make
    FROM b AS tools
    FROM scratch
    COPY --from=build /x /x
    COPY --from=busybox:1 /y /y
    """
    found = recipe(text)

    assert [one.number for one in found.needed(found.target(""))] == [0, 2, 4]  # tools comes later: an image
    assert [one.number for one in found.needed(found.target("tests"))] == [0, 1]


def test_a_stage_is_found_by_number_too() -> None:
    found = recipe("FROM a\nFROM b AS second\nFROM scratch\nCOPY --from=0 /x /x")

    assert [one.number for one in found.needed(found.target(""))] == [0, 2]
    assert found.target("1").name == "second"


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("RUN x\nFROM a", "", "before the first FROM"),
        ("ARG x=1", "", "holds no FROM"),
        ("ARG x\nFROM $x", "", "names no image"),
        ("FROM a AS build", "biuld", "has no stage biuld"),
    ],
)
def test_a_recipe_that_cannot_be_followed_says_why(text: str, target: str, said: str) -> None:
    with pytest.raises(DockerfileError, match=said):
        recipe(text).target(target)


def test_build_arguments_that_nobody_takes_are_named() -> None:
    placed = parse.parse("ARG base=x\nFROM $base\nARG a b=2\n")
    given = {"base": "", "a": "", "b": "", "c": "", "http_proxy": "", "SOURCE_DATE_EPOCH": "1"}
    assert stages.unused(placed, given) == ("c",)
