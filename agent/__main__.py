"""`orch-agent`."""

import sys


def main() -> None:
    """Reads the command line and runs until told to end."""
    from agent import main as program
    from agent import settings

    sys.exit(program.run(settings.read(sys.argv[1:])))


if __name__ == "__main__":
    main()
