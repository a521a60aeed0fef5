"""A fourth machine on a dev cluster's LAN: joined by hand, as an operator does it."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from cli.dev import cluster as clusters
from cli.dev import lan, processes, sweep
from tests.support.dev import PATIENCE_SECONDS, Dev


@contextlib.contextmanager
def a_machine(cluster: Dev) -> Iterator[clusters.DevNode]:
    """A fourth machine on the LAN, with nothing on it."""
    node = cluster.cluster.node(4)
    lan.connect(cluster.cluster, node)
    try:
        yield node
    finally:
        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        sweep.kill_payloads(node.cgroup)
        sweep.remove_cgroups(node.cgroup)
        sweep.remove_directory(node.run)
        lan.disconnect(cluster.cluster, node)
        shutil.rmtree(node.state, ignore_errors=True)


def join(
    cluster: Dev, node: clusters.DevNode, token: str = "", *, more: Sequence[str] = (), wait: bool = True
) -> str:
    """Start its agent with this token; what it said by the time it is ready, or when it has ended."""
    command = processes.agent_command(cluster.cluster, node)
    where = command.index("--token-file")
    if token:
        command[where : where + 2] = ["--token", token]
    command += more
    log = cluster.work / "node-4.log"
    log.write_text("")
    process = processes.start(cluster.cluster.name, node.name, command, netns=node.netns_path, log=log)
    if wait:
        processes.wait_for_line(process, log, "is ready", "the agent")
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=PATIENCE_SECONDS)
        assert process.poll(), f"an agent with a bad token goes on: {log.read_text()}"
    return log.read_text()
