"""Small amounts in few letters, and paths into documents."""

from typing import Any

import pytest

from cli.render import jsonpath, words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (3600, "1h"),
        (3700, "1h1m"), (86399, "23h"), (86400 * 3, "3d"), (-5, "0s"),
    ],
)  # fmt: skip
def test_a_span_has_its_two_greatest_units(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_a_moment_that_never_was_has_no_age() -> None:
    assert words.age(0, 100) == "-"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (1023, "1023B"), (2048, "2.0KiB"), (5 * 2**40, "5120.0GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


_DOCUMENT: dict[str, Any] = {
    "items": [{"name": "a", "n": 1}, {"name": "b", "ok": True}],
    "odd.key": {"x": "y"},
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("{.items[*].name}", "a b"), ("{.items[0].n}", "1"), ("items[1].ok", "true"), ("{.items[-1].name}", "b"),
        ("{.nothing.here}", ""), ("{['odd.key'].x}", "y"), ("{.items[0].name}={.items[0].n}", "a=1"),
        ('{.items[0].name}{"\\n"}', "a\n"), ("{$.items[9]}", ""),
    ],
)  # fmt: skip
def test_a_path_leads_into_a_document(path: str, text: str) -> None:
    assert jsonpath.evaluate(path, _DOCUMENT) == text


@pytest.mark.parametrize("path", ["{.items[?(@.a)]}", "{.items[}", "{.a b}"])
def test_a_path_that_is_not_understood_is_refused(path: str) -> None:
    with pytest.raises(jsonpath.BadPath, match="cannot read"):
        jsonpath.evaluate(path, _DOCUMENT)


def test_images_of_the_clusters_registry_are_short() -> None:
    digest = "5b6faa192bac" + "0" * 52
    assert (
        words.images(f"image registry.orch/a/web:1@sha256:{digest} → x") == "image a/web:1@5b6faa192bac → x"
    )
    assert words.images(f"ghcr.io/web:1@sha256:{digest}") == f"ghcr.io/web:1@sha256:{digest}"
