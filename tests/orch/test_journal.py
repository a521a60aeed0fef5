"""What a log line looks like to people and to systemd."""

import logging
import os
import subprocess
import sys
from pathlib import Path

_SPEAK = """
import logging, os, sys
if sys.argv[1] == "journal":
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
from orch import journal
journal.begin(verbose=False)
logging.getLogger("room").warning("one\\ntwo")
logging.getLogger("room").info("three")
logging.getLogger("room").debug("never")
"""


def said(to: str, stream: str = "") -> list[str]:
    proto = Path(__file__).resolve().parents[2] / "proto"
    environment = {**os.environ, "PYTHONPATH": str(proto), "JOURNAL_STREAM": stream}
    command = [sys.executable, "-c", _SPEAK, to]
    return subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, check=True
    ).stderr.splitlines()


def test_the_journal_gets_the_urgency_of_every_line_and_no_time() -> None:
    assert said("journal") == ["<4>room: one", "<4>two", "<6>room: three"]


def test_people_get_the_time() -> None:
    first, second, third = said("people", stream="8:12345")
    assert first.endswith("WARNING room: one")
    assert first[:2] == "20"
    assert (second, third.endswith("INFO room: three")) == ("two", True)


def test_tracebacks_are_as_urgent_as_what_they_explain() -> None:
    from orch import journal

    try:
        int("no number")
    except ValueError:
        record = logging.LogRecord("room", logging.ERROR, "", 1, "bad", (), sys.exc_info())
    lines = journal.ForTheJournal().format(record).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)
