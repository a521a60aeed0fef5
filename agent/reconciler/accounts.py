"""Who a container runs as: `user` of the service or image, looked up in the image's own files (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass


class UnknownUser(ValueError):
    """The image does not know the user or group."""


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers, as the kernel wants them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""


def find(user: str, passwd: str, group: str) -> Account:
    """`user`, `uid`, `user:group` or `uid:gid`; empty is root. `passwd` and `group` are texts of the files.

    As Docker does it: a number need not be listed; without a group the user's own and its further groups are
    taken.
    Raises UnknownUser.
    """
    name, colon, group_name = user.partition(":")
    entry = _user(name or "0", passwd)
    if entry is None and not _is_number(name or "0"):
        raise UnknownUser(
            f"user {name} is not in the image's /etc/passwd: name one that is, or give a number"
        )
    uid = int(entry[2]) if entry else int(name or "0")
    home = entry[5] if entry else "/"
    if colon and group_name:
        return Account(uid, _gid(group_name, group), (), home)
    gid = int(entry[3]) if entry else 0
    return Account(uid, gid, tuple(_groups_of(entry[0], group)) if entry else (), home)


def _user(name: str, passwd: str) -> list[str] | None:
    rows = [row for row in _rows(passwd, 7) if _is_number(row[2]) and _is_number(row[3])]
    by_name = next((row for row in rows if row[0] == name), None)
    return by_name or next((row for row in rows if row[2] == name), None)


def _gid(name: str, group: str) -> int:
    for row in _rows(group, 3):
        if name in {row[0], row[2]} and _is_number(row[2]):
            return int(row[2])
    if not _is_number(name):
        raise UnknownUser(
            f"group {name} is not in the image's /etc/group: name one that is, or give a number"
        )
    return int(name)


def _groups_of(user: str, group: str) -> Iterator[int]:
    for row in _rows(group, 4):
        if user in row[3].split(",") and _is_number(row[2]):
            yield int(row[2])


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= columns]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**32 - 1
