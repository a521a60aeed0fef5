"""Images made from Dockerfiles, by the real runtime, into a real library."""

# ruff: noqa: ASYNC240  small files do not block

import asyncio
import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from obstore.store import MemoryStore

from agent.builds import shipping, workshop
from agent.builds.builder import Builder
from agent.builds.cache import Cache
from agent.builds.executing import Hands
from agent.builds.order import BuildFailed, Order, Progress
from agent.builds.workshop import Workshop
from agent.images.images import Images
from agent.images.library import Image
from agent.network.attachment import Attached
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support.our_registry import our_registry

BUSYBOX = "busybox:1"
_LINKS = "sh cat ls echo mkdir rm id env touch stat true false chmod chown ln nslookup"


class NoNetwork:
    """Loopback only."""

    async def attach(self, task: str) -> Attached:
        return Attached(task, "", (), "192.0.2.53")

    async def detach(self, task: str) -> None:
        return None


class Yard:
    """A node's rooms for builds, and short ways to build."""

    def __init__(self, directory: Path, images: Images, hands: Hands) -> None:
        self.context = directory / "context"
        self.context.mkdir()
        self.images = images
        self.workshop = Workshop(directory / "builds")
        self.workshop.open()
        self.cache = Cache(directory / "cache", images._library, self.workshop.blobs)
        self.images.hold(self.cache.open())
        self.hands = hands
        self.said: list[Progress] = []
        self._count = 0

    def file(self, path: str, content: str = "", mode: int = 0o644) -> None:
        target = self.context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)

    async def build(self, dockerfile: str, **options: Any) -> Image:
        self._count += 1
        self.said.clear()
        text = "\n".join(line.removeprefix("    ") for line in dockerfile.splitlines())
        order = Order(self.context, text.strip() + "\n", **options)
        name = f"build-{self._count}"
        return await Builder(order, name, self.images, self.workshop, self.cache, self.hands).build(
            self.said.append
        )

    @property
    def output(self) -> list[str]:
        return [one.text for one in self.said if one.kind == "output"]

    @property
    def cached(self) -> int:
        return len([one for one in self.said if one.kind == "cached"])

    def files(self, image: Image) -> dict[str, Path]:
        """Every path of the image, and where it lies; whiteouts respected."""
        found: dict[str, Path] = {}
        for layer in map(Path, image.layers):
            for path in sorted(layer.rglob("*")):
                name = str(path.relative_to(layer))
                if path.is_char_device() and path.stat().st_rdev == 0:
                    found = {
                        key: at for key, at in found.items() if key != name and not key.startswith(f"{name}/")
                    }
                else:
                    found[name] = path
        return found

    def read(self, image: Image, path: str) -> str:
        return self.files(image)[path].read_text()


@pytest.fixture
async def yard(bench: Any, tmp_path: Path) -> AsyncIterator[Yard]:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    async with contextlib.aclosing(_opened(tmp_path)) as opened:
        images = await anext(opened)
        yield Yard(tmp_path, images, Hands(bench.runtime, NoNetwork, secrets))


