"""`delete`: everything that a container leaves; one that runs only with --force."""

from agent.orchrun import ending, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed, NoContainer

OPTIONS = {"force,f": "flag"}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    container = call.container()
    is_forced = call.options.flag("force")
    try:
        record = call.record(container)
    except NoContainer:
        if not is_forced:
            raise
        if call.store.is_claimed(container):
            call.store.forget(container)  # its creation was cut short before anything was made
        return 0
    now = call.status(record)
    if now not in {state.STOPPED, state.CREATED} and not is_forced:
        raise Failed(f"cannot delete container {container} that is not stopped: {now}")
    ending.destroy(call, record)
    return 0
