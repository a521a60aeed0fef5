"""Lines in the format of the CRI, rotation, and reading both back."""

# ruff: noqa: ASYNC240  /proc, /sys and small files do not block

import asyncio
from pathlib import Path

from agent.runtime import logs
from agent.runtime.logfile import LogFile


async def _texts(path: Path, **options: object) -> list[tuple[str, str]]:
    return [(line.stream, line.text) async for line in logs.read(path, "web", **options)]  # type: ignore[arg-type]


async def test_pieces_of_a_line_are_joined_for_each_stream(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "web.log"), 1 << 20, 3)
    file.write(b"stdout", b"one\ntw")
    file.write(b"stderr", b"oops\n")
    file.write(b"stdout", b"o\n\nthree")

    assert await _texts(tmp_path) == [
        ("stdout", "one"),
        ("stderr", "oops"),
        ("stdout", "two"),
        ("stdout", ""),
        ("stdout", "three"),
    ]


async def test_the_oldest_file_goes_when_there_are_enough(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "web.log"), 100, 3)
    for number in range(20):
        file.write(b"stdout", b"%040d\n" % number)

    said = [int(text) for _, text in await _texts(tmp_path)]
    assert said == list(range(20 - len(said), 20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]


async def test_a_line_that_a_crash_cut_short_hurts_no_other(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_bytes(b"2026-11-20T10:00:00.5Z stdout F whole\n2026-11-20T10:00")
    file = LogFile(str(tmp_path / "web.log"), 1 << 20, 3)
    file.write(b"stdout", b"after\n")

    assert [text for _, text in await _texts(tmp_path)] == ["whole", "after"]
    first = await anext(logs.read(tmp_path, "web"))
    assert first.timestamp == 1795168800.5


async def test_following_goes_on_over_rotations_and_ends_with_the_file(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "web.log"), 200, 5)
    file.write(b"stdout", b"0\n")
    seen = []
    async for line in logs.read(tmp_path, "web", follow=True):
        seen.append(int(line.text))
        if seen[-1] < 30:
            file.write(b"stdout", b"%d\n" % (seen[-1] + 1))
        else:
            file.finish()

    assert seen == list(range(31))


async def test_a_container_without_a_file_has_said_nothing(tmp_path: Path) -> None:
    assert await _texts(tmp_path) == []
    assert await _texts(tmp_path, tail=5) == []


async def test_the_last_lines_are_found_from_the_end_also_across_files_and_pieces(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "web.log"), 250_000, 20)
    for number in range(3000):
        file.write(b"stderr" if number % 3 else b"stdout", b"%d %s" % (number, b"x" * 300))
        file.write(b"stderr" if number % 3 else b"stdout", b"y F stdout\n")
    whole = await _texts(tmp_path)

    assert len(list(tmp_path.iterdir())) > 3
    for tail in (0, 1, 2, 700, 1400, 5000):
        assert await _texts(tmp_path, tail=tail) == (whole[-tail:] if tail else [])


async def test_a_long_log_lets_others_go_on_while_it_is_read(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "web.log"), 1 << 30, 2)
    file.write(b"stdout", b"line\n" * 200_000)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watching = asyncio.create_task(watch())
    assert len(await _texts(tmp_path, tail=150_000)) == 150_000
    watching.cancel()
    assert turns > 200
