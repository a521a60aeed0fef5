"""How the programs write their logs: for people, or for systemd's journal, which has the time and wants the urgency."""

import logging
import os
import sys

_FOR_PEOPLE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FOR_THE_JOURNAL = "%(name)s: %(message)s"
_URGENCY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def begin(*, verbose: bool) -> None:
    """To standard error, whatever that is."""
    handler = logging.StreamHandler(sys.stderr)
    is_journal = _is_journal(os.environ.get("JOURNAL_STREAM", ""))
    handler.setFormatter(ForTheJournal() if is_journal else logging.Formatter(_FOR_PEOPLE))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class ForTheJournal(logging.Formatter):
    """Each line with how urgent it is, as sd-daemon(3) wants it."""

    def __init__(self) -> None:
        super().__init__(_FOR_THE_JOURNAL)

    def format(self, record: logging.LogRecord) -> str:
        """All lines of a traceback are as urgent as the first."""
        urgency = next((number for level, number in _URGENCY if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{urgency}>{line}" for line in super().format(record).splitlines())


def _is_journal(stream: str) -> bool:
    """Whether standard error is what systemd named, and not a file that came later."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
