"""Which files stay at home."""

import pytest

from orch.dockerfile import ignore


@pytest.mark.parametrize(
    ("patterns", "path", "left_out"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/a/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/a/README.md", True),
        ("/docs/", "docs/a", True),
        ("./docs", "docs", True),
        ("docs/*/x", "docs/a/x", True),
        ("docs/*/x", "docs/a/b/x", False),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("node_modules\n!node_modules/keep", "node_modules/keep/x", False),
        ("**", "anything/at/all", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c].txt", "b.txt", True),
        ("[^a-c].txt", "b.txt", False),
        ("# comment\n\n  x  ", "x", True),
        ("a/../b", "b", True),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: str, path: str, left_out: bool) -> None:
    assert ignore.read(patterns).leaves_out(path) is left_out


def test_a_directory_from_which_nothing_returns_is_not_walked() -> None:
    assert not ignore.read("node_modules").may_bring_back_below("node_modules")
    assert ignore.read("node_modules\n!node_modules/keep").may_bring_back_below("node_modules")
