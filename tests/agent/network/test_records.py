from pathlib import Path

from agent.network.attachment import Published
from agent.network.records import Record, Records

WEB = Record("default/web.1", ("10.208.4.2",), (Published("", 8080, 80, "tcp"),))


def test_what_was_written_is_read_after_a_restart(tmp_path: Path) -> None:
    Records(tmp_path / "network").write(WEB)

    assert list(Records(tmp_path / "network").read()) == [WEB]


def test_what_was_forgotten_is_gone(tmp_path: Path) -> None:
    records = Records(tmp_path / "network")
    records.write(WEB)
    records.forget(WEB.task)
    records.forget(WEB.task)

    assert list(records.read()) == []


def test_a_record_that_was_cut_off_is_no_record(tmp_path: Path) -> None:
    records = Records(tmp_path / "network")
    records.write(WEB)
    (tmp_path / "network/half.json").write_text('{"task": "ha')
    (tmp_path / "network/empty.json").touch()
    (tmp_path / "network/web.new").write_bytes((tmp_path / "network/default%2Fweb.1.json").read_bytes())

    assert list(records.read()) == [WEB]
    assert [path.name for path in (tmp_path / "network").iterdir()] == ["default%2Fweb.1.json"]


def test_no_task_key_leads_out_of_the_folder(tmp_path: Path) -> None:
    records = Records(tmp_path / "network")
    records.write(Record("../../etc/passwd", ("10.208.4.2",)))

    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "network"]
