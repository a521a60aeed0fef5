"""The rules of the architecture that a tool can hold: imports, drawn pages, links, examples, generated code."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import draw

ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = ("proto/orch", "controlplane", "agent", "cli")


def _sources() -> list[Path]:
    return [
        path
        for program in _PROGRAMS
        for path in sorted((ROOT / program).rglob("*.py"))
        if "_pb2" not in path.name
    ]


@pytest.mark.parametrize("page", draw.PAGES)
def test_a_drawn_page_says_what_the_code_says(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == draw.PAGES[page](), "run: python docs/draw.py"


def test_generated_code_is_as_new_as_what_it_is_made_from() -> None:
    for source in (ROOT / "proto").rglob("*.proto"):
        module = ".".join(source.relative_to(ROOT / "proto").with_suffix("").parts) + "_pb2"
        made = importlib.import_module(module).DESCRIPTOR
        written = set(re.findall(r"^message (\w+)", source.read_text(), re.MULTILINE))
        assert written == set(made.message_types_by_name), f"{module} is old; run: make proto"


def test_every_link_in_the_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_module_says_its_job() -> None:
    for path in _sources():
        text = path.read_text().strip()
        assert not text or text.startswith(('"""', "#!")), f"{path.relative_to(ROOT)} has no docstring"


def test_no_name_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
    for path in _sources():
        assert path.stem not in empty, f"{path.relative_to(ROOT)}: what is its job?"


def test_no_cancellation_is_forgotten() -> None:
    """On Python 3.11 `asyncio.wait_for` forgets one that comes with the result; `asyncio.timeout` does not."""
    for path in _sources():
        assert "asyncio.wait_for(" not in path.read_text(), f"{path.relative_to(ROOT)}: use asyncio.timeout"


def test_the_import_rules_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