async def _opened(directory: Path) -> AsyncGenerator[Images, None]:
    layer = build.layer(
        [
            Item("bin", directory=True, mode=0o755),
            Item("bin/busybox", Path("/bin/busybox"), 0o755),
            *(Item(f"bin/{name}", target="busybox") for name in _LINKS.split()),
            Item("etc", directory=True, mode=0o755),
            Item("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
            Item("etc/group", b"root:x:0:\napp:x:1000:\n"),
            Item("sbin", target="bin"),
        ]
    )
    config = ImageConfig(environment=(("PATH", "/bin"), ("FROM_BASE", "yes")), command=("sh",))
    archive = directory / "busybox.tar"
    build.write_archive(archive, build.image([layer], config), reference.parse(BUSYBOX))
    images = await Images.open(directory / "images")
    await images.import_tar(archive)
    try:
        yield images
    finally:
        await images.close()


async def test_what_a_command_writes_is_the_next_layer(yard: Yard) -> None:
    image = await yard.build(f"""
    FROM {BUSYBOX}
    RUN echo hello > /greeting && echo said && chmod 4755 /greeting
    RUN rm /etc/group && mkdir -p /a/b
    """)

    files = yard.files(image)
    assert len(image.layers) == 3
    assert files["greeting"].read_text() == "hello\n"
    assert files["greeting"].stat().st_mode & 0o7777 == 0o4755
    assert "etc/group" not in files
    assert "a/b" in files
    assert yard.output == ["said"]
    assert not [name for name in files if name.split("/")[0] in {"proc", "sys", "dev"} or "resolv" in name]


async def test_files_come_with_owners_modes_and_without_what_is_ignored(yard: Yard) -> None:
    yard.file("src/main.py", "print()", 0o600)
    yard.file("src/tests/big", "x")
    yard.file("src/notes.md")
    (yard.context / "src" / "link").symlink_to("main.py")
    image = await yard.build(
        f"""
        FROM {BUSYBOX}
        WORKDIR /srv/app
        COPY --chown=app src .
        COPY --chmod=755 src/main.py /bin/run
        COPY src/*.py src/link /many/
        """.replace("    " * 2, ""),
        ignored="**/*.md\nsrc/tests\n",
    )

    files = yard.files(image)
    main = files["srv/app/main.py"].stat()
    assert (main.st_uid, main.st_gid, main.st_mode & 0o777) == (1000, 1000, 0o600)
    assert files["srv/app/link"].is_symlink()
    assert files["bin/run"].stat().st_mode & 0o777 == 0o755
    assert files["many/link"].is_file()
    assert not [name for name in files if name.endswith((".md", "tests"))]


async def test_links_of_the_image_are_followed_inside_it(yard: Yard) -> None:
    yard.file("tool", "#!/bin/sh\n", 0o755)
    image = await yard.build(
        f"FROM {BUSYBOX}\nRUN ln -s /etc /abroad\nCOPY tool /sbin/tool\nCOPY tool /abroad/x\n"
    )

    files = yard.files(image)
    assert files["sbin"].is_symlink()
    assert files["bin/tool"].read_text() == "#!/bin/sh\n"
    assert files["etc/x"].is_file()
    assert not Path("/etc/x").exists()


async def test_stages_hand_files_on_and_only_needed_ones_are_built(yard: Yard) -> None:
    yard.file("x", "1")
    image = await yard.build(f"""
    FROM {BUSYBOX} AS build
    RUN mkdir /out && echo program > /out/program && chown 1000 /out/program
    FROM {BUSYBOX} AS unused
    RUN false
    FROM scratch
    COPY --from=build /out/ /bin/
    COPY --from={BUSYBOX} /bin/busybox /bin/sh
    COPY x /x
    RUN ["/bin/sh", "-c", "echo made > /made"]
    """)

    files = yard.files(image)
    assert sorted(name for name in files if files[name].is_file()) == ["bin/program", "bin/sh", "made", "x"]
    assert files["bin/program"].stat().st_uid == 1000
    assert image.config.command == ()


async def test_an_unchanged_line_costs_nothing(yard: Yard) -> None:
    yard.file("a", "1")
    yard.file("b", "1")
    dockerfile = f"FROM {BUSYBOX}\nCOPY a /a\nRUN echo $RANDOM > /r\nCOPY b /b\nRUN true\n"
    first = await yard.build(dockerfile)
    again = await yard.build(dockerfile)
    assert (again.layers, yard.cached) == (first.layers, 4)

    yard.file("b", "2")
    later = await yard.build(dockerfile)
    assert (later.layers[:3], yard.cached) == (first.layers[:3], 2)

    os.utime(yard.context / "a", (1, 1))
    await yard.build(dockerfile)
    assert yard.cached == 4

    await yard.build(dockerfile, use_cache=False)
    assert yard.cached == 0


async def test_the_cache_outlives_the_agent(yard: Yard, tmp_path: Path) -> None:
    dockerfile = f"FROM {BUSYBOX}\nRUN echo x > /x\n"
    first = await yard.build(dockerfile)
    yard.images._library.remove(first.digest)

    yard.cache = Cache(tmp_path / "cache", yard.images._library, yard.workshop.blobs)
    yard.images.hold(yard.cache.open())
    assert (await yard.build(dockerfile)).layers == first.layers
    assert yard.cached == 1


async def test_the_same_input_gives_the_same_digest(yard: Yard) -> None:
    yard.file("a/b", "1")
    dockerfile = f"FROM {BUSYBOX}\nCOPY a /a\nWORKDIR /w\nRUN echo 1 > /r\n"
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    first = await yard.build(dockerfile, arguments=epoch)
    again = await yard.build(dockerfile, arguments=epoch, use_cache=False)

    assert again.digest == first.digest
    times = {int(path.lstat().st_mtime) for path in yard.files(again).values() if path.name in {"r", "w"}}
    assert times == {1_700_000_000}


async def test_the_configuration_is_the_last_stages(yard: Yard) -> None:
    text = f"FROM {BUSYBOX}\nARG v=1\nENV A=$v\nEXPOSE 80\nLABEL x=y\nRUN env\nUSER app\nRUN id -u\n"
    image = await yard.build(text + 'CMD ["a"]\n', arguments={"v": "2"}, labels={"by": "me"})

    config = image.config
    assert dict(config.environment) == {"PATH": "/bin", "FROM_BASE": "yes", "A": "2"}
    assert (config.user, config.command, config.exposed_ports) == ("app", ("a",), ("80/tcp",))
    assert dict(config.labels) == {"x": "y", "by": "me"}
    assert {"A=2", "v=2", "FROM_BASE=yes", "HOME=/root"} <= set(yard.output)
    assert yard.output[-1] == "1000"


async def test_mounts_are_there_for_one_command_only(yard: Yard) -> None:
    yard.file("src/code", "code")
    dockerfile = f"""
    FROM {BUSYBOX}
    RUN --mount=type=cache,target=/cache echo more >> /cache/log && cat /cache/log
    RUN --mount=type=bind,source=src,target=/src cat /src/code && ! touch /src/new 2> /dev/null
    RUN --mount=type=secret,id=key cat /run/secrets/key && echo && stat -c %a /run/secrets/key
    RUN --mount=type=secret,id=key,env=KEY echo $KEY
    RUN --mount=type=tmpfs,target=/scratch touch /scratch/x
    """
    image = await yard.build(dockerfile, secrets={"key": b"hush"})
    assert yard.output == ["more", "code", "hush", "400", "hush"]
    again = await yard.build(dockerfile, secrets={"key": b"hush"}, use_cache=False)

    assert yard.output[:2] == ["more", "more"]  # the cache is the same one, the second time
    for each in (image, again):
        assert not {"cache", "src", "run", "scratch"} & {name.split("/")[0] for name in yard.files(each)}
    assert not list(yard.hands.secrets.iterdir())


async def test_a_link_in_a_context_shows_a_command_nothing_of_the_host(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("of the host")
    (yard.context / "src").mkdir()
    (yard.context / "src" / "src").symlink_to(tmp_path / "theirs")
    await yard.build(f"""
    FROM {BUSYBOX}
    RUN --mount=type=bind,source=src,target=/src cat /src /src/src; true
    """)

    assert "of the host" not in yard.output


async def test_tidying_after_a_command_follows_no_link_out_of_its_layer(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "empty").touch()
    (tmp_path / "theirs" / "nothing").mkdir()
    await yard.build(f"""
    FROM {BUSYBOX}
    RUN --mount=type=tmpfs,target=/a/b/nothing --mount=type=tmpfs,target=/a/b/empty \\
        mv /a/b /a/c && ln -s {tmp_path}/theirs /a/b
    """)

    assert sorted(each.name for each in (tmp_path / "theirs").iterdir()) == ["empty", "nothing"]


async def test_a_cache_is_given_back_by_who_is_ended_while_waiting_for_another(yard: Yard) -> None:
    held = yard.hands.locks["two"]
    await held.acquire()
    dockerfile = f"""
    FROM {BUSYBOX}
    RUN --mount=type=cache,id=one,sharing=locked,target=/1 \\
        --mount=type=cache,id=two,sharing=locked,target=/2 true
    """
    waits = asyncio.Event()
    acquire = held.acquire

    async def acquired() -> Literal[True]:
        waits.set()
        return await acquire()

    held.acquire = acquired  # type: ignore[method-assign]
    building = asyncio.create_task(yard.build(dockerfile))
    async with asyncio.timeout(60):
        await waits.wait()
    assert yard.hands.locks["one"].locked()
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)

    assert not yard.hands.locks["one"].locked()


async def test_a_command_may_have_one_locked_cache_in_two_places(yard: Yard) -> None:
    async with asyncio.timeout(120):
        await yard.build(f"""
    FROM {BUSYBOX}
    RUN --mount=type=cache,id=x,sharing=locked,target=/1 \\
        --mount=type=cache,id=x,sharing=locked,target=/2 touch /1/a && ls /2
    """)

    assert yard.output == ["a"]


async def test_a_place_in_the_network_that_was_asked_for_is_given_back(yard: Yard) -> None:
    class Slow(NoNetwork):
        def __init__(self) -> None:
            self.asked = asyncio.Event()
            self.detached: list[str] = []

        async def attach(self, task: str) -> Attached:
            self.asked.set()
            assert yard.hands.under_way == {task}
            await asyncio.Event().wait()
            return await super().attach(task)

        async def detach(self, task: str) -> None:
            self.detached.append(task)

    network = Slow()
    yard.hands = replace(yard.hands, network=lambda: network)
    building = asyncio.create_task(yard.build(f"FROM {BUSYBOX}\nRUN true\n"))
    async with asyncio.timeout(60):
        await network.asked.wait()
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)

    assert network.detached == ["build-1-0"]
    assert yard.hands.under_way == set()


