"""`create`: everything up to the program itself, which waits for `start`."""

from agent.orchrun import ending, making
from agent.orchrun.call import Call

OPTIONS = making.OPTIONS
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    made = making.make(call, call.container(), waits=True)
    try:
        made.write_pid_file()
    except BaseException:
        ending.destroy(call, made.record)  # whoever cannot learn its pid cannot use it
        raise
    return 0
