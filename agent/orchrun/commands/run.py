"""`run`: create and start in one, then wait in the foreground, or leave it running."""

from agent.orchrun import ending, foreground, making, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Misused
from agent.runtime import births, hooks

OPTIONS = {**making.OPTIONS, "detach,d": "flag", "keep": "flag", "no-subreaper": "flag"}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    container = call.container()
    is_detached = call.options.flag("detach")
    if call.options.text("console-socket") and not is_detached:
        raise Misused("cannot use console socket if orchrun will not detach or allocate tty")
    if not is_detached and not call.options.flag("no-subreaper"):
        foreground.become_reaper()
    watches: list[foreground.Foreground] = []

    def watch(birth: births.Birth) -> None:
        if not is_detached:
            watches.append(foreground.Foreground(birth.pid, birth.pidfd))

    made = making.make(call, container, waits=False, on_birth=watch)
    try:
        made.write_pid_file()
        for problem in hooks.run_all("poststart", made.plan["hooks"], state.told(made.record, state.RUNNING)):
            call.log.warning(problem)
        if is_detached:
            return 0
        code = watches[0].wait(made.birth.terminal)
    except BaseException:
        ending.destroy(call, made.record)
        raise
    if not call.options.flag("keep"):
        ending.destroy(call, made.record)
    return code
