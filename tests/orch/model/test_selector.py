"""-l: each form, together, and what is none."""

import pytest

from orch.model import selector

LABELS = {"team": "shop", "ring": "canary", "orch/set": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "team=shop",
        "team==shop,ring=canary",
        "team = shop , ring != x",
        "team!=other",
        "gpu!=yes",
        "team",
        "!gpu",
        "team in (shop, web)",
        "ring notin (a,b),gpu notin (yes)",
        "orch/set=a",
    ],
)
def test_what_is_so_is_selected(text: str) -> None:
    assert selector.parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text", ["team=other", "team!=shop", "gpu", "!team", "team in (a,b)", "ring notin (canary)", "gpu="]
)
def test_what_is_not_so_is_not(text: str) -> None:
    assert not selector.parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text", ["=x", "team in shop", "team=a=b", "a b", "team in (a", "!team=x", ",", "team>1"]
)
def test_what_is_no_selector_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="KEY notin"):
        selector.parse(text)
