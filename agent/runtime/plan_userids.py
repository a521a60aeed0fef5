"""The user namespace of an OCI configuration: which ids inside are which outside (pure).

A `path` is a file of the user namespace itself, or of any other namespace: then its owner is meant. So a
network namespace that was made ahead of need brings its user namespace along.
"""

from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Plan = dict[str, Any]
    Ranges = Sequence[Sequence[int]]

_MOST_RANGES = 340
"""What the kernel takes since 4.15."""
OVERFLOW = 65534
"""What an id of outside that no id inside stands for looks like inside."""


def plan(config: "Mapping[str, Any]") -> "Plan":
    """{} for the host's own; else `path` ("": a new one), and `uid` and `gid` as [inside, outside, count] rows."""
    linux = config.get("linux") or {}
    entry = next((one for one in linux.get("namespaces") or [] if one.get("type") == "user"), None)
    rows = {
        kind: ranges(f"linux.{kind}Mappings", linux.get(f"{kind}Mappings") or []) for kind in ("uid", "gid")
    }
    if entry is None:
        if rows["uid"] or rows["gid"]:
            raise refusals.refused("linux.uidMappings", "needs a user namespace; add one to linux.namespaces")
        return {}
    if not any(one.get("type") == "mount" and not one.get("path") for one in linux["namespaces"]):
        why = "user needs a new mount namespace beside it; add one, or take the user namespace out"
        raise refusals.refused("linux.namespaces", why)
    path = entry.get("path") or ""
    for kind, found in rows.items():
        if not found and not path:
            raise refusals.refused(f"linux.{kind}Mappings", "is empty; a new user namespace needs it")
    made = {"path": path, **rows}
    _check_process(config.get("process") or {}, made)
    return made


def ranges(key: str, entries: "Sequence[Mapping[str, int]]") -> "list[list[int]]":
    """Rows as the kernel wants them; refuses what it would refuse without saying why."""
    if len(entries) > _MOST_RANGES:
        raise refusals.refused(key, f"has {len(entries)} ranges; the kernel takes {_MOST_RANGES}")
    made = [[one["containerID"], one["hostID"], one["size"]] for one in entries]
    for side, name in ((0, "containerID"), (1, "hostID")):
        end = -1
        for row in sorted(made, key=lambda one: one[side]):
            if row[2] < 1 or row[side] < 0 or row[side] + row[2] > (1 << 32) - 1:
                raise refusals.refused(key, f"{name} {row[side]} with size {row[2]} is no range of ids")
            if row[side] <= end:
                raise refusals.refused(key, f"two ranges have {name} {row[side]}")
            end = row[side] + row[2] - 1
    return made


def outside(rows: "Ranges", inside: int) -> int:
    """The id that the host knows; -1 when none stands for it."""
    for first, host, count in rows:
        if first <= inside < first + count:
            return host + inside - first
    return -1


def _check_process(process: "Mapping[str, Any]", made: "Plan") -> None:
    """A user that is not mapped cannot run: this is the rule for images whose user is above 65535."""
    user = process.get("user") or {}
    wanted = [("uid", "uid", user.get("uid", 0)), ("gid", "gid", user.get("gid", 0))]
    wanted += [("gid", "additionalGids", group) for group in user.get("additionalGids") or []]
    for kind, key, number in wanted:
        if made[kind] and outside(made[kind], number) < 0:
            last = max(first + count - 1 for first, _, count in made[kind])
            why = f"{number} is not in the container's user namespace, which ends at {last}"
            hint = "run as another user, or without a user namespace (security.userNamespace: false)"
            raise refusals.refused(f"process.user.{key}", f"{why}; {hint}")