async def test_a_script_in_place_runs(yard: Yard) -> None:
    image = await yard.build(f"""
    FROM {BUSYBOX}
    RUN <<EOF
    echo one > /one
    echo $((1 + 1)) > /two
    EOF
    RUN <<EOF
    #!/bin/busybox sh
    echo three > /three
    EOF
    COPY <<conf /etc/conf
    PATH is $PATH
    conf
    """)

    assert [yard.read(image, name) for name in ("one", "two", "three")] == ["one\n", "2\n", "three\n"]
    assert yard.read(image, "etc/conf") == "PATH is /bin\n"


async def test_an_archive_is_unpacked_by_add(yard: Yard) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("dir/file")
        entry.size, entry.uid, entry.mode = 2, 7, 0o640
        tar.addfile(entry, io.BytesIO(b"hi"))
    (yard.context / "a.tgz").write_bytes(archive.getvalue())
    image = await yard.build(f"FROM {BUSYBOX}\nADD a.tgz /there/\nCOPY a.tgz /here/\n")

    files = yard.files(image)
    assert (files["there/dir/file"].read_text(), files["there/dir/file"].stat().st_uid) == ("hi", 7)
    assert files["here/a.tgz"].is_file()


async def test_triggers_of_the_base_are_carried_out(yard: Yard) -> None:
    yard.file("app", "code")
    base = await yard.build(f"FROM {BUSYBOX}\nONBUILD COPY app /app\nONBUILD RUN cat /app\n")
    yard.images.name(base.digest, [reference.parse("base:1")])

    image = await yard.build("FROM base:1\nENV a=1\n")

    assert yard.output == ["code"]
    assert yard.read(image, "app") == "code"
    assert image.config.on_build == ()


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("RUN echo to the log; exit 3", "Dockerfile:2: the command ended with exit code 3"),
        ("COPY missing /x", "Dockerfile:2: missing is not there: the context has a"),
        ("COPY ../etc/passwd /x", "Dockerfile:2: ../etc/passwd leads out"),
        ("COPY --from=busybox:1 /none /x", "Dockerfile:2: /none is not there"),
        ("COPY --chown=nobody a /x", "Dockerfile:2: user nobody is not in the image's /etc/passwd"),
        ("COPY a /etc/passwd/x", "Dockerfile:2: /etc/passwd is not a directory"),
        ("RUN --mount=type=secret,id=k,required=true true", "Dockerfile:2: the secret k was not given"),
        ('RUN ["/no/such"]', "Dockerfile:2: cannot be run: exec /no/such"),
        ("USER ghost\nRUN true", "Dockerfile:3: user ghost is not in"),
        ("CPY a b", "Dockerfile:2: CPY is not an instruction; did you mean COPY?"),
    ],
)
async def test_what_goes_wrong_is_said_with_its_line(yard: Yard, dockerfile: str, said: str) -> None:
    yard.file("a")
    with pytest.raises(BuildFailed) as caught:
        await yard.build(f"FROM {BUSYBOX}\n{dockerfile}\n")

    assert str(caught.value).startswith(said)
    assert list((yard.workshop.directory / "work").iterdir()) == []


