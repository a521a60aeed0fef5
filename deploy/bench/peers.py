"""`make bench-peers`: orch and Docker Swarm on one node of this machine, in one go, and the ratio of the two.

Swarm needs Debian's docker.io (`apt install docker.io`); its daemon is our own, in namespaces and cgroups of its own
(`swarm.py`), beside any that runs here already.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.bench import bench, figures
from deploy.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
TIMES_FASTER = {
    "apply 1 → running": 7.0,
    "apply 10 → running": 5.7,
    "apply 50 → running": 7.3,
    "delete 10 → nothing left": 4.6,
    "rolling update of 20, five at a time": 5.0,
    "container killed → running again": 14.0,
}
"""What Swarm was once measured at, over our goals; a restart with no delay set."""


def main() -> None:
    """Measure both, print the table, and write build/bench-peers.json."""
    missing = [name for name in ("dockerd", "docker-registry", "unshare") if not shutil.which(name)]
    if missing:
        sys.exit(
            f"bench-peers needs {', '.join(missing)}; try: apt install docker.io docker-registry util-linux"
        )
    before = bench.of_one_node()
    theirs = _swarm()
    ours = _together(before, bench.of_one_node())  # around the other: a busy machine is busy for both
    found = []
    for name, goal in TIMES_FASTER.items():
        swarm = Figure(f"{name}: swarm", "s", 0.0, tuple(theirs[name]), more_is_better=True)
        orch = Figure(f"{name}: orch", "s", ours[name].goal, ours[name].samples)
        ratio = Figure(f"{name}: times faster", "×", goal, (swarm.value / orch.value,), more_is_better=True)
        found += [swarm, orch, ratio]
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench-peers.json")


def _together(*runs: list[Figure]) -> dict[str, Figure]:
    """Name → the samples of all runs."""
    samples: dict[str, tuple[float, ...]] = {}
    for figure in itertools.chain(*runs):
        samples[figure.name] = samples.get(figure.name, ()) + figure.samples
    return {figure.name: replace(figure, samples=samples[figure.name]) for figure in runs[0]}


def _swarm() -> dict[str, list[float]]:
    cgroup = f"/orch-peers-{os.getpid()}"
    inside = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command = [*inside, sys.executable, str(ROOT / "deploy" / "bench" / "swarm.py"), cgroup, str(ROUNDS)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    finally:
        _remove(cgroup)
    if done.returncode:
        sys.exit("Docker Swarm could not be measured here, see above")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _remove(cgroup: str) -> None:
    """What the daemon made of groups: all of it lies below ours, in each hierarchy."""
    root = Path("/sys/fs/cgroup")
    for top in (root, *(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())):
        own = top / cgroup.strip("/")
        if own.is_dir():
            for group in sorted((path for path in (own, *own.rglob("*")) if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()


if __name__ == "__main__":
    main()
