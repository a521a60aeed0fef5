"""What a build is for: the words of TARGETPLATFORM and its like, and whether this machine can run such programs."""

from collections.abc import Mapping
from pathlib import Path

from agent.images.images import is_ours, this_platform
from orch.oci import manifest
from orch.oci.failure import bad_image
from orch.oci.manifest import Platform

HANDLERS = Path("/proc/sys/fs/binfmt_misc")
"""Where Linux says which interpreters it knows for programs of other machines."""

_NATIVE_TOO = {"amd64": {"386"}}
"""What a processor runs beside its own."""
_MACHINES = {
    "386": 0x03,
    "amd64": 0x3E,
    "arm": 0x28,
    "arm64": 0xB7,
    "loong64": 0x102,
    "ppc64le": 0x15,
    "riscv64": 0xF3,
    "s390x": 0x16,
}
"""e_machine in the head of an ELF file."""
_BIG_ENDIAN = {"s390x"}
_MACHINE_AT = slice(18, 20)


def wanted(text: str) -> Platform:
    """Raises ImageFailure."""
    found = manifest.platform(text)
    if found.os != "linux":
        raise bad_image(f"--platform {text}: only images for Linux can be built, such as linux/arm64")
    return found


def words(target: Platform) -> dict[str, str]:
    """The arguments that a Dockerfile has without being given them."""
    return {
        f"{side}{name}": value
        for side, platform in (("TARGET", target), ("BUILD", this_platform()))
        for name, value in _parts(platform).items()
    }


def _parts(platform: Platform) -> Mapping[str, str]:
    return {
        "PLATFORM": str(platform),
        "OS": platform.os,
        "ARCH": platform.architecture,
        "VARIANT": platform.variant,
    }


def runs_here(platform: Platform, handlers: Path = HANDLERS) -> bool:
    """By itself, or through an interpreter that Linux was told of and opens itself: a container has none."""
    if is_ours(platform) or platform.architecture in _NATIVE_TOO.get(this_platform().architecture, ()):
        return True
    try:
        known = [each.read_text() for each in handlers.iterdir() if each.name not in {"register", "status"}]
    except OSError:
        return False
    return any(_handles(said, platform.architecture) for said in known)


def _handles(said: str, architecture: str) -> bool:
    lines = said.splitlines()
    facts = {word: value for word, _, value in (line.partition(" ") for line in lines)}
    if "enabled" not in lines or facts.get("offset", "0") != "0" or "F" not in facts.get("flags:", ""):
        return False
    order = "big" if architecture in _BIG_ENDIAN else "little"
    machine = bytes.fromhex(facts.get("magic", ""))[_MACHINE_AT]
    return len(machine) == 2 and int.from_bytes(machine, order) == _MACHINES.get(architecture)  # type: ignore[arg-type]
