"""The life of a dev cluster: up, down, and its nodes killed and started again."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli import context
from cli.dev import cluster as clusters
from cli.dev import lan, processes, sweep
from cli.dev.cluster import DevCluster, DevNode

READY = "ready"
"""The word that a program of ours says when it serves."""

_NEEDED = {
    "etcd": "etcd-server",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
}


class DevError(Exception):
    """A sentence for the user: what is wrong with the dev cluster and what to do."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One line of `dev status`."""

    part: str
    address: str
    pids: tuple[int, ...]


def up(
    name: str,
    nodes: int,
    *,
    registry: bool,
    say: Callable[[str], None],
    segments: int = 1,
    network_mode: str = "auto",
) -> DevCluster:
    """Bring up a whole cluster and make it the user's context. What a failed start made is taken away again."""
    _check_name(name)
    _check_machine(registry=registry)
    with _lock():
        if clusters.load(name):
            raise DevError(f"dev cluster {name!r} is up already; see: orchctl dev status --name {name}")
        made = DevCluster(name, clusters.free_index(), nodes, registry, segments, network_mode)
        made.save()
        _mount_run(made)
    try:
        lan.lay(made)
        _start_all(made, say)
    except RuntimeError as error:  # of `ip`, or of a program that did not get up: it says enough
        down(made)
        raise DevError(f"{error}\nall that was made is taken away again") from None
    except BaseException:
        down(made)
        raise
    return made


def _check_name(name: str) -> None:
    """It becomes part of names of namespaces, directories and cgroups."""
    from orch.model.names import check_name

    try:
        check_name(name)
    except ValueError as error:
        raise DevError(f"--name: {error}") from None
    if len(name) > clusters.LONGEST_NAME:
        raise DevError(f"--name: {name!r} has more than {clusters.LONGEST_NAME} letters")


def down(cluster: DevCluster) -> None:
    """Take everything of the cluster away: processes, namespaces, links, mounts, cgroups, directories, context."""
    _kill_all(cluster.name, "", cluster.cgroup)
    lan.remove(cluster)
    sweep.remove_cgroups(cluster.cgroup)
    sweep.remove_directory(cluster.state)
    context.remove(context_name(cluster.name))
    sweep.remove_directory(cluster.run)
    if not clusters.load_all():
        sweep.remove_empty_cgroup("orch-dev")
        lan.remove_netns_mount()
        for root in (clusters.STATE_ROOT, clusters.RUN_ROOT):
            with contextlib.suppress(OSError):
                (root / "lock").unlink(missing_ok=True)
                root.rmdir()


def kill_node(cluster: DevCluster, node: DevNode) -> None:
    """As if the machine lost its power: every process at once, and all that a reboot would forget."""
    _kill_all(cluster.name, node.name, node.cgroup)
    lan.disconnect(cluster, node)
    sweep.remove_cgroups(node.cgroup)
    sweep.remove_directory(node.run)


def _kill_all(cluster: str, part: str, cgroup: str) -> None:
    """Whatever was started while its parent was being killed is found when we look again."""
    while found := {*processes.marked(cluster, part), *sweep.payloads(cgroup)}:
        processes.kill(sorted(found))


def start_node(cluster: DevCluster, node: DevNode) -> None:
    """Start a node that was killed; its state directory is as it was."""
    if any(processes.marked(cluster.name, node.name)):
        raise DevError(f"{node.name} of dev cluster {cluster.name!r} runs already")
    if not lan.is_laid(node.netns):
        lan.connect(cluster, node)
    restart_agent(cluster, node)


def restart_agent(cluster: DevCluster, node: DevNode) -> None:
    """Start only the agent of a node; what it left running is not touched."""
    _finish_agent(cluster, node, *_begin_agent(cluster, node))


def restart_control(cluster: DevCluster) -> None:
    """Start the control plane again, on the store that it left."""
    _start_control(cluster)


