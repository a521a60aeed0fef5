"""Mount options of the OCI configuration as flags and data (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.linux import constants as c

_FLAGS = {
    "ro": (c.MS_RDONLY, True),
    "rw": (c.MS_RDONLY, False),
    "nosuid": (c.MS_NOSUID, True),
    "suid": (c.MS_NOSUID, False),
    "nodev": (c.MS_NODEV, True),
    "dev": (c.MS_NODEV, False),
    "noexec": (c.MS_NOEXEC, True),
    "exec": (c.MS_NOEXEC, False),
    "sync": (c.MS_SYNCHRONOUS, True),
    "async": (c.MS_SYNCHRONOUS, False),
    "dirsync": (c.MS_DIRSYNC, True),
    "noatime": (c.MS_NOATIME, True),
    "atime": (c.MS_NOATIME, False),
    "nodiratime": (c.MS_NODIRATIME, True),
    "diratime": (c.MS_NODIRATIME, False),
    "relatime": (c.MS_RELATIME, True),
    "strictatime": (c.MS_STRICTATIME, True),
    "bind": (c.MS_BIND, True),
    "rbind": (c.MS_BIND | c.MS_REC, True),
    "defaults": (0, True),
}
_PROPAGATION = {
    "private": c.MS_PRIVATE,
    "rprivate": c.MS_PRIVATE | c.MS_REC,
    "slave": c.MS_SLAVE,
    "rslave": c.MS_SLAVE | c.MS_REC,
}
_ATTRIBUTES = (
    (c.MS_RDONLY, c.MOUNT_ATTR_RDONLY),
    (c.MS_NOSUID, c.MOUNT_ATTR_NOSUID),
    (c.MS_NODEV, c.MOUNT_ATTR_NODEV),
    (c.MS_NOEXEC, c.MOUNT_ATTR_NOEXEC),
)
_UNSUPPORTED = {"shared", "rshared", "unbindable", "runbindable", "idmap", "ridmap", "tmpcopyup", "mand"}


@dataclass(frozen=True, slots=True)
class Options:
    flags: int
    propagation: int
    data: str


def options(words: Sequence[str], *, allow_devices: bool = False) -> Options:
    """Options as they come in config.json; ValueError names the one that is not supported.

    A mount that does not say "dev" gets nodev: without a device cgroup that is what keeps a container
    with CAP_MKNOD from making itself a disk.
    """
    flags = 0 if allow_devices else c.MS_NODEV
    propagation = 0
    data: list[str] = []
    for word in words:
        if word in _FLAGS:
            bit, on = _FLAGS[word]
            flags = flags | bit if on else flags & ~bit
        elif word in _PROPAGATION:
            propagation = _PROPAGATION[word]
        elif word in _UNSUPPORTED or word.startswith(("idmap=", "ridmap=")):
            raise ValueError(word)
        elif word in {"rro", "rnosuid", "rnodev", "rnoexec"}:
            flags |= _FLAGS[word[1:]][0] | c.MS_REC
        else:
            data.append(word)
    return Options(flags, propagation, ",".join(data))


def attributes(flags: int) -> int:
    """What mount_setattr must set on a bind mount for these mount flags."""
    total = 0
    for flag, attribute in _ATTRIBUTES:
        if flags & flag:
            total |= attribute
    return total
