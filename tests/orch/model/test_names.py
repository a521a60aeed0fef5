"""Names and identities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.model.names import ObjectName, TaskId, check_name

_NUMBERS = st.integers(1, 2**40)
_IDS = st.builds(
    TaskId,
    st.sampled_from(["default", "a", "a-b"]),
    st.sampled_from(["web", "b-web"]),
    _NUMBERS,
    _NUMBERS,
    _NUMBERS,
)


@pytest.mark.parametrize("name", ["a", "web", "web-2", "0", "a" * 63])
def test_a_label_of_dns_is_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "Web", "-a", "a-", "a.b", "a_b", "a" * 64, "ä", "a\n"])
def test_anything_else_is_not(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        check_name(name)


@given(_IDS, _IDS)
def test_two_tasks_never_share_a_key(one: TaskId, other: TaskId) -> None:
    assert (one.key == other.key) == (one == other)
    assert len(one.key) == 20


def test_names_for_people_leave_the_default_namespace_out() -> None:
    assert str(ObjectName("default", "web")) == "web"
    assert str(ObjectName("shop", "web")) == "shop/web"
    assert TaskId("shop", "web", 9, 2, 7).full_name == "web.2.7"
