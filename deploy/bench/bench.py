"""`make bench`: what a user waits for, on a dev cluster of this machine.

Times run from receipt by the API to the payload's exec, or to the last clean-up, as the nodes report them: the clock is
one, since all nodes are of this machine.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cli.dev import cluster as clusters
from cli.dev import life, processes
from deploy.bench import figures, observer
from deploy.bench.figures import Figure
from deploy.demo import images

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5


def main() -> None:
    """Measure everything; the exit code says nothing of goals, the table does."""
    found: list[Figure] = []
    with _cluster("bench1", 1) as (cluster, user, image):
        found += _starts(user, image)
        found.append(_rolling(user, image))
        found.append(_restart(user, image))
        found += _memory(cluster, user, image)
        found += _commands()
    with _cluster("bench3", 3) as (cluster, user, image):
        found.append(_three_nodes(user, image))
        found.append(_node_loss(cluster, user, image))
    found += [_scheduler(), _simulated()]
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench.json")


def of_one_node() -> list[Figure]:
    """What is compared with others: starts, deletions, a rolling update and restarts, on one node."""
    with _cluster("bench1", 1) as (_, user, image):
        return [*_starts(user, image), _rolling(user, image), _restart(user, image)]


@contextlib.contextmanager
def _cluster(name: str, nodes: int) -> Iterator[tuple[clusters.DevCluster, observer.Observer, str]]:
    left = clusters.load(name)
    if left:
        life.down(left)
    cluster = life.up(name, nodes, registry=True, say=lambda line: print(line, file=sys.stderr))
    user = observer.Observer(f"{cluster.control_address}:{clusters.SESSION_PORT}", cluster.control_state)
    try:
        first, second = (images.push_web(cluster.registry_address, f"bench:{tag}") for tag in ("1", "2"))
        for image in (first, second):
            user.apply("warm", 3 * nodes, image)
            user.wait_running("warm", 3 * nodes, image)
        user.delete("warm")
        user.wait_gone("warm")
        yield cluster, user, first
    finally:
        user.close()
        life.down(cluster)


def _starts(user: observer.Observer, image: str) -> list[Figure]:
    goals = {1: 0.08, 10: 0.35, 50: 1.2}
    found = []
    deletes: list[float] = []
    for count, goal in goals.items():
        samples = []
        for _ in range(ROUNDS if count < 50 else 3):
            began = user.apply("web", count, image)
            samples.append(max(view.status.started_at for view in user.wait_running("web", count)) - began)
            ended = user.delete("web")
            user.wait_gone("web")
            if count == 10 and (cleaned := _last_clean_up(user, "web")) > ended:
                deletes.append(cleaned - ended)  # else their last words were not seen: they went at once
            _settle(user, "web")
        found.append(Figure(f"apply {count} → running", "s", goal, tuple(samples)))
    return [*found, Figure("delete 10 → nothing left", "s", 0.5, tuple(deletes))]


def _three_nodes(user: observer.Observer, image: str) -> Figure:
    samples = []
    for _ in range(ROUNDS):
        began = user.apply("web", 30, image)
        samples.append(max(view.status.started_at for view in user.wait_running("web", 30)) - began)
        user.delete("web")
        user.wait_gone("web")
        _settle(user, "web")
    return Figure("30 over three nodes of one machine", "s", 0.8, tuple(samples))


def _rolling(user: observer.Observer, image: str) -> Figure:
    samples = []
    versions = [image, image.rsplit(":", 1)[0] + ":2"]
    user.apply("roll", 20, versions[0], **observer.ROLLOUT_FIVE_AT_A_TIME)
    user.wait_running("roll", 20, versions[0])
    user.wait("the first rollout done", lambda: user.services["roll"].rollout.phase == "done")
    for number in range(3):
        new = versions[(number + 1) % 2]
        began = user.apply("roll", 20, new, **observer.ROLLOUT_FIVE_AT_A_TIME)
        user.wait_running("roll", 20, new)
        user.wait(
            "the old ones gone",
            lambda new=new: all(  # type: ignore[misc]
                view.image.partition("@")[0] == new or view.state >= 8
                for view in user.tasks.values()
                if view.task.id.service == "roll"
            ),
        )
        last_start = max(view.status.started_at for view in user.wait_running("roll", 20, new))
        samples.append(max(last_start, _last_clean_up(user, "roll")) - began)
    user.delete("roll")
    user.wait_gone("roll")
    _settle(user, "roll")
    return Figure("rolling update of 20, five at a time", "s", 2.0, tuple(samples))


def _restart(user: observer.Observer, image: str) -> Figure:
    samples = []
    for _ in range(ROUNDS):
        user.apply("web", 1, image)
        before = user.wait_running("web", 1)[0]
        killed = time.time()
        os.kill(before.status.containers[0].pid, signal.SIGKILL)
        user.wait(
            "the restart",
            lambda killed=killed: any(  # type: ignore[misc]
                v.status.started_at > killed and v.ready for v in user.of("web")
            ),
        )
        samples.append(user.of("web")[0].status.started_at - killed)
        user.delete("web")
        user.wait_gone("web")
        _settle(user, "web")
    return Figure("container killed → running again", "s", 0.1, tuple(samples))


def _node_loss(cluster: clusters.DevCluster, user: observer.Observer, image: str) -> Figure:
    samples = []
    for _ in range(2):
        user.apply("ha", 9, image)
        views = user.wait_running("ha", 9)
        node = next(node for node in cluster.all_nodes if node.name == views[0].task.node)
        killed = time.time()
        life.kill_node(cluster, node)
        user.wait(
            "the tasks elsewhere",
            lambda node=node: len([v for v in user.of("ha") if v.task.node != node.name and v.ready]) >= 9,  # type: ignore[misc]
        )
        samples.append(max(view.status.started_at for view in user.of("ha")) - killed)
        life.start_node(cluster, node)
        user.delete("ha")
        user.wait("ha gone", lambda: "ha" not in user.services)
        _settle(user, "ha")
    return Figure("node killed → its tasks elsewhere", "s", 6.5, tuple(samples))


def _memory(cluster: clusters.DevCluster, user: observer.Observer, image: str) -> list[Figure]:
    empty = _pss(processes.marked(cluster.name, "node-1"))
    user.apply("many", 50, image)
    user.wait_running("many", 50)
    payloads = {container.pid for view in user.of("many") for container in view.status.containers}
    full = _pss(pid for pid in processes.marked(cluster.name, "node-1") if pid not in payloads)
    control = _pss(processes.marked(cluster.name, "control"))
    user.delete("many")
    user.wait_gone("many")
    _settle(user, "many")
    return [
        Figure("memory: control plane and etcd", "MB", 120, (control,)),
        Figure("memory: one node's processes, 50 containers", "MB", 90, (full,)),
        Figure("memory: per running container", "MB", 0.3, (max(0.0, full - empty) / 50,)),
    ]


def _commands() -> list[Figure]:
    orchctl = str(Path(sys.executable).parent / "orchctl")
    return [
        Figure("orchctl --help", "s", 0.2, _timed(lambda: _quiet(orchctl, "--help"))),
        Figure("orchctl get services", "s", 0.45, _timed(lambda: _quiet(orchctl, "get", "services"))),
    ]


def _scheduler() -> Figure:
    row = json.loads(_script("scheduler.py").splitlines()[-1])
    name = "scheduler alone: 200 × 50 tasks onto 1,000 nodes"
    return Figure(name, "1/s", row["goal"], (row["min"], row["value"], row["max"]), more_is_better=True)


def _simulated() -> Figure:
    path = ROOT / "build" / "simulated.json"
    path.parent.mkdir(exist_ok=True)
    samples = []
    for _ in range(3):
        _script("simulated_agents.py", "--json", str(path))
        samples.append(json.loads(path.read_text())[0]["value"])
    name = "simulated agents: tasks from apply to told, etcd with fsync"
    return Figure(name, "1/s", 1_500, tuple(samples), more_is_better=True)


def _script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "deploy" / "bench" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _last_clean_up(user: observer.Observer, name: str) -> float:
    return max(view.status.finished_at for view in user.tasks.values() if view.task.id.service == name)


def _settle(user: observer.Observer, name: str) -> None:
    """Forget the past, and let the nodes fill their pools: a user does not apply a hundred times a minute."""
    for key in [key for key, view in user.tasks.items() if view.task.id.service == name]:
        del user.tasks[key]
        user.gone.discard(key)
    time.sleep(1.5)


def _timed(run: Callable[[], None], rounds: int = 10) -> tuple[float, ...]:
    samples = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        samples.append(time.perf_counter() - began)
    return tuple(samples)


def _quiet(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pss(pids: Iterator[int]) -> float:
    """Proportional set size of processes together, in MB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1000


if __name__ == "__main__":
    main()
