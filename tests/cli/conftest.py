"""A scripted control plane, and orchctl as a user runs it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import exits
from cli.main import cli
from tests.cli.control import Control, serving, write_context
from tests.support.certificates import Authority, Files

WEB = """apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  replicas: 3
  image: web:2
"""


@dataclass(frozen=True)
class Trust:
    """Certificates for a whole run of the tests."""

    authority: Authority
    server: Files
    user: Files


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return Trust(authority, authority.issue("server"), authority.issue("user"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("ORCH_CONTEXT", raising=False)
    return tmp_path / "config"


@pytest.fixture
def control(trust: Trust, home: Path) -> Iterator[Control]:
    """It answers, and the user's context names it."""
    made = Control()
    with serving(made, trust.authority, trust.server) as address:
        write_context(home, [address], trust.authority.file, trust.user)
        yield made


@pytest.fixture
def orchctl(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process."""

    def run(*words: str) -> Done:
        capfdbinary.readouterr()
        code = exits.run(lambda: cli.main(list(words), prog_name="orchctl", standalone_mode=False))
        captured = capfdbinary.readouterr()
        return Done(code, captured.out.decode(), captured.err.decode())

    return run


@pytest.fixture
def web(tmp_path: Path) -> str:
    file = tmp_path / "web.yaml"
    file.write_text(WEB)
    return str(file)