async def test_a_context_cannot_lead_to_the_host(yard: Yard) -> None:
    (yard.context / "out").symlink_to("/etc/hostname")
    (yard.context / "up").symlink_to("../../../../../../etc")
    (yard.context / "etc").mkdir()
    yard.file("etc/hostname", "inside")
    image = await yard.build(f"FROM {BUSYBOX}\nCOPY out /a\nCOPY up/hostname /b\n")

    assert [yard.read(image, name) for name in ("a", "b")] == ["inside", "inside"]


async def test_history_says_what_was_done(yard: Yard) -> None:
    image = await yard.build(f"FROM {BUSYBOX}\nENV a=1\nRUN echo x > /x\n")
    words = json.loads(
        (Path(yard.images._library._directory) / "images" / f"{image.digest[7:]}.json").read_text()
    )
    history = json.loads(words["config"])["history"]

    assert [(one["created_by"], one.get("empty_layer", False)) for one in history] == [
        (f"FROM {BUSYBOX}", False),
        ("ENV a=1", True),
        ("RUN echo x > /x", False),
    ]


@contextlib.contextmanager
def a_server(files: dict[str, bytes]) -> Iterator[str]:
    """Its address, on the loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_what_is_behind_an_address_is_added(yard: Yard) -> None:
    files = {"/a/tool.tgz": b"bytes"}
    yard.file("beside")
    with a_server(files) as address:
        dockerfile = (
            f"FROM scratch\nADD {address}/a/tool.tgz?x=1 /exact\nADD {address}/a/tool.tgz beside /in/\n"
        )
        files["/a/tool.tgz?x=1"] = b"other"
        image = await yard.build(dockerfile)
        found = yard.files(image)
        assert (found["exact"].read_text(), found["in/tool.tgz"].read_text()) == ("other", "bytes")
        about = found["exact"].stat()
        assert (about.st_mode & 0o777, about.st_uid, int(about.st_mtime)) == (0o600, 0, 1_700_000_000)
        assert "in/beside" in found

        await yard.build(dockerfile)
        assert yard.cached == 2
        files["/a/tool.tgz"] = b"newer"
        assert yard.read(await yard.build(dockerfile), "in/tool.tgz") == "newer"
        assert yard.cached == 1


async def test_an_address_with_a_digest_is_asked_once_and_not_believed(yard: Yard) -> None:
    files = {"/x": b"good"}
    digest = f"sha256:{hashlib.sha256(b'good').hexdigest()}"
    with a_server(files) as address:
        dockerfile = f"FROM scratch\nADD --checksum={digest} {address}/x /x\n"
        files["/x"] = b"evil"
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: .* has the digest sha256:.*, not sha256:"):
            await yard.build(dockerfile)
        files["/x"] = b"good"
        image = await yard.build(dockerfile)
        assert yard.read(image, "x") == "good"
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: .* the server answered 404"):
            await yard.build(f"FROM scratch\nADD {address}/missing /x\n")
    assert (await yard.build(dockerfile)).digest == image.digest  # nobody answers any more


async def test_a_cache_begins_with_what_an_image_has(yard: Yard) -> None:
    image = await yard.build(f"""
    FROM {BUSYBOX} AS seed
    RUN mkdir /seed && echo seeded > /seed/log
    FROM {BUSYBOX}
    RUN --mount=type=cache,target=/cache,from=seed,source=/seed,uid=5 echo more >> /cache/log && cat /cache/log
    RUN --mount=type=cache,target=/cache,from=seed,source=/seed stat -c %u /cache && cat /cache/log
    """)

    assert yard.output == ["seeded", "more", "5", "seeded", "more"]
    assert "cache" not in yard.files(image)


async def test_an_image_on_a_base_that_came_in_a_file_can_be_pushed(yard: Yard, tmp_path: Path) -> None:
    image = await yard.build(f"FROM {BUSYBOX}\nRUN echo x > /x\n")
    async with our_registry(MemoryStore()) as host, Registry(plain_http={host}) as registry:
        name = reference.parse(f"{host}/web:1")
        await shipping.push(image, name, yard.images, registry, yard.workshop.blobs, {})
        other = await Images.open(tmp_path / "other", plain_http={host})
        try:
            pulled = await other.pull(str(name))
        finally:
            await other.close()

    assert pulled.digest == image.digest
    assert yard.read(pulled, "x") == "x\n"
    ours, theirs = yard.files(image), yard.files(pulled)
    assert {name: path.lstat().st_mode for name, path in ours.items()} == {
        name: path.lstat().st_mode for name, path in theirs.items()
    }


async def test_a_build_that_is_all_from_the_cache_needs_no_helper(yard: Yard) -> None:
    yard.file("a", "1")
    dockerfile = f"""
    FROM {BUSYBOX} AS one
    COPY a /a
    RUN echo x > /x
    FROM {BUSYBOX}
    WORKDIR /w
    COPY --from=one /x /a /
    RUN --mount=type=bind,from=one,target=/one cat /one/x
    """
    first = await yard.build(dockerfile)

    async def ask(kind: str, **_: Any) -> dict[str, Any]:
        raise AssertionError(f"the helper was asked to {kind}")

    yard.workshop.ask = ask  # type: ignore[method-assign]
    assert (await yard.build(dockerfile)).digest == first.digest


async def test_a_build_that_is_ended_leaves_nothing(yard: Yard) -> None:
    running = asyncio.Event()
    yard.file("a")
    order = Order(yard.context, f"FROM {BUSYBOX}\nCOPY a /a\nRUN echo go; while true; do true; done\n")
    builder = Builder(order, "build-ended", yard.images, yard.workshop, yard.cache, yard.hands)
    building = asyncio.create_task(builder.build(lambda said: running.set() if said.text == "go" else None))
    await asyncio.wait_for(running.wait(), 60)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    assert list((yard.workshop.directory / "work").iterdir()) == []
    assert [
        each for each in (yard.hands.runtime.state_dir / "roots").iterdir() if "build-ended" in each.name
    ] == []


async def test_two_builds_side_by_side_are_both_right(yard: Yard) -> None:
    yard.file("a", "1")
    texts = [
        f"FROM {BUSYBOX}\nCOPY a /a\nRUN --mount=type=cache,target=/c echo {n} >> /c/l; echo {n} > /n\n"
        for n in (1, 2)
    ]
    images = await asyncio.gather(*(yard.build(text) for text in texts))
    assert [yard.read(image, "n") for image in images] == ["1\n", "2\n"]


def test_what_no_build_used_for_long_goes(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.open()
    for name in ("old", "fresh"):
        (shop.blobs / name).write_text(name)
        (shop.caches / name).mkdir()
        (shop.caches / name / "file").write_text("x")
    for place in (shop.blobs, shop.caches):
        os.utime(place / "old", (1, 1))
    shop.tidy()
    assert [each.name for place in (shop.blobs, shop.caches) for each in place.iterdir()] == [
        "fresh",
        "fresh",
    ]


def test_what_was_used_longest_ago_goes_when_it_is_too_much(tmp_path: Path) -> None:
    now = time.time()
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).write_bytes(b"x" * 40_000)
        os.utime(tmp_path / name, (now - age, now - age))
    workshop.tidy(tmp_path, 100_000)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["middle", "newest"]


@pytest.mark.skipif(not (shutil.which("skopeo") and shutil.which("umoci")), reason="needs skopeo and umoci")
async def test_umoci_unpacks_what_was_built_to_the_same_tree(yard: Yard, tmp_path: Path) -> None:
    yard.file("a/b", "1", 0o640)
    (yard.context / "a" / "link").symlink_to("b")
    image = await yard.build(f"""
    FROM {BUSYBOX}
    COPY --chown=7:8 a /a
    RUN mkdir -p /d/e && echo x > /d/e/f && ln /d/e/f /d/e/g && chmod 4755 /d/e/f && rm /etc/group && chown 5:6 /d
    RUN rm -r /d/e && mkdir /d/e && echo new > /d/e/new
    """)
    async with our_registry(MemoryStore()) as host, Registry(plain_http={host}) as registry:
        await shipping.push(
            image, reference.parse(f"{host}/web:1"), yard.images, registry, yard.workshop.blobs, {}
        )
        layout = f"{tmp_path}/layout:x"
        commands = (
            ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/web:1", f"oci:{layout}"],
            ["umoci", "unpack", "--image", layout, str(tmp_path / "bundle")],
        )
        for command in commands:
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    theirs = {
        str(path.relative_to(tmp_path / "bundle" / "rootfs")): about(path)
        for path in (tmp_path / "bundle" / "rootfs").rglob("*")
    }
    merged = tmp_path / "merged"
    merged.mkdir()
    lower = ":".join(reversed(image.layers))
    await asyncio.to_thread(
        subprocess.run,
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower}", str(merged)],
        check=True,
    )
    try:
        ours = {str(path.relative_to(merged)): about(path) for path in merged.rglob("*")}
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(merged)], check=True)
    assert ours == theirs
    assert "d/e/new" in ours
    assert "d/e/f" not in ours


def about(path: Path) -> tuple[object, ...]:
    """All that a layer says of a path but its time, which a merged directory takes from whoever unpacks."""
    found = path.lstat()
    content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
    return found.st_mode, found.st_uid, found.st_gid, content, 0 if path.is_dir() else int(found.st_mtime)
