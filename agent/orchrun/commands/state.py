"""`state`: what the specification's query operation answers."""

import os

from agent.orchrun import jsontext, state
from agent.orchrun.call import Call

OPTIONS: dict[str, str] = {}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    record = call.record(call.container())
    os.write(1, jsontext.dumps(state.shown(record, call.status(record)), "  ").encode())
    return 0
