"""`ps`: the processes in a container, by pid, or as the host's ps shows them."""

import os
import subprocess

from agent.orchrun import jsontext
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed, Misused

OPTIONS = {"format,f": "text"}
ARGUMENTS = "<container-id> [ps options]"
MIXED = False


def run(call: Call) -> int:
    call.expect(1, None)
    record = call.record(call.arguments[0])
    if not record["group"]:
        raise Failed("ps needs the container's cgroup, and it was made with --cgroup-manager disabled")
    pids = call.cgroups.tree_pids(record["group"])
    match call.options.text("format") or "table":
        case "json":
            os.write(1, f"{jsontext.dumps(pids)}\n".encode())
        case "table":
            os.write(1, _table(pids, call.arguments[1:] or ["-ef"]).encode())
        case form:
            raise Misused(f"invalid format option: {form}; use table or json")
    return 0


def _table(pids: list[int], arguments: list[str]) -> str:
    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed("ps: not found on this machine; install procps, or use --format json") from None
    if done.returncode:
        raise Failed(f"ps {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    head, *lines = done.stdout.splitlines()
    columns = head.split()
    if "PID" not in columns:
        raise Failed(f"ps {' '.join(arguments)}: shows no PID column")
    place = columns.index("PID")
    ours = [line for line in lines if _pid(line, place) in pids]
    return "".join(f"{line}\n" for line in [head, *ours])


def _pid(line: str, place: int) -> int:
    fields = line.split()
    return int(fields[place]) if len(fields) > place and fields[place].isdigit() else 0
