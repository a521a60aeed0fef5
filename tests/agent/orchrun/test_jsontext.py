"""The small JSON reader and writer, held to the standard library's."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.orchrun import jsontext
from agent.orchrun.errors import Failed

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES, st.sampled_from(["", "  ", "\t"]))
def test_what_is_written_is_read_back_by_everybody(value: Any, indent: str) -> None:
    text = jsontext.dumps(value, indent)

    assert json.loads(text) == value
    assert jsontext.loads(text, "it") == value


@given(_VALUES)
def test_what_others_write_is_read(value: Any) -> None:
    assert jsontext.loads(f" \n{json.dumps(value, indent=1)}\n", "it") == value
    assert jsontext.loads(json.dumps(value, ensure_ascii=False), "it") == value


@pytest.mark.parametrize(
    "text", ["", "   ", "{", "[1,", '{"a" 1}', "{} x", "nul", '{"a": \x01}', '"\x01"', "\ufeff{}"]
)
def test_what_is_no_json_is_named_by_its_file(text: str) -> None:
    with pytest.raises(Failed) as refused:
        jsontext.loads(text, "config.json")

    assert refused.value.message.startswith("config.json: ")


def test_a_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(Failed) as refused:
        jsontext.load(str(tmp_path / "config.json"))

    assert refused.value.message == f"open {tmp_path}/config.json: no such file or directory"


def test_what_is_wrong_is_explained_also_where_nobody_has_imported_json() -> None:
    code = "from agent.orchrun import jsontext\ntry: jsontext.loads('{', 'it')\nexcept Exception as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("it: Expecting property name")
