"""orchctl as a program: its table of commands, its help, its process and what that imports."""

# ruff: noqa: E501  a line of a program is easier to read whole

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.main import _ALIASES, _COMMANDS
from tests.cli.conftest import Run


def test_the_table_names_every_file_of_commands_and_no_other() -> None:
    files = {path.stem.replace("_", "-") for path in Path("cli/commands").glob("*.py")} - {"--init--"}

    assert set(_COMMANDS) == files


@pytest.mark.parametrize(
    "words", [[name, "--help"] for name in _COMMANDS] + [[name, "--help"] for name in _ALIASES]
)
def test_every_command_and_alias_has_help(orchctl: Run, words: list[str]) -> None:
    done = orchctl(*words)

    assert done.code == 0
    assert "Usage: orchctl" in done.out
    assert "\\b" not in done.out, "a mark that keeps lines apart is shown instead"


def test_a_word_that_is_no_command_has_a_nearest(orchctl: Run) -> None:
    done = orchctl("aply")

    assert done.code == 2
    assert 'there is no command "aply" — did you mean "apply"?' in done.err


def _process(words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    command = f"{sys.executable} -m cli {words}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, **more)


def test_the_process_ends_with_the_code_and_all_of_its_output() -> None:
    done = _process("explain service; exit $?")

    assert done.returncode == 0
    assert done.stdout.endswith("\n")
    assert "rollout" in done.stdout
    assert _process("explain srvice").returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = _process("schema | head -1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_output_that_cannot_be_written_is_an_error() -> None:
    assert _process("version --client > /dev/full").returncode != 0


def test_help_imports_neither_grpc_nor_pydantic() -> None:
    code = "import sys; sys.argv=['orchctl','--help']; from cli.main import cli\ntry: cli.main(standalone_mode=False)\nfinally: print([m for m in ('grpc','pydantic','rich','google.protobuf','yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.endswith("[]\n")


def test_get_imports_no_model() -> None:
    code = "import sys, cli.commands.get, cli.connection; print([m for m in ('pydantic', 'rich', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "[]\n"
