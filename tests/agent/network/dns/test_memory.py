"""The file of all services, as it grows, is replaced, and is cut off."""

from pathlib import Path

import pytest

from agent.network.dns.memory import Memory
from agent.network.dns.table import Table
from agent.network.names_file import NamesFile


def line(address: str) -> str:
    return f'[["{address}"],[],[]]'


def read(memory: Memory) -> dict[str, str]:
    """All that is in the table, after what is in the file was read."""
    while not memory.step():
        pass
    found = {name: memory.table.find(name) for name in memory.table.names()}
    return {name: ".".join(map(str, each.virtual[0])) for name, each in found.items() if each}


def told(memory: Memory, word: str) -> dict[str, str]:
    if word == "reload":
        memory.begin_anew()
    return read(memory)


def test_what_is_appended_is_read_and_no_more(tmp_path: Path) -> None:
    file = NamesFile(tmp_path / "services")
    one = {"web.default": line("10.0.0.1"), "cart.shop": line("10.0.0.2")}
    assert file.write(one) == "reload"
    memory = Memory(str(tmp_path / "services"), Table())
    assert read(memory) == {"web.default": "10.0.0.1", "cart.shop": "10.0.0.2"}

    size = (tmp_path / "services").stat().st_size
    assert file.write(one) == ""
    two = {"web.default": line("10.0.0.9"), "db.default": line("10.0.0.3")}
    assert file.write(two) == "more"
    assert told(memory, "more") == {"web.default": "10.0.0.9", "db.default": "10.0.0.3"}
    assert (tmp_path / "services").stat().st_size - size < 100

    assert read(Memory(str(tmp_path / "services"), Table())) == read(memory), "as after a restart of orch-dns"


def test_a_file_that_has_grown_long_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.network.names_file.MOST_APPENDED_BYTES", 200)
    file = NamesFile(tmp_path / "services")
    memory = Memory(str(tmp_path / "services"), Table())
    words = []
    for number in range(20):
        words.append(file.write({"web.default": line(f"10.0.0.{number}")}))
        assert told(memory, words[-1]) == {"web.default": f"10.0.0.{number}"}

    assert words.count("reload") in range(2, 6)
    assert (tmp_path / "services").stat().st_size < 400


def test_another_agent_begins_with_the_whole(tmp_path: Path) -> None:
    NamesFile(tmp_path / "services").write({"web.default": line("10.0.0.1"), "old.default": line("10.0.0.5")})
    memory = Memory(str(tmp_path / "services"), Table())
    read(memory)

    word = NamesFile(tmp_path / "services").write({"web.default": line("10.0.0.2")})

    assert told(memory, word) == {"web.default": "10.0.0.2"}


def test_a_line_that_is_cut_off_waits_for_its_rest_and_nonsense_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "services"
    path.write_text(f"web.default\t{line('10.0.0.1')}\ndb.default\t[[")
    memory = Memory(str(path), Table())
    assert read(memory) == {"web.default": "10.0.0.1"}

    with path.open("a") as file:
        file.write('"10.0.0.2"],[],[]]\n')
        for nonsense in (
            "[[1],2,3]",
            "{}",
            "nothing",
            '[["no address"],[],[]]',
            "[[],[],[[1]]]",
            "[[],[[1]],[]]",
        ):
            file.write(f"bad.default\t{nonsense}\n")
        file.write(f"cart.shop\t{line('10.0.0.3')}\n\n")

    assert read(memory) == {"web.default": "10.0.0.1", "db.default": "10.0.0.2", "cart.shop": "10.0.0.3"}


def test_a_file_that_cannot_be_written_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    file = NamesFile(folder / "services")
    file.write({"web.default": line("10.0.0.1")})
    (folder / "services").unlink()
    folder.rmdir()
    with pytest.raises(OSError, match="services"):
        file.write({"web.default": line("10.0.0.2")})

    folder.mkdir()
    assert file.write({"web.default": line("10.0.0.2")}) == "reload"
