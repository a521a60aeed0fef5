"""`create`: everything up to the program itself, which waits for `start`."""

from agent.orchrun import making
from agent.orchrun.call import Call

OPTIONS = making.OPTIONS
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    made = making.make(call, call.container(), waits=True)
    made.write_pid_file()
    return 0
