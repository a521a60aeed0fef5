"""orchctl kept warm, for tests that look often: the same code, started once. What a test is about it runs itself.

`python -m tests.support.looking` answers each line, a list of arguments, with a line: exit code and output.
"""

import contextlib
import io
import json
import os
import select
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 60


class Looking:
    """A process of its own: gRPC and tests that fork do not go together."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.looking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"ORCH_CONFIG": str(config), "PYTHONPATH": f"{ROOT}:{ROOT}/proto"},
        )

    def at(self, *arguments: str) -> str:
        """What `orchctl` prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], MOST_SECONDS)
        assert ready, f"orchctl {' '.join(arguments)} has no answer"
        code, said = json.loads(self._process.stdout.readline())
        assert code == 0, f"orchctl {' '.join(arguments)} ended with {code}: {said}"
        return str(said)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _answer() -> None:
    os.environ["GRPC_VERBOSITY"] = "NONE"
    from cli import exits
    from cli.main import cli

    for line in sys.stdin:
        arguments = json.loads(line)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = exits.run(lambda: cli.main(arguments, "orchctl", standalone_mode=False))  # noqa: B023
        print(json.dumps([code, (err if code else out).getvalue()]), flush=True)  # noqa: T201


if __name__ == "__main__":
    _answer()
