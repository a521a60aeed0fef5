"""Whose programs this machine runs, and what the words of a build's platforms are."""

from pathlib import Path

import pytest

from agent.builds import platforms
from agent.images.images import this_platform
from orch.oci.failure import ImageFailure
from orch.oci.manifest import Platform

QEMU = {
    "s390x": "7f454c4602020100000000000000000000020016",
    "riscv64": "7f454c460201010000000000000000000200f300",
}


def handlers(directory: Path, architecture: str, *, flags: str = "OCF", state: str = "enabled") -> Path:
    """As the kernel shows them."""
    (directory / "status").write_text("enabled\n")
    (directory / "register").write_text("")
    (directory / "python3.11").write_text(
        "enabled\ninterpreter /usr/bin/python3.11\nflags: \nextension .pyc\n"
    )
    (directory / f"qemu-{architecture}").write_text(
        f"{state}\ninterpreter /usr/bin/qemu-{architecture}-static\nflags: {flags}\noffset 0\n"
        f"magic {QEMU[architecture]}\nmask ffffffffffffff00fffffffffffffffffffeffff\n"
    )
    return directory


def test_this_machines_programs_run(tmp_path: Path) -> None:
    assert platforms.runs_here(this_platform(), tmp_path)
    assert platforms.runs_here(this_platform(), tmp_path / "missing")


@pytest.mark.parametrize("architecture", QEMU)
def test_others_run_where_linux_has_an_interpreter_for_them(tmp_path: Path, architecture: str) -> None:
    known = handlers(tmp_path, architecture)

    for each in QEMU:
        assert platforms.runs_here(Platform("linux", each), known) is (each == architecture)
    assert not platforms.runs_here(Platform("linux", "never-heard-of"), known)


@pytest.mark.parametrize("how", [{"flags": "OC"}, {"state": "disabled"}])
def test_an_interpreter_that_a_container_lacks_or_that_is_off_is_none(
    tmp_path: Path, how: dict[str, str]
) -> None:
    assert not platforms.runs_here(Platform("linux", "riscv64"), handlers(tmp_path, "riscv64", **how))


def test_the_words_say_for_what_and_by_what() -> None:
    words = platforms.words(Platform("linux", "arm", "v7"))

    assert words["TARGETPLATFORM"] == "linux/arm/v7"
    assert (words["TARGETOS"], words["TARGETARCH"], words["TARGETVARIANT"]) == ("linux", "arm", "v7")
    assert words["BUILDPLATFORM"] == str(this_platform())


def test_other_systems_than_linux_are_refused() -> None:
    with pytest.raises(ImageFailure, match="only images for Linux"):
        platforms.wanted("windows/amd64")
