"""The state directory."""

from pathlib import Path

import pytest

from agent.orchrun.errors import Failed, NoContainer
from agent.orchrun.store import Store

RECORD = {"id": "c1", "pid": 7, "annotations": {"a": "ä"}}


def test_a_record_is_read_back_and_forgotten(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    store.claim("c1")
    store.write(RECORD)
    store.write_process("c1", {"seccomp": b"\0\1", "env": ["A=1"]})

    assert store.names() == ["c1"]
    assert store.read("c1") == RECORD
    assert store.process("c1") == {"seccomp": b"\0\1", "env": ["A=1"]}
    store.forget("c1")
    store.forget("c1")
    assert store.names() == []
    with pytest.raises(NoContainer):
        store.read("c1")


def test_a_name_is_claimed_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.claim("c1")

    with pytest.raises(Failed) as refused:
        store.claim("c1")

    assert "container with given ID already exists" in refused.value.message


def test_a_claim_without_a_record_is_no_container(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.claim("c1")

    assert store.is_claimed("c1")
    with pytest.raises(NoContainer):
        store.read("c1")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "x" * 300, "a\0"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed):
        Store(str(tmp_path)).claim(name)
    with pytest.raises(Failed):
        Store(str(tmp_path)).read(name)


def test_names_may_be_what_runc_allows(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name in ("A_b+c-d.1", "0" * 64):
        store.claim(name)

    assert len(store.names()) == 2
