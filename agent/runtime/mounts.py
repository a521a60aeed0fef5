"""Mount options of the OCI configuration as attributes, flags and data (pure).

Three kinds of words: what mount_setattr sets and clears on one mount, what the file system itself is told,
and how the mount is tied to others. A word that is none of them is the file system's own.
"""

from agent.linux import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Options = dict[str, Any]

_ATTRIBUTES = {
    "ro": (c.MOUNT_ATTR_RDONLY, True),
    "rw": (c.MOUNT_ATTR_RDONLY, False),
    "nosuid": (c.MOUNT_ATTR_NOSUID, True),
    "suid": (c.MOUNT_ATTR_NOSUID, False),
    "nodev": (c.MOUNT_ATTR_NODEV, True),
    "dev": (c.MOUNT_ATTR_NODEV, False),
    "noexec": (c.MOUNT_ATTR_NOEXEC, True),
    "exec": (c.MOUNT_ATTR_NOEXEC, False),
    "nodiratime": (c.MOUNT_ATTR_NODIRATIME, True),
    "diratime": (c.MOUNT_ATTR_NODIRATIME, False),
    "nosymfollow": (c.MOUNT_ATTR_NOSYMFOLLOW, True),
    "symfollow": (c.MOUNT_ATTR_NOSYMFOLLOW, False),
}
_ACCESS_TIMES = {
    "relatime": c.MOUNT_ATTR_RELATIME,
    "norelatime": c.MOUNT_ATTR_RELATIME,
    "atime": c.MOUNT_ATTR_RELATIME,
    "nostrictatime": c.MOUNT_ATTR_RELATIME,
    "noatime": c.MOUNT_ATTR_NOATIME,
    "strictatime": c.MOUNT_ATTR_STRICTATIME,
}
"""One of three; without "noatime" or "strictatime" the kernel keeps relatime."""
_PROPAGATION = {
    "private": c.MS_PRIVATE,
    "slave": c.MS_SLAVE,
    "shared": c.MS_SHARED,
    "unbindable": c.MS_UNBINDABLE,
}
_SUPERBLOCK = {
    "sync": "sync",
    "async": "async",
    "dirsync": "dirsync",
    "lazytime": "lazytime",
    "nolazytime": "nolazytime",
    "mand": "mand",
    "nomand": "nomand",
    "silent": "",
    "loud": "",
    "iversion": "",
    "noiversion": "",
    "defaults": "",
    "_netdev": "",
    "nofail": "",
}
"""As fsconfig knows them; "" is a word for mount(8) that has no meaning here."""

FILLED_ONCE = "orchfill"
"""Of our own: a bind of a directory that is to begin with what the image has at its place (`copyup.UNFILLED`)."""


def words() -> list[str]:
    """Every option that is known by name."""
    plain = [*_ATTRIBUTES, *_ACCESS_TIMES, *_PROPAGATION]
    others = ["bind", "rbind", "idmap", "ridmap", "remount", "tmpcopyup"]
    return sorted({*plain, *(f"r{word}" for word in plain), *_SUPERBLOCK, *others})


def options(words: "Sequence[str]") -> "Options":
    """The plan of options, later words winning over earlier ones; ValueError names one without sense."""
    made: Options = {
        "set": 0,
        "clear": 0,
        "rset": 0,
        "rclear": 0,
        "propagation": [],
        "data": [],
        "bind": False,
        "recursive": False,
        "remount": False,
        "copyup": False,
        "fill": False,
        "idmap": "",
    }
    for word in words:
        if not _attribute(made, word):
            _other(made, word)
    return made


def _attribute(made: "Options", word: str) -> bool:
    """The recursive ones have the same names with an r in front ("ro" and "rw" included)."""
    for name, (on, off) in ((word, ("set", "clear")), (word.removeprefix("r"), ("rset", "rclear"))):
        if name == word and on == "rset":
            return False
        if name in _ATTRIBUTES:
            bit, is_on = _ATTRIBUTES[name]
            made[on], made[off] = (
                (made[on] | bit, made[off] & ~bit) if is_on else (made[on] & ~bit, made[off] | bit)
            )
            return True
        if name in _ACCESS_TIMES:
            made[on] = made[on] & ~c.MOUNT_ATTR__ATIME | _ACCESS_TIMES[name]
            made[off] |= c.MOUNT_ATTR__ATIME
            return True
    return False


def _other(made: "Options", word: str) -> None:
    kind = word.removeprefix("r") if word.startswith("r") else word
    if word in {"bind", "rbind"}:
        made["bind"] = True
        made["recursive"] = word == "rbind"
    elif kind in _PROPAGATION:
        made["propagation"].append([_PROPAGATION[kind], kind != word])
    elif word in {"idmap", "ridmap"}:
        made["idmap"] = word
    elif word == "remount":
        made["remount"] = True
    elif word == "tmpcopyup":
        made["copyup"] = True
    elif word == FILLED_ONCE:
        made["fill"] = True
    elif word in _SUPERBLOCK:
        if _SUPERBLOCK[word]:
            made["data"].append(_SUPERBLOCK[word])
    elif word:
        made["data"].append(word)
