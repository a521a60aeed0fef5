"""`make bench-network`: what the service network costs, beside the same machine without it, in one run.

    deploy/bench/network.py [ROUNDS [PART…]]

Each part is a module with `measure(lab, rounds)`, and is named below. What is compared takes turns in each round,
and a ratio is of the two turns of one round: the machine is as busy for one as for the other.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from deploy.bench import (
    figures,
    network_cycles,
    network_entries,
    network_lab,
    network_links,
    network_routes,
    network_services,
)
from deploy.bench.figures import Figure
from deploy.bench.network_lab import Lab

_INSIDE = "ORCH_BENCH_INSIDE"

PARTS: dict[str, Callable[[Lab, int], list[Figure]]] = {
    "links": network_links.measure,
    "entries": network_entries.measure,
    "cycles": network_cycles.measure,
    "services": network_services.measure,
    "routes": network_routes.measure,
}


def main() -> None:
    """Measure everything, or the parts that are named; the exit code says nothing of goals, the table does."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    chosen = sys.argv[2:] or list(PARTS)
    if strange := set(chosen) - set(PARTS):
        sys.exit(f"there is no part {', '.join(sorted(strange))}; there are: {', '.join(PARTS)}")
    _go_inside()
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as made:
        folder = Path(made)
        subprocess.run(["mount", "-t", "tmpfs", "orch-bench", made], check=True)
        subprocess.run(["mount", "--make-private", made], check=True)
        try:
            with network_lab.opened(folder) as lab:
                for part in chosen:
                    print(f"part {part}, {rounds} rounds", file=sys.stderr)
                    found += PARTS[part](lab, rounds)
        finally:
            subprocess.run(["umount", "--lazy", made], check=False)
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench-network.json")


def _go_inside() -> None:
    """Links, rules and mounts of a bench stay in namespaces of its own: the script starts again in there."""
    if os.geteuid() != 0:
        sys.exit("needs root: it makes network namespaces")
    if _INSIDE not in os.environ:
        again = ["unshare", "--net", "--mount", sys.executable, __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(again, env={**os.environ, _INSIDE: "1"}, check=False).returncode)


if __name__ == "__main__":
    main()
