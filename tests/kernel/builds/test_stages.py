"""Stages, and what of them is built."""

import asyncio
import json

import pytest

from agent.builds.order import BuildFailed
from orch.oci import reference
from tests.support.yard import BUSYBOX, Yard

pytestmark = pytest.mark.root


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


async def test_the_configuration_is_the_last_stages(yard: Yard) -> None:
    text = f"FROM {BUSYBOX}\nARG v=1\nENV A=$v\nEXPOSE 80\nLABEL x=y\nRUN env\nUSER app\nRUN id -u\n"
    image = await yard.build(text + 'CMD ["a"]\n', arguments={"v": "2"}, labels={"by": "me"})

    config = image.config
    assert dict(config.environment) == {"PATH": "/bin", "FROM_BASE": "yes", "A": "2"}
    assert (config.user, config.command, config.exposed_ports) == ("app", ("a",), ("80/tcp",))
    assert dict(config.labels) == {"x": "y", "by": "me"}
    assert {"A=2", "v=2", "FROM_BASE=yes", "HOME=/root"} <= set(yard.output)
    assert yard.output[-1] == "1000"


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


async def test_history_says_what_was_done(yard: Yard) -> None:
    image = await yard.build(f"FROM {BUSYBOX}\nENV a=1\nRUN echo x > /x\n")
    words = json.loads((yard.images.library.directory / "images" / f"{image.digest[7:]}.json").read_text())
    history = json.loads(words["config"])["history"]

    assert [(one["created_by"], one.get("empty_layer", False)) for one in history] == [
        (f"FROM {BUSYBOX}", False),
        ("ENV a=1", True),
        ("RUN echo x > /x", False),
    ]


async def test_two_builds_side_by_side_are_both_right(yard: Yard) -> None:
    yard.file("a", "1")
    texts = [
        f"FROM {BUSYBOX}\nCOPY a /a\nRUN --mount=type=cache,target=/c echo {n} >> /c/l; echo {n} > /n\n"
        for n in (1, 2)
    ]
    images = await asyncio.gather(*(yard.build(text) for text in texts))
    assert [yard.read(image, "n") for image in images] == ["1\n", "2\n"]


async def test_stages_that_need_nothing_of_each_other_go_side_by_side(yard: Yard) -> None:
    meet = "--mount=type=cache,target=/meet,id=meet"
    image = await yard.build(f"""
    FROM {BUSYBOX} AS left
    RUN {meet} touch /meet/left; until [ -e /meet/right ]; do true; done; echo l > /left
    FROM {BUSYBOX} AS right
    RUN {meet} touch /meet/right; until [ -e /meet/left ]; do true; done; echo r > /right
    FROM scratch
    COPY --from=left /left /
    COPY --from=right /right /
    """)

    assert sorted(yard.files(image)) == ["left", "right"]
    steps = [one.step for one in yard.said if one.kind == "begin"]
    assert sorted(steps) == [1, 2, 3, 4, 5, 6, 7]
    assert {one.step for one in yard.said if one.kind == "done"} == {2, 4, 6, 7}


async def test_the_same_step_in_two_stages_is_done_once(yard: Yard) -> None:
    await yard.build(f"""
    FROM {BUSYBOX} AS one
    RUN echo did it
    FROM {BUSYBOX} AS two
    RUN echo did it
    FROM scratch
    COPY --from=one /bin/busybox /1
    COPY --from=two /bin/busybox /2
    """)

    assert yard.output == ["did it"]


async def test_a_stage_that_fails_ends_those_beside_it(yard: Yard) -> None:
    with pytest.raises(BuildFailed, match="Dockerfile:4: the command ended with exit code 3"):
        await yard.build(f"""
        FROM {BUSYBOX} AS endless
        RUN --mount=type=cache,target=/meet,id=meet touch /meet/begun; while true; do true; done
        FROM {BUSYBOX} AS failing
        RUN --mount=type=cache,target=/meet,id=meet until [ -e /meet/begun ]; do true; done; exit 3
        FROM scratch
        COPY --from=endless / /
        COPY --from=failing / /
        """)

    assert await yard.hands.runtime.containers() == {}
    assert yard.hands.under_way == set()
