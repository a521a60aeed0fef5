"""Images, side by side in one run: pull and unpack, pull what is mostly here, build again what has not changed.

A registry of Debian's, on the loopback, has an image of 100 MB in five layers and a second one that shares four of
them. orch pulls both into a fresh store, and so do skopeo+umoci and podman where they are installed, and docker (a
daemon of the bench's own). A pull is timed until it answers that the image is there; no tool flushes the disk before
that, orch does it afterwards. A ten-step Dockerfile is built twice with nothing changed between, on a cluster of one
node, by `orchctl image build`: the whole command is timed. Prints a table and writes build/bench-images.json.

    make bench-images
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[2] / "proto")]

from agent.images.images import Images
from orch.oci import build, reference
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support import dev
from tests.support.registry import running_registry

LAYERS = 5
LAYER_BYTES = 20 << 20
FILES = 200
TURNS = 5
OUT = Path(__file__).resolve().parents[2] / "build" / "bench-images.json"
STEPS = "FROM scratch\n" + "".join(f"COPY part-{n} /part-{n}\n" for n in range(9)) + 'CMD ["/x"]\n'


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool took in the best of its turns, in seconds: whatever else the machine does only adds to it."""

    tool: str
    whole: float
    """Pull and unpack of 100 MB in five layers."""
    shared: float
    """Of a second image that has four of them."""


def images() -> tuple[build.Built, build.Built]:
    """Text-like content: it compresses to about half, as programs do."""
    source = random.Random(4)
    layers = [_layer(source, n) for n in range(LAYERS + 1)]
    config = ImageConfig(architecture="amd64", os="linux", command=("/x",))
    return build.image(layers[:LAYERS], config), build.image([*layers[: LAYERS - 1], layers[LAYERS]], config)


def _layer(source: random.Random, number: int) -> build.Layer:
    each = LAYER_BYTES // FILES // 2
    return build.layer(
        [build.Item(f"layer-{number}/{n}", source.randbytes(each).hex().encode()) for n in range(FILES)],
        level=1,
    )


@contextlib.asynccontextmanager
async def installed(work: Path) -> AsyncIterator[dict[str, Callable[[str, Path], Awaitable[None]]]]:
    """The tools that are here, ours first, and how each pulls an image into a place of its own."""
    tools: dict[str, Callable[[str, Path], Awaitable[None]]] = {"orch": _orch}
    if shutil.which("skopeo") and shutil.which("umoci"):
        tools["skopeo+umoci"] = _skopeo_umoci
    if shutil.which("podman"):
        tools["podman"] = _podman
    if not (shutil.which("docker") and shutil.which("dockerd")):
        yield tools
        return
    async with _daemon(work / "docker"):
        yield tools | {"docker": _docker}


