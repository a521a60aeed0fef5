"""Runs the hooks of a container: each gets the state as JSON on its standard input, and a bounded time.

By the kind, in the order given; the first that fails ends it. Used by whoever creates and deletes (prestart,
createRuntime, poststart, poststop) and by the child on its way (createContainer, startContainer).
"""

import _json
import os
import select
import time

from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Hook = dict[str, Any]
    State = dict[str, Any]

_SIGKILL = 9
_MOST_SAID_BYTES = 4096
_LAST_RESORT = 255
_MOST_DESCRIPTORS = 0x7FFFFFFF


def run(kind: str, hooks: "dict[str, list[Hook]]", state: "State") -> None:
    """StepFailed names the hook and says what it said. Only in a process with a single thread."""
    for hook in hooks.get(kind, ()):
        _run(kind, hook, encode(state))


def run_all(kind: str, hooks: "dict[str, list[Hook]]", state: "State") -> "list[str]":
    """For poststart and poststop: each is run, whatever the others did; what went wrong, as sentences."""
    problems = []
    for hook in hooks.get(kind, ()):
        try:
            _run(kind, hook, encode(state))
        except handshake.StepFailed as failure:
            problems.append(failure.message)
    return problems


def encode(value: "Any") -> bytes:
    """JSON of what a state holds; the module json would cost the helpers a megabyte."""
    return _encode(value).encode()


def _encode(value: "Any") -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_encode(one)}" for key, one in value.items()) + "}"
    return _text(value) if isinstance(value, str) else str(int(value))


def _text(text: str) -> str:
    quoted: str = _json.encode_basestring_ascii(text)
    return quoted


def _run(kind: str, hook: "Hook", state: bytes) -> None:
    what = f"{kind} hook {hook['path']}"
    stdin_read, stdin = os.pipe()
    said, stdout_write = os.pipe()
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        _become(hook, stdin_read, stdout_write)
    os.close(stdin_read)
    os.close(stdout_write)
    try:
        text, is_late = _converse(pidfd, stdin, said, state, hook["timeout"])
        if is_late:
            _kill_session(pid)
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(said)
    why = f"; it said: {text}" if text else ""
    if is_late:
        raise handshake.StepFailed(
            "hook", f"{what}: took longer than its timeout of {hook['timeout']} s{why}"
        )
    if status:
        code = os.waitstatus_to_exitcode(status)
        ended = f"exited with {code}" if code >= 0 else f"was killed by signal {-code}"
        raise handshake.StepFailed("hook", f"{what}: {ended}{why}")


def _kill_session(pid: int) -> None:
    """With whatever it has started; what it left behind in good time may go on."""
    try:
        os.killpg(pid, _SIGKILL)
    except ProcessLookupError:
        os.kill(pid, _SIGKILL)  # it has not come as far as a session of its own


def _become(hook: "Hook", stdin: int, stdout: int) -> None:
    try:
        os.setsid()
        for fd, number in ((stdin, 0), (stdout, 1), (stdout, 2)):
            os.dup2(fd, number)
        syscalls.default_signal(13)
        syscalls.close_range(3, _MOST_DESCRIPTORS)
        os.execve(hook["path"], hook["args"], hook["env"])
    except OSError as error:
        os.write(2, f"{hook['path']}: {error.strerror}".encode())
    finally:
        os._exit(_LAST_RESORT)


def _converse(pidfd: int, stdin: int, said: int, state: bytes, timeout: "float | None") -> "tuple[str, bool]":
    """Give it the state, take what it says, and wait for its end or its time; (its words, was it late)."""
    deadline = time.monotonic() + timeout if timeout else None
    os.set_blocking(stdin, False)
    os.set_blocking(said, False)
    poll = select.poll()
    for fd, events in ((pidfd, select.POLLIN), (stdin, select.POLLOUT), (said, select.POLLIN)):
        poll.register(fd, events)
    text = b""
    is_late = is_over = False
    while not (is_over or is_late):
        left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
        ready = poll.poll(left)
        is_late = not ready
        for fd, _ in ready:
            if fd == pidfd:
                is_over = True
            elif fd == said:
                chunk = _read(said)
                text = (text + chunk)[-_MOST_SAID_BYTES:]
                if not chunk:
                    poll.unregister(said)
            else:
                state = _feed(stdin, state)
                if not state:
                    poll.unregister(stdin)
                    os.close(stdin)
                    stdin = -1
    if stdin >= 0:
        os.close(stdin)
    text += _read(said)
    return text.decode("utf-8", "replace").strip(), is_late


def _feed(stdin: int, state: bytes) -> bytes:
    """What is left to say; a hook that does not listen is left alone."""
    try:
        return state[os.write(stdin, state) :]
    except BlockingIOError:
        return state
    except BrokenPipeError:
        return b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _MOST_SAID_BYTES)
    except BlockingIOError:
        return b""
