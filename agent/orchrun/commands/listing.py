"""`list`: every container below --root."""

import os
import pwd

from agent.orchrun import jsontext, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Misused, NoContainer

OPTIONS = {"format,f": "text", "quiet,q": "flag"}
ARGUMENTS = ""

_HEAD = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_LEAST_WIDTH = 10


def run(call: Call) -> int:
    call.expect(0, 0)
    form = call.options.text("format") or "table"
    if form not in {"table", "json"}:
        raise Misused(f"invalid format option: {form}; use table or json")
    found = list(_containers(call))
    if call.options.flag("quiet"):
        text = "".join(f"{one['id']}\n" for one in found)
    elif form == "json":
        text = jsontext.dumps(found or None) + "\n"  # null, as runc says it
    else:
        text = _table(found)
    os.write(1, text.encode())
    return 0


def _containers(call: Call) -> "list[dict[str, object]]":
    found = []
    for name in call.store.names():
        try:
            record = call.record(name)
        except NoContainer:
            continue  # being made, or deleted since we looked
        found.append(state.shown(record, call.status(record)) | {"owner": _owner(call.store.path(name))})
    return found


def _owner(path: str) -> str:
    try:
        uid = os.stat(path).st_uid
    except FileNotFoundError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _table(found: "list[dict[str, object]]") -> str:
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    rows = [_HEAD, *(tuple(str(one[key]) for key in keys) for one in found)]
    widths = [max(_LEAST_WIDTH, *(len(row[column]) for row in rows)) + 2 for column in range(len(_HEAD))]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "".join(f"{line.rstrip()}\n" for line in lines)
