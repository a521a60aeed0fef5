"""Placement constraints: what they allow, and how a wrong one is told."""

import pytest

from orch.model import constraint

NODE = constraint.attributes_of("vm-1", {"zone": "a", "example.com/gpu": "yes"}, "amd64", "linux")


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("node.name == vm-1", True),
        ("node.name==vm-1", True),
        ("node.name != vm-1", False),
        ("node.labels.zone in (a, b)", True),
        ("node.labels.zone in(b)", False),
        ("node.labels.zone notin (a,b)", False),
        ("node.labels.zone notin (c)", True),
        ("node.labels.example.com/gpu exists", True),
        ("node.labels.disk exists", False),
        ("node.labels.disk !exists", True),
        ("node.labels.disk == ssd", False),
        ("node.labels.disk != ssd", True),
        ("node.arch == amd64", True),
        ("node.os in (linux)", True),
        ('node.labels.zone == "a"', True),
    ],
)
def test_a_constraint_asks_one_attribute(text: str, matches: bool) -> None:
    assert constraint.parse(text).matches(NODE) is matches


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("node.labels.zone", "is not a constraint: write ATTRIBUTE == value"),
        ("node.labels.zone = a", "is not a constraint"),
        ("", "is not a constraint"),
        ("zone == a", "'zone' in 'zone == a' is not an attribute of a node: use node.name"),
        ("node.labels. == a", "is not an attribute of a node"),
        ("node.labels.zone in ()", "'' in 'node.labels.zone in ()' is not a value"),
        ("node.labels.zone == a b", "'a b' in 'node.labels.zone == a b' is not a value"),
        ("node.labels.zone in (a,,b)", "'' in"),
    ],
)
def test_a_wrong_constraint_says_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        constraint.parse(text)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "text", ["node.name == vm-1", "node.labels.zone notin (a, b)", "node.labels.x !exists"]
)
def test_a_constraint_prints_as_it_is_written(text: str) -> None:
    assert str(constraint.parse(text)) == text
    assert constraint.parse(str(constraint.parse(text))) == constraint.parse(text)
