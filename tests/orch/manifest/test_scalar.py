"""What unquoted words mean."""

from typing import Any

import pytest

from orch.manifest.scalar import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("0b11", "0b11"), ("30080:8080", "30080:8080"),
        ("017", 17), ("0o17", 15), ("0xff", 255), ("-3", -3), ("+3", 3), ("1e3", 1000.0), ("1.10", 1.1), (".5", 0.5),
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None), (".inf", float("inf")),
        ("-", "-"), ("+", "+"), (".", "."), ("1.2.3", "1.2.3"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_a_word_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)
