"""Text → trees with places; hostile text → one clear sentence."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.manifest import load
from orch.manifest.problem import ManifestError, Place
from orch.manifest.tree import Mapping, plain


def _values(text: str) -> list[Any]:
    nodes, problems = load.load(text, "f.yaml")
    assert problems == []
    return [plain(node) for node in nodes]


def _problems(data: str | bytes) -> list[str]:
    return [str(problem) for problem in load.load(data, "f.yaml")[1]]


def test_every_key_and_value_knows_its_line_and_column() -> None:
    (node,), _ = load.load("a:\n  b: [1,\n    2]\n", "f.yaml")

    assert isinstance(node, Mapping)
    inner = node.entries["a"].node
    assert node.entries["a"].place == Place("f.yaml", 1, 1)
    assert isinstance(inner, Mapping)
    assert inner.entries["b"].place == Place("f.yaml", 2, 3)
    assert inner.entries["b"].node.place == Place("f.yaml", 2, 6)


def test_documents_are_parted_and_empty_ones_left_out() -> None:
    assert _values("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_an_alias_stands_for_what_was_named() -> None:
    assert _values("a: &x {b: [1]}\nc: *x\n") == [{"a": {"b": [1]}, "c": {"b": [1]}}]


def test_a_tag_for_text_is_known_and_others_are_refused() -> None:
    assert _values("a: !!str 1") == [{"a": "1"}]
    assert _problems("a: !python/object:os.system x") == [
        'f.yaml:1:4: the tag "!python/object:os.system" is not supported'
    ]
    assert "is not supported" in _problems("a: !!set {b, c}")[0]


def test_a_key_given_twice_is_a_problem_and_reading_goes_on() -> None:
    assert _problems("a: 1\nb: 2\na: 3\nb: 4") == [
        'f.yaml:3:1: the key "a" is already on line 1 — keep one of them',
        'f.yaml:4:1: the key "b" is already on line 2 — keep one of them',
    ]


def test_a_tab_is_named() -> None:
    assert "indented with a tab; use spaces" in _problems("a:\n\tb: 1")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "this is not YAML"),
        ("a: b: c", "f.yaml:1:5: this is not YAML: mapping values are not allowed"),
        ("a: *nothing", 'there is no anchor "&nothing" above'),
        ("a: &x [*x]", '"*x" stands inside what it names'),
        ("[" * 100_000, "maps and lists lie more than 64 deep"),
        ("{a: " * 100_000, "maps and lists lie more than 64 deep"),
        ("? [a, b]\n: c", "a key must be a single word"),
        ("a: \x01", "this is not YAML"),
    ],
)
def test_text_that_cannot_be_read_is_one_sentence_with_its_place(text: str, said: str) -> None:
    (problem,) = _problems(text)

    assert said in problem


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(20)]
    began = time.monotonic()

    (problem,) = _problems("\n".join(lines))

    assert "more than 200000 values" in problem
    assert time.monotonic() - began < 1


def test_more_than_ten_megabytes_are_refused_before_reading() -> None:
    said = (
        "f.yaml: the file has 20.0 MB; a manifest may have 10 MB — put large data into an image or a volume"
    )

    assert _problems(b"x" * 20_000_000) == [said]
    with pytest.raises(ManifestError, match=r"20\.0 MB"):
        load.check_size(20_000_000, "f.yaml")


def test_bytes_that_are_no_utf8_are_placed() -> None:
    assert _problems(b"a: 1\nb: \xff") == ["f.yaml:2:4: this is not text in UTF-8"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_is_dumped_is_read_back(value: Any) -> None:
    nodes, problems = load.load(load.dump({"value": value}), "f.yaml")

    assert problems == []
    assert plain(nodes[0]) == {"value": value}


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    load.load(text, "f.yaml")
