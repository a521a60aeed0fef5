"""Helper processes end with the agent that started them, whatever they do just then."""

import os
import select
import subprocess
import sys

import pytest

from agent.builds import workshop

PATIENCE_SECONDS = 60.0

AGENT = """
import subprocess, sys, time
helper = subprocess.Popen(sys.argv[1:], stdin=0)
print(helper.pid, flush=True)
time.sleep(600)
"""


def test_the_helper_of_a_build_is_killed_with_its_agent() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    paths = "\n".join(path for path in sys.path if path)
    read, write = os.pipe()  # that we hold its other end keeps the helper waiting for more
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, sys.executable, "-I", "-S", "-c", workshop._START, paths],
        stdin=read,
        stdout=subprocess.PIPE,
    )
    try:
        assert agent.stdout
        helper = os.pidfd_open(int(agent.stdout.readline()))
        _wait_until_it_reads(read, write)
        agent.kill()

        ended, _, _ = select.select([helper], [], [], PATIENCE_SECONDS)
        assert ended, "the helper goes on"
        os.close(helper)
    finally:
        agent.kill()
        agent.wait()
        assert agent.stdout
        agent.stdout.close()
        os.close(read)
        os.close(write)


def _wait_until_it_reads(read: int, write: int) -> None:
    """The pipe is empty again: the helper has begun, and is tied to the agent's life."""
    os.write(write, b"{")
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while poll.poll(0):
        select.select([], [], [], 0.01)
