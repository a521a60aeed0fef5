"""Ports on the command line of `orchctl port-forward`."""

import pytest

from cli import forwarded
from cli.exits import Wrong
from cli.forwarded import Wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("8080:80", Wanted(8080, "80")),
        ("80", Wanted(80, "80")),
        (":80", Wanted(0, "80")),
        ("0:80", Wanted(0, "80")),
        ("8080:http", Wanted(8080, "http")),
        (":http", Wanted(0, "http")),
        ("http-alt", Wanted(None, "http-alt")),
    ],
)
def test_ports_are_written_as_kubectl_has_them(word: str, wanted: Wanted) -> None:
    assert forwarded.parse(word) == wanted


@pytest.mark.parametrize("word", ["", ":", "80:", "8080:0", "70000", "x:80", "99999:80", "1:2:3", "80/udp"])
def test_what_is_no_port_is_refused(word: str) -> None:
    with pytest.raises(Wrong, match=r"port"):
        forwarded.parse(word)
