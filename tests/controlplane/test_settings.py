"""The control plane's command line: what makes no sense is said, with the option's name."""

from pathlib import Path

import pytest

from controlplane import settings
from controlplane.api import datadir


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nonsense"], "--listen: 'nonsense' is not HOST:PORT"),
        (["--join-listen", ":80"], "--join-listen: ':80' is not HOST:PORT"),
        (["--advertise", "a:99999"], "--advertise: 'a:99999' is not HOST:PORT"),
        (["--etcd-ca", "/nope"], "--etcd-ca: cannot read /nope: No such file"),
        (["--task-range", "nonsense"], "'nonsense' does not appear to be an IPv4 or IPv6 network"),
        (["--node-prefix", "8"], "does not cut"),
    ],
)
def test_what_makes_no_sense_is_said(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.parse(arguments)
    assert (ended.value.code, words in capsys.readouterr().err) == (2, True)


def test_a_directory_that_cannot_be_made_is_named() -> None:
    with pytest.raises(datadir.BadDirectory, match="cannot keep data in /proc/x"):
        datadir.lock(Path("/proc/x"))
