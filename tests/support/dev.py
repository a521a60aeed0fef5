"""A dev cluster for tests, driven as a user drives it: by `orchctl`."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.dev import cluster as clusters
from cli.dev import life, processes
from deploy.demo import images
from tests.support.looking import Looking

ORCHCTL = Path(sys.executable).parent / "orchctl"
PATIENCE_SECONDS = 60
"""Whoever waits for what must come waits so long before it is a failure. The machine may be busy."""


@dataclass(frozen=True, slots=True)
class Dev:
    """One cluster, its registry, and a place for files."""

    cluster: clusters.DevCluster
    config: Path
    work: Path
    looking: Looking

    def orchctl(self, *arguments: str, expect: int | None = 0, stdin: str = "", errors: bool = True) -> str:
        """What it printed, to both streams if `errors`; its exit code must be `expect` (None: any)."""
        done = subprocess.run(
            [ORCHCTL, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=os.environ | {"ORCH_CONFIG": str(self.config), "COLUMNS": "200"},
        )
        said = done.stdout + done.stderr if errors else done.stdout
        assert expect is None or done.returncode == expect, (
            f"orchctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return said

    def seconds(self, *arguments: str, expect: int) -> tuple[float, str]:
        """How long it took beyond the time that orchctl takes to start, and what it printed."""
        began = time.monotonic()
        self.orchctl("version", "--client", expect=None)
        started = time.monotonic()
        said = self.orchctl(*arguments, expect=expect)
        return time.monotonic() - started - (started - began), said

    def items(self, *what: str) -> list[dict[str, Any]]:
        """`orchctl get … -o json` as a list."""
        found = json.loads(self.looking.at("get", *what, "-o", "json"))
        return list(found["items"]) if found.get("kind") == "List" else [found]

    def tasks(self, service: str, *, finished: bool = False) -> list[dict[str, Any]]:
        """The status of each task of a service, with its `name`, `web.2.7`, and its `slot`, `web.2`."""
        every = self.items("tasks", *(["--all"] if finished else []))
        named = [each["status"] | {"name": each["metadata"]["name"]} for each in every]
        slots = [each | {"slot": each["name"].rpartition(".")[0]} for each in named]
        return [each for each in slots if each["slot"].rpartition(".")[0] == service]

    def push(self, name: str) -> str:
        """Push the web image under this name; the whole reference."""
        return images.push_web(self.cluster.registry_address, name)

    def manifest(self, text: str) -> str:
        """A file with this text, with REGISTRY replaced."""
        handle, path = tempfile.mkstemp(suffix=".yaml", dir=self.work)
        with os.fdopen(handle, "w") as file:
            file.write(text.replace("REGISTRY", self.cluster.registry_address))
        return path

    def apply(self, text: str, *options: str, expect: int | None = 0) -> str:
        """`orchctl apply` of this text."""
        return self.orchctl("apply", "-f", self.manifest(text), *options, expect=expect)

    def wait(self, reference: str, condition: str = "ready") -> None:
        """`orchctl wait`, for long enough on a machine that has more to do."""
        self.orchctl("wait", reference, "--for", condition, "--timeout", f"{PATIENCE_SECONDS}s")

    def told(self, word: str, *command: str) -> str:
        """What orchctl says of it, once the word is in it: what happens is told a moment after it is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while word not in (said := self.orchctl(*command, expect=None)):
            assert time.monotonic() < deadline, f"orchctl {' '.join(command)} never said {word!r}:\n{said}"
        return said

    def delete(self, *references: str) -> None:
        """Delete, and wait until all of it has gone."""
        self.orchctl("delete", *references, "--timeout", f"{PATIENCE_SECONDS}s")

    def fetch(self, node: int, port: int, path: str = "/version") -> str:
        """What a published port of a node answers."""
        url = f"http://{self.cluster.node(node).address}:{port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode().strip())

    def dev(self, verb: str, *arguments: str) -> None:
        """`orchctl dev VERB` of this cluster."""
        self.orchctl("dev", verb, *arguments, "--name", self.cluster.name)

    def restart_agent(self, node: str) -> None:
        """Start an agent whose process was killed, beside all that it left running."""
        number = int(node.removeprefix("node-"))
        life.restart_agent(self.cluster, self.cluster.node(number))

    def restart_control(self) -> None:
        """Start a control plane whose process was killed."""
        life.restart_control(self.cluster)

    def processes(self, part: str) -> dict[str, int]:
        """Command line → pid of the processes of one part."""
        found = {}
        for pid in processes.marked(self.cluster.name, part):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                found[f"{name}: {command}"] = pid
        return found


@contextlib.contextmanager
def running(nodes: int = 3, suffix: str = "", options: tuple[str, ...] = ()) -> Iterator[Dev]:
    """A cluster that is gone at the end, whatever happens. `suffix` tells several of one test run apart."""
    name = f"t{os.getpid()}{suffix}"
    with tempfile.TemporaryDirectory(prefix="orch-e2e-") as directory:
        work = Path(directory)
        config = work / "config"
        environment = os.environ | {"ORCH_CONFIG": str(config)}
        up = [ORCHCTL, "dev", "up", "--name", name, "--nodes", str(nodes), "--registry", *options]
        down = [ORCHCTL, "dev", "down", "--name", name]
        try:
            made = subprocess.run(up, env=environment, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stdout + made.stderr
            cluster = clusters.load(name)
            assert cluster is not None
            looking = Looking(config)
            try:
                yield Dev(cluster, config, work, looking)
            finally:
                looking.end()
        finally:
            subprocess.run(down, env=environment, capture_output=True, check=False)
