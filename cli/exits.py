"""Error → message and exit code: the one place."""

import sys
from collections.abc import Callable, Sequence

OK = 0
NOT_SO = 1
"""What was asked for did not come true (a rollout failed, a wait timed out); of `diff`: there are changes."""
WRONG = 2
"""The command line or a manifest is wrong, or the control plane found it so."""
UNREACHABLE = 3
"""No control plane answers, or no cluster is known."""
REFUSED = 4
"""The control plane said no: there is no such object, it is not allowed, someone else changed it."""
BROKEN = 70
"""A mistake of this program."""
INTERRUPTED = 130


class NotSo(Exception):
    """What was asked for did not come true; the message says why and what to do."""


class Missing(Exception):
    """There is no such object; the message says which, and where to look."""


class Wrong(Exception):
    """The command makes no sense; the message says what to write."""


def run(command: Callable[[], object]) -> int:
    """The exit code of a command; what went wrong is said on stderr."""
    out = sys.stdout
    try:
        found = command()
    except BaseException as error:
        if isinstance(error, SystemExit) and sys.stdout is not out:
            return OK  # click puts something else there when whoever read has seen enough
        if type(error).__name__ == "NoArgsIsHelpError":  # a command that has commands, and was given none
            sys.stdout.write(f"{getattr(error, 'message', '')}\n")
            return OK
        code, message = told(error)
        if message:
            sys.stderr.write(message.rstrip("\n") + "\n")
        return code
    return found if isinstance(found, int) else OK


def told(error: BaseException) -> tuple[int, str]:
    """Exit code and message. Names, not classes, are compared: most runs need not import what raises them."""
    name = type(error).__name__
    match name:
        case "SystemExit":
            code = getattr(error, "code", 0)
            return (code if isinstance(code, int) else NOT_SO), "" if isinstance(code, int | None) else str(
                code
            )
        case "Exit":
            return int(getattr(error, "exit_code", 0)), ""
        case "KeyboardInterrupt" | "Abort":
            return INTERRUPTED, ""
        case "BrokenPipeError":
            return OK, ""
        case "NotSo" | "DevError":
            return NOT_SO, str(error)
        case "Wrong" | "NothingKnown":
            return WRONG, f"error: {error}"
        case "ManifestError":
            return WRONG, f"{error}\nnothing was applied: {_count(error)} to mend"
        case "Unreachable":
            return UNREACHABLE, f"error: {error}"
        case "ContextError":
            return UNREACHABLE, f"error: {error}"
        case "Missing":
            return REFUSED, f"error: {error}"
        case "Refused":
            return _refused(error)
    if hasattr(error, "format_message"):
        return WRONG, _usage(error)
    if isinstance(error, OSError):
        return WRONG, f"error: {error.filename or ''}: {error.strerror or error}"
    return BROKEN, _broken(error)


def _refused(error: BaseException) -> tuple[int, str]:
    code = getattr(error, "code", "")
    if code == "INVALID_ARGUMENT":
        return WRONG, f"error: {error}"
    if code == "UNAVAILABLE":
        return UNREACHABLE, f"error: {error}"
    if code == "UNIMPLEMENTED":
        return REFUSED, f"error: the control plane cannot do this; is it older than this orchctl? ({error})"
    return REFUSED, f"error: {error}"


def _count(error: BaseException) -> str:
    count = len(getattr(error, "problems", ()))
    return "1 problem" if count == 1 else f"{count} problems"


def _usage(error: BaseException) -> str:
    """A mistake on the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else " ".join(["orchctl", *_command(sys.argv[1:])])
    return f"error: {error.format_message()}\nsee: {path} --help"  # type: ignore[attr-defined]


def _command(words: Sequence[str]) -> Sequence[str]:
    """The command, for errors that do not know it."""
    return words[:1] if words and not words[0].startswith("-") else ()


def _broken(error: BaseException) -> str:
    import traceback

    trace = "".join(traceback.format_exception(error))
    return (
        f"{trace}error: orchctl itself failed: {type(error).__name__}: {error}; please report the lines above"
    )
