"""A profile of an OCI configuration becomes a filter, once; what is wrong in it is named."""

from pathlib import Path
from typing import Any

import pytest

from agent.linux import constants as c
from agent.runtime import container, plan_seccomp
from agent.runtime.seccomp import compiler

_MKDIR: dict[str, Any] = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
_NOTIFY: dict[str, Any] = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}


def _profile(*syscalls: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(syscalls), **others}


def _condition(**others: Any) -> dict[str, Any]:
    return _MKDIR | {"args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"} | others]}


def test_no_profile_is_no_filter() -> None:
    assert plan_seccomp.plan(None) == plan_seccomp.plan({}) == {}


def test_flags_are_the_kernels() -> None:
    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW")]

    assert plan_seccomp.plan(_profile(_MKDIR, flags=names))["flags"] == 1 | 2 | 4


def test_a_rule_that_notifies_makes_a_listener() -> None:
    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "WAIT_KILLABLE_RECV")]
    config = _profile(_NOTIFY, flags=names, listenerPath="/run/x", listenerMetadata="m")

    made = plan_seccomp.plan(config)

    assert made["flags"] == (
        c.SECCOMP_FILTER_FLAG_TSYNC
        | c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        | c.SECCOMP_FILTER_FLAG_NEW_LISTENER
        | c.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    )
    assert (made["listener"], made["metadata"]) == ("/run/x", "m")
    unheard = plan_seccomp.plan(_profile(_MKDIR, flags=names, listenerPath="/run/x"))
    assert (unheard["flags"], unheard["listener"]) == (c.SECCOMP_FILTER_FLAG_TSYNC, "")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"syscalls": []}, "defaultAction is None"),
        (_profile(_MKDIR, defaultErrnoRet=1), "defaultAction is SCMP_ACT_ALLOW and has an error number"),
        (_profile(_MKDIR | {"action": "ALLOW"}), r"syscalls\[0\]\.action is 'ALLOW'"),
        (_profile(_MKDIR | {"errnoRet": 5000}), "the greatest is 4095"),
        (_profile({"action": "SCMP_ACT_ALLOW"}), r"syscalls\[0\]\.names is empty"),
        (_profile(_condition(op="EQ?")), r"syscalls\[0\]\.args\.op"),
        (_profile(_condition(index=6)), "arguments 0 to 5"),
        (_profile(_condition(value=1 << 64)), "does not fit into 64 bits"),
        (_profile(architectures=["SCMP_ARCH_Z80"]), "architectures holds 'SCMP_ARCH_Z80'"),
        (_profile(flags=["LOG"]), "flags holds 'LOG'"),
        (_profile(_NOTIFY), "listenerPath is needed as an absolute path"),
        (_profile(_NOTIFY | {"names": ["sendmsg"]}, listenerPath="/x"), "cannot notify of sendmsg"),
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}, "defaultAction cannot be"),
        (_profile(_MKDIR, listenerMetadata="x"), "listenerMetadata is for a listener"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(config: dict[str, Any], words: str) -> None:
    with pytest.raises(container.LaunchFailed, match=rf"linux\.seccomp\..*{words}|{words}"):
        plan_seccomp.plan(config)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each filter that is compiled."""
    made: list[int] = []
    compile_one = compiler.program

    def counted(config: Any) -> bytes:
        made.append(1)
        return compile_one(config)

    monkeypatch.setattr(compiler, "program", counted)
    monkeypatch.setattr(plan_seccomp, "_kept", {})
    return made


def test_the_same_profile_is_compiled_once(compilations: list[int]) -> None:
    one = plan_seccomp.plan(_profile(_MKDIR))["program"]

    assert plan_seccomp.plan(_profile(dict(_MKDIR), flags=[]))["program"] is one
    assert plan_seccomp.plan(_profile(_condition()))["program"] != one
    assert len(compilations) == 2


def test_the_next_process_finds_the_filter_on_disk(
    compilations: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "filters"
    one = plan_seccomp.plan(_profile(_MKDIR), str(cache))
    monkeypatch.setattr(plan_seccomp, "_kept", {})

    assert plan_seccomp.plan(_profile(_MKDIR), str(cache)) == one
    assert len(compilations) == 1
    (kept,) = cache.iterdir()
    kept.write_bytes(b"half")
    monkeypatch.setattr(plan_seccomp, "_kept", {})
    assert plan_seccomp.plan(_profile(_MKDIR), str(cache)) == one
    assert len(compilations) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert plan_seccomp.plan(_profile(_condition(value=77)), str(tmp_path / "file" / "x"))["program"]
