"""`python -m cli` and the command `orchctl`."""

import os
import sys

from cli import exits


def main() -> int:
    """The exit code of the command line."""
    # gRPC's own words on stderr would come before ours; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from cli.main import cli

    return exits.run(lambda: cli.main(prog_name="orchctl", standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
