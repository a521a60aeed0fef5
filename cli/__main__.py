"""`python -m cli` and the command `orchctl`."""

import sys

from cli import exits


def main() -> int:
    """The exit code of the command line."""
    from cli.main import cli

    return exits.run(lambda: cli.main(prog_name="orchctl", standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
