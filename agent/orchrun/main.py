"""orchrun: reads the options before the command, runs it, and turns what fails into a line and an exit code."""

import os
import sys

from agent.orchrun import call, failure, log, options
from agent.orchrun.errors import Failed, Misused
from agent.runtime import handshake, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_VERBS = {
    "create": ("create", "create a container"),
    "start": ("start", "run the program of a created container"),
    "run": ("run", "create and start a container, and wait for it unless detached"),
    "exec": ("execute", "run another program in a container"),
    "state": ("state", "print the state of a container as JSON"),
    "kill": ("kill", "send a signal (TERM unless named) to a container"),
    "delete": ("delete", "remove what a container leaves"),
    "list": ("listing", "list the containers below --root"),
    "ps": ("ps", "show the processes in a container"),
    "pause": ("pause", "freeze all processes of a container"),
    "resume": ("resume", "let the processes of a paused container go on"),
    "update": ("update", "change the limits of a container"),
    "events": ("events", "print usage and out-of-memory events as JSON"),
    "spec": ("spec", "write a config.json to begin with"),
    "features": ("features", "print what this runtime knows, as JSON"),
}
_VERSION = "1.0.2"
_EXEC_FAILED = 255
"""What runc exits with when `exec` itself fails: callers tell it from the codes of the program."""


def main() -> "NoReturn":
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code. No traceback reaches a caller: it would be parsed as the runtime's own words."""
    journal = log.Log("", "text", debug=False)
    verb = ""
    try:
        given, rest = options.parse(arguments, call.GLOBAL, mixed=False)
        journal = log.Log(given.text("log"), given.text("log-format") or "text", debug=given.flag("debug"))
        if given.flag("version"):
            return _print(_version())
        if not rest or given.flag("help") or rest[0] in {"help", "h"}:
            return _print(_help())
        verb = rest[0]
        return _run(verb, rest[1:], call.Call(given, journal, verb))
    except Failed as failed:
        journal.error(_told(verb, failed.message))
        return _EXEC_FAILED if verb == "exec" and not isinstance(failed, Misused) else failed.code
    except (refusals.LaunchFailed, handshake.StepFailed) as refusal:
        journal.error(_told(verb, failure.of(refusal.step, refusal.message).message))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        journal.error(_told(verb, f"{where}{(error.strerror or str(error)).lower()}"))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        journal.error(_told(verb, f"{type(error).__name__}: {error}; this is a fault in orchrun"))
        _trace(journal)
    return _EXEC_FAILED if verb == "exec" else 1


def _run(verb: str, arguments: list[str], made: call.Call) -> int:
    if verb not in _VERBS:
        raise Misused(f"unknown command {verb!r}; orchrun --help lists them", 3)
    module = _command(_VERBS[verb][0])
    table = {**module.OPTIONS, "help": "flag"}
    made.options, made.arguments = options.parse(arguments, table, mixed=getattr(module, "MIXED", True))
    if made.options.flag("help"):
        return _print(_usage(verb, module))
    code: int = module.run(made)
    return code


def _command(name: str) -> "Any":
    module = __import__(f"agent.orchrun.commands.{name}")
    for part in ("orchrun", "commands", name):
        module = getattr(module, part)
    return module


def _told(verb: str, message: str) -> str:
    """In runc's form where callers see it most."""
    words = {"create": "orchrun create failed: ", "run": "orchrun run failed: ", "exec": "exec failed: "}
    return words.get(verb, "") + message


def _print(text: str) -> int:
    os.write(1, text.encode())
    return 0


def _version() -> str:
    return f"orchrun version 0.1.0\nspec: {_VERSION}\n"


def _help() -> str:
    verbs = "\n".join(f"   {verb:<10}{about}" for verb, (_, about) in _VERBS.items())
    given = "\n".join(f"   --{key.replace(',', ', -')}" for key in call.GLOBAL)
    return (
        "orchrun - the runtime of orch for callers of runc and crun\n\n"
        "USAGE:\n   orchrun [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{verbs}\n\nGLOBAL OPTIONS:\n{given}\n"
    )


def _usage(verb: str, module: "Any") -> str:
    given = "\n".join(
        f"   --{key.replace(',', ', -')}{'' if kind == 'flag' else ' value'}"
        for key, kind in module.OPTIONS.items()
    )
    return (
        f"orchrun {verb} - {_VERBS[verb][1]}\n\n"
        f"USAGE:\n   orchrun {verb} [options] {module.ARGUMENTS}\n\nOPTIONS:\n{given or '   none'}\n"
    )


def _trace(journal: log.Log) -> None:
    import traceback

    journal.debug(traceback.format_exc())