@contextlib.asynccontextmanager
async def _daemon(place: Path) -> AsyncIterator[None]:
    """A dockerd that touches nothing of this machine's network; $DOCKER_HOST leads to it."""
    place.mkdir()  # noqa: ASYNC240  a moment
    places = [f"--{what}={place}/{what}" for what in ("data-root", "exec-root", "pidfile")]
    quiet = [
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]
    os.environ["DOCKER_HOST"] = f"unix://{place}/socket"
    with (place / "log").open("wb") as log:
        daemon = await asyncio.create_subprocess_exec(
            "dockerd", f"--host=unix://{place}/socket", *places, *quiet, stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(60):
            while await _succeeds("docker", "info"):
                if daemon.returncode is not None:
                    raise SystemExit(f"dockerd did not come up:\n{(place / 'log').read_text()[-2000:]}")
                await asyncio.sleep(0.1)  # it tells nobody when it is up
        yield
    finally:
        daemon.terminate()
        await daemon.wait()


async def _succeeds(*command: str) -> int:
    null = subprocess.DEVNULL
    return await (await asyncio.create_subprocess_exec(*command, stdout=null, stderr=null)).wait()


async def measure(
    host: str, work: Path, tools: dict[str, Callable[[str, Path], Awaitable[None]]]
) -> list[Row]:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    for turn in range(TURNS):
        for name, pull in tools.items():
            place = work / f"{name}-{turn}"
            place.mkdir()
            await asyncio.to_thread(os.sync)  # what the one before has left is not this one's to write
            try:
                taken[name].append(
                    (await _timed(pull, f"{host}/one:1", place), await _timed(pull, f"{host}/two:1", place))
                )
            finally:
                await _forget(name, place, host)
    return [
        Row(name, min([a for a, _ in times]), min([b for _, b in times])) for name, times in taken.items()
    ]


async def _timed(pull: Callable[[str, Path], Awaitable[None]], image: str, place: Path) -> float:
    began = time.monotonic()
    await pull(image, place)
    return time.monotonic() - began


_AGENTS: dict[Path, Images] = {}


async def _orch(image: str, place: Path) -> None:
    """An agent lives longer than a pull, as docker's daemon does."""
    if place not in _AGENTS:
        _AGENTS[place] = await Images.open(place / "store", plain_http={image.partition("/")[0]})
    await _AGENTS[place].pull(image)


async def _skopeo_umoci(image: str, place: Path) -> None:
    tag = image.rpartition("/")[2].partition(":")[0]
    await _run(
        "skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{place}/layout:{tag}"
    )
    await _run("umoci", "unpack", "--image", f"{place}/layout:{tag}", str(place / f"bundle-{tag}"))


async def _podman(image: str, place: Path) -> None:
    await _run(
        "podman",
        "--root",
        f"{place}/root",
        "--runroot",
        f"{place}/run",
        "pull",
        "-q",
        "--tls-verify=false",
        image,
    )


async def _docker(image: str, _place: Path) -> None:
    await _run("docker", "pull", "-q", image)


async def _forget(name: str, place: Path, host: str) -> None:
    """So that the next turn begins anew. Files stay until the end: after a removal of many ext4 is slow for a while."""
    match name:
        case "orch":
            await _AGENTS.pop(place).close()
        case "docker":
            await _run("docker", "rmi", "-f", f"{host}/one:1", f"{host}/two:1")


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said.decode()}")


def rebuild(work: Path) -> float:
    """Seconds of `orchctl image build`, from the shell's view, of ten steps of which none has changed."""
    context = work / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(STEPS)
    for n in range(9):
        (context / f"part-{n}").write_bytes(os.urandom(1 << 20))
    with dev.running(nodes=1, suffix="bench") as cluster:

        def once() -> float:
            began = time.monotonic()
            cluster.orchctl("image", "build", "-t", "bench:1", str(context))
            return time.monotonic() - began

        once()
        return min([once() for _ in range(TURNS)])


def goals(rows: list[Row], again: float) -> dict[str, tuple[float, float]]:
    """(measured, at most) by what is promised: half of the fastest other, a fifth of the first pull, half a second."""
    own = rows[0]
    others = [row.whole for row in rows[1:]]
    found = {
        "a second image sharing four layers": (own.shared, own.whole / 5),
        "a build with no change": (again, 0.5),
    }
    return {"pull and unpack": (own.whole, min(others) / 2), **found} if others else found


async def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="orch-bench-images-") as directory,
        running_registry() as registry,
    ):
        work = Path(directory)
        async with Registry(plain_http={registry.host}) as client:
            for name, built in zip(("one:1", "two:1"), images(), strict=True):
                await build.push(client, reference.parse(f"{registry.host}/{name}"), built)
        async with installed(work) as tools:
            rows = await measure(registry.host, work, tools)
        again = await asyncio.to_thread(rebuild, work)
    print(f"{'':16}  {'100 MB, 5 layers':>16}  {'4 of 5 shared':>14}")
    for row in rows:
        print(f"{row.tool:16}  {row.whole:14.2f} s  {row.shared:12.2f} s")
    print(f"{'a build of ten steps with no change':50}  {again:.3f} s\n")
    wanted = goals(rows, again)
    for name, (found, most) in wanted.items():
        print(f"{'ok  ' if found <= most else 'MISS'}  {name}: {found:.2f} s, at most {most:.2f} s")
    OUT.parent.mkdir(exist_ok=True)
    words = {"tools": [asdict(row) for row in rows], "rebuild": again, "goals": wanted}
    OUT.write_text(json.dumps(words, indent=2) + "\n")
    return 0 if all(found <= most for found, most in wanted.values()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
