"""What survives the agent, and what is refused."""

from pathlib import Path

import pytest

from agent.ledger import Ledger, next_incarnation, refusal
from orch.model.assignment import EndpointSection, File, FileSection, ServiceEndpoints, TaskSection
from orch.model.cluster import Stamp
from orch.model.names import ObjectName

HERE = Stamp("c1", incarnation=2, epoch=5, revision=100)


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (Stamp("c1", 2, 5, 100), ""),
        (Stamp("c1", 2, 6, 90), ""),
        (Stamp("c1", 3, 1, 1), ""),
        (Stamp("c1", 2, 5, 99), "older"),
        (Stamp("c1", 2, 4, 999), "older"),
        (Stamp("c1", 1, 9, 999), "earlier life"),
        (Stamp("c2", 9, 9, 999), "of cluster c2"),
        (Stamp(), "of cluster (none)"),
    ],
)
def test_only_what_is_newer_and_ours_is_taken_over(offered: Stamp, words: str) -> None:
    found = refusal(HERE, HERE, offered)

    assert words in found
    assert bool(found) == bool(words)


def test_the_first_word_of_all_is_taken_over() -> None:
    assert refusal(None, None, HERE) == ""


def test_each_section_has_its_own_age() -> None:
    assert refusal(HERE, None, Stamp("c1", 2, 5, 50)) == ""


async def test_of_endpoints_only_what_is_different_is_written(tmp_path: Path) -> None:
    def service(name: str, *addresses: str) -> ServiceEndpoints:
        return ServiceEndpoints(ObjectName("default", name), virtual_addresses=addresses)

    ledger = Ledger.open(tmp_path)
    a, b, c = service("a"), service("b"), service("c")
    ledger.accept(EndpointSection(HERE, 1, (a, b, c)))
    await ledger.settle()
    written: list[str] = []
    keep = ledger.keep
    ledger.keep = lambda kind, name, data: (written.append(name), keep(kind, name, data))[1]  # type: ignore[method-assign]

    changed = service("b", "10.224.0.1")
    ledger.accept(EndpointSection(HERE, 2, (a, changed)))
    await ledger.settle()

    assert written == ["default/b", "default/c", "endpoints"]
    again = Ledger.open(tmp_path)
    assert again.section("endpoints") == EndpointSection(HERE, 2, (a, changed))
    await again.close()
    await ledger.close()


async def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    assert ledger.accept(TaskSection(HERE, 4)) == ""
    ledger.keep("note", "k", b"1")
    ledger.keep("note", "gone", b"1")
    ledger.keep("note", "gone", None)
    await ledger.settle()
    # no close: the agent is killed

    again = Ledger.open(tmp_path)
    assert again.section("tasks") == TaskSection(HERE, 4)
    assert again.accepted == HERE
    assert again.kept("note") == {"k": b"1"}
    assert "older" in again.accept(TaskSection(Stamp("c1", 2, 5, 99), 3))
    await again.close()
    await ledger.close()


def everything_in(directory: Path) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in directory.iterdir())


async def test_a_secret_is_never_on_the_disk(tmp_path: Path) -> None:
    files = (
        File(ObjectName("default", "db"), 3, secret=True, data={"password": b"hunter2"}),
        File(ObjectName("default", "web"), 1, data={"web.conf": b"port 80"}),
    )
    ledger = Ledger.open(tmp_path)
    ledger.accept(FileSection(HERE, 1, files))
    await ledger.close()

    assert "hunter2" not in everything_in(tmp_path)
    again = Ledger.open(tmp_path)
    section = again.section("files")
    assert [(each.name.name, each.version, each.data) for each in section.files] == [
        ("db", 3, {}),
        ("web", 1, {"web.conf": b"port 80"}),
    ]
    await again.close()


async def test_each_agent_has_a_greater_incarnation_whatever_the_clock_says(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    assert next_incarnation(ledger, 5000.7) == 5000
    await ledger.close()

    ledger = Ledger.open(tmp_path)
    assert next_incarnation(ledger, 10.0) == 5001
    await ledger.close()


async def test_a_ledger_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 1000)

    ledger = Ledger.open(tmp_path)

    assert ledger.accepted is None
    assert (tmp_path / "ledger.broken").exists()
    await ledger.close()


async def test_a_disk_that_takes_nothing_more_is_told_and_got_over(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")

    ledger.accept(FileSection(HERE, 1, (File(ObjectName("default", "web"), 1, data={"a": b"x" * 100_000}),)))
    await ledger.settle()
    assert "disk" in ledger.problem
    assert ledger.accepted == HERE

    ledger._database.execute("PRAGMA max_page_count = 100000")
    ledger.keep("note", "k", b"1")
    await ledger.close()
    assert ledger.problem == ""
    again = Ledger.open(tmp_path)
    assert again.section("files").stamp == HERE
    await again.close()
