"""Quotes, escapes and variables, as a shell has them."""

import pytest

from orch.dockerfile import words

SCOPE = {"name": "web", "empty": "", "path": "/a/b/c.tar.gz", "two": "80 443"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$name", "web"),
        ("${name}", "web"),
        ("a${name}b$name", "awebbweb"),
        ("$nothing", ""),
        ("'$name'", "$name"),
        ('"$name x"', "web x"),
        ('"\\$name"', "$name"),
        ("\\$name", "$name"),
        ('"a\\"b"', 'a"b'),
        ('"a\\nb"', "a\\nb"),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("$-", "$-"),
        ("${name:-x}", "web"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${nothing-x}", "x"),
        ("${nothing:-${name}}", "web"),
        ("${name:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${name:?must be}", "web"),
        ("${path##*/}", "c.tar.gz"),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path/b/x}", "/a/x/c.tar.gz"),
        ("${path//a/x}", "/x/b/c.txr.gz"),
    ],
)
def test_a_word_is_expanded_as_by_a_shell(text: str, value: str) -> None:
    assert words.expand(text, SCOPE) == value


@pytest.mark.parametrize("text", ["${name", "'open", '"open', "${}", "${name!x}", "${nothing:?must be set}"])
def test_a_word_that_cannot_be_read_says_why(text: str) -> None:
    with pytest.raises(words.BadWord):
        words.expand(text, SCOPE)


def test_words_end_at_white_space_outside_quotes() -> None:
    assert words.split("""a "b c"  'd e'\tf\\ g""") == ["a", '"b c"', "'d e'", "f\\ g"]


def test_a_variable_may_stand_for_several_words() -> None:
    assert words.expand_to_words("22 $two", SCOPE) == ["22", "80", "443"]
    assert words.expand_to_words('"$two"', SCOPE) == ["80 443"]


def test_another_escape_leaves_backslashes_alone() -> None:
    assert words.expand("c:\\dir`$name", SCOPE, "`") == "c:\\dir$name"


def test_in_a_here_document_quotes_are_letters() -> None:
    assert words.expand_body('it\'s "$name" \\$name \\n', SCOPE) == 'it\'s "web" $name \\n'
