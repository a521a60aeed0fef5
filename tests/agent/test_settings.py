"""The agent's command line: what makes no sense is said, with the option's name."""

from pathlib import Path

import pytest

from agent import settings
from agent.network.peering import Mode, Underlay


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("orch1.a.b\n")
    assert settings.read(["--token-file", str(tmp_path / "token")]).token == "orch1.a.b"


def test_a_token_that_was_removed_after_joining_is_no_token(tmp_path: Path) -> None:
    assert settings.read(["--token-file", str(tmp_path / "token")]).token == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--token-file", "/"], "--token-file: cannot read /: Is a directory"),
        (["--join", "nonsense"], "--join: 'nonsense' is not HOST:PORT"),
        (["--label", "zone"], "--label: 'zone' is not KEY=VALUE"),
        (["--network-mode", "vlan"], "--network-mode: invalid choice: 'vlan'"),
        (["--vxlan-port", "0"], "--vxlan-port: '0' is not a number from 1 to 65535"),
        (["--vxlan-vni", "16777216"], "--vxlan-vni: '16777216' is not a number from 1 to 16777215"),
    ],
)
def test_what_makes_no_sense_is_said(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.read(arguments)
    assert (ended.value.code, words in capsys.readouterr().err) == (2, True)


def test_what_carries_packets_between_nodes_can_be_chosen() -> None:
    assert settings.read([]).underlay == Underlay(Mode.AUTO, 4789, 208)
    chosen = ["--network-mode", "vxlan", "--vxlan-port", "8472", "--vxlan-vni", "7"]
    assert settings.read(chosen).underlay == Underlay(Mode.VXLAN, 8472, 7)
