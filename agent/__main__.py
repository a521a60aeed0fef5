"""`orch-agent`."""

import os
import sys


def main() -> None:
    """Reads the command line and runs until told to end."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # read when grpc is imported; it tells of every hang-up
    from agent import main as program
    from agent import settings

    sys.exit(program.run(settings.read(sys.argv[1:])))


if __name__ == "__main__":
    main()
