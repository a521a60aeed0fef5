"""`python -m cli` and the command `orchctl`."""

import gc
import os
import sys
from typing import NoReturn

from cli import exits

_ALLOCATIONS_BEFORE_COLLECTION = 50_000
"""The usual 700 make the collector run dozens of times while modules are imported, for nothing."""


def main() -> NoReturn:
    """Runs the command line and ends the process."""
    gc.set_threshold(_ALLOCATIONS_BEFORE_COLLECTION)
    # gRPC's own words on stderr would come before ours; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from cli.main import cli

    code = exits.run(lambda: cli.main(prog_name="orchctl", standalone_mode=False))
    _end(code)


def _end(code: int) -> NoReturn:
    """At once: taking gRPC and the interpreter apart would take longer than most commands do."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            continue  # whoever read has seen enough
        except (OSError, ValueError):
            code = code or exits.NOT_SO
    os._exit(code)


if __name__ == "__main__":
    main()