def status(cluster: DevCluster) -> list[PartStatus]:
    """Each part of the cluster, where it is, and the pids of its processes."""
    parts = [("control", cluster.control_address)]
    if cluster.has_registry:
        parts.append(("registry", cluster.registry_address))
    parts += [(node.name, node.address) for node in cluster.all_nodes]
    return [
        PartStatus(part, where, tuple(sorted(processes.marked(cluster.name, part)))) for part, where in parts
    ]


def context_name(cluster: str) -> str:
    """The context of a dev cluster: `dev` for the usual one."""
    return cluster if cluster == "dev" else f"dev-{cluster}"


def log_of(cluster: DevCluster, part: str) -> Path:
    """Where a part's own output goes."""
    return cluster.state / "logs" / f"{part}.log"


def _start_all(cluster: DevCluster, say: Callable[[str], None]) -> None:
    if cluster.has_registry:
        _start_registry(cluster)
    _start_control(cluster)
    say(f"control plane  {cluster.control_address}")
    _write_context(cluster)
    begun = [(node, *_begin_agent(cluster, node)) for node in cluster.all_nodes]
    for node, process, offset in begun:
        _finish_agent(cluster, node, process, offset)
        say(f"{node.name:<14} {node.address}")


def _begin_agent(cluster: DevCluster, node: DevNode) -> tuple[subprocess.Popen[bytes], int]:
    log = log_of(cluster, node.name)
    offset = log.stat().st_size if log.exists() else 0
    command = processes.agent_command(cluster, node)
    return processes.start(cluster.name, node.name, command, netns=node.netns_path, log=log), offset


def _finish_agent(cluster: DevCluster, node: DevNode, process: subprocess.Popen[bytes], offset: int) -> None:
    processes.wait_for_line(process, log_of(cluster, node.name), READY, f"the agent of {node.name}", offset)


def _start_control(cluster: DevCluster) -> None:
    log = log_of(cluster, "control")
    offset = log.stat().st_size if log.exists() else 0
    command = processes.control_command(cluster)
    control = processes.start(cluster.name, "control", command, netns=cluster.lan_path, log=log)
    processes.wait_for_line(control, log, READY, "the control plane", offset)


def _start_registry(cluster: DevCluster) -> None:
    directory = cluster.state / "registry"
    directory.mkdir(parents=True, exist_ok=True)
    configuration = cluster.state / "registry.yml"
    configuration.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{cluster.registry_address}'}}\n"
    )
    processes.start(
        cluster.name,
        "registry",
        ["docker-registry", "serve", str(configuration)],
        netns=cluster.lan_path,
        log=log_of(cluster, "registry"),
    )


def _mount_run(cluster: DevCluster) -> None:
    """Memory, as /run is on a real machine: what a node keeps there must not cost a disk's time."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "orch-dev", str(cluster.run)], check=True)
    cluster.save()


def _write_context(cluster: DevCluster) -> None:
    state = cluster.control_state
    name = context_name(cluster.name)
    context.save(
        name,
        addresses=[f"{cluster.control_address}:{clusters.SESSION_PORT}"],
        ca=state / "ca.crt",
        certificate=state / "admin.crt",
        key=state / "admin.key",
    )
    context.use(name)


def _check_machine(*, registry: bool) -> None:
    if os.geteuid() != 0:
        raise DevError(
            "orchctl dev makes network namespaces and mounts, which needs root; try: sudo orchctl dev up"
        )
    needed = _NEEDED | ({"docker-registry": "docker-registry"} if registry else {})
    missing = sorted({package for program, package in needed.items() if not shutil.which(program)})
    if missing:
        raise DevError(f"not installed: {', '.join(missing)}; try: apt install {' '.join(missing)}")


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Two `dev up` at once must not take the same index."""
    clusters.RUN_ROOT.mkdir(parents=True, exist_ok=True)
    with (clusters.RUN_ROOT / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
