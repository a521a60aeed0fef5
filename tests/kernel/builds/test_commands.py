"""RUN: containers of a build, their mounts, caches and places in the network."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from agent.builds.builder import Builder
from agent.builds.order import Order
from agent.network.attachment import Attached
from tests.support.yard import BUSYBOX, NoNetwork, Yard

pytestmark = pytest.mark.root


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


@pytest.mark.parametrize("sharing", ["locked", "private"])
async def test_a_cache_that_is_not_shared_is_used_by_one_stage_at_a_time(yard: Yard, sharing: str) -> None:
    use = "mkdir /c/busy && for each in a b c d e f g h; do ls -lR /bin > /c/busy/list; done && rm -r /c/busy"
    mount = f"--mount=type=cache,target=/c,id={sharing},sharing={sharing}"
    await yard.build(f"""
    FROM {BUSYBOX} AS one
    RUN {mount} {use} && echo 1
    FROM {BUSYBOX} AS two
    RUN {mount} {use} && echo 2
    FROM scratch
    COPY --from=one /bin/busybox /1
    COPY --from=two /bin/busybox /2
    """)

    assert sorted(yard.output) == ["1", "2"]
