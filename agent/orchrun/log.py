"""Where errors go: standard error, or the file that the caller reads, as a line of text or of JSON.

containerd and conmon read the last line at level "error" and show its message to the user.
"""

import os
import time

from agent.orchrun import jsontext
from agent.orchrun.errors import Misused


class Log:
    def __init__(self, path: str, form: str, *, debug: bool) -> None:
        if form not in {"text", "json"}:
            raise Misused(f"unknown log-format {form!r}; use text or json")
        self.is_file = path not in {"", "/dev/stderr"}
        self._form = form
        self._debug = debug
        self._fd = 2
        if self.is_file:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def debug(self, message: str) -> None:
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Also on standard error, where somebody may be looking."""
        self._write("error", message)
        if self.is_file:
            os.write(2, f"{message}\n".encode())

    def _write(self, level: str, message: str) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            line = jsontext.dumps({"level": level, "msg": message, "time": at})
        else:
            line = f'time="{at}" level={level} msg={jsontext.dumps(message)}'
        os.write(self._fd, f"{line}\n".encode())
