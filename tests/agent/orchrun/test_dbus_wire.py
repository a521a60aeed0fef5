"""D-Bus messages: bytes as the specification lays them out, and what is read again out of them."""

import pytest

from agent.orchrun import dbus_wire
from agent.orchrun.errors import Failed


def test_a_call_has_the_bytes_of_the_specification() -> None:
    made = dbus_wire.call(7, "a.b", "/p", "a.i", "M", "s", "hi")

    fields = (
        b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0"
        b"\x02\x01s\0\x03\0\0\0a.i\0\0\0\0\0"
        b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0"
        b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0"
        b"\x08\x01g\0\x01s\0"
    )
    head = b"l\x01\x00\x01" + (7).to_bytes(4, "little") + (7).to_bytes(4, "little")
    padding = bytes(-(16 + len(fields)) % 8)
    assert made == head + len(fields).to_bytes(4, "little") + fields + padding + b"\x02\0\0\0hi\0"
    assert dbus_wire.size(made[: dbus_wire.PREFIX_BYTES]) == len(made)


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("b", True),
        ("i", -5),
        ("t", (1 << 64) - 1),
        ("ay", [1, 0, 255]),
        ("as", []),
        ("a(st)", [("/dev/block/8:0", 1024), ("b", 2)]),
        ("(ybu)", (1, False, 3)),
        ("a(sa(su))", [("outer", [("inner", 4)]), ("none", [])]),
    ],
)
def test_values_come_back_as_they_went(signature: str, value: object) -> None:
    heard = dbus_wire.Message(dbus_wire.call(1, "a.b", "/", "a.b", "M", f"s{signature}", "first", value))

    assert heard.body() == ("first", value)
    assert (heard.kind, heard.member, heard.interface) == (dbus_wire.CALL, "M", "a.b")


def test_a_variant_comes_back_as_its_value() -> None:
    properties = [("MemoryMax", ("t", 5)), ("PIDs", ("au", [7])), ("Slice", ("s", "system.slice"))]

    heard = dbus_wire.Message(dbus_wire.call(1, "a.b", "/", "a.b", "M", "a(sv)", properties))

    assert heard.body() == ([("MemoryMax", 5), ("PIDs", [7]), ("Slice", "system.slice")],)


def test_signatures_are_split_into_complete_types() -> None:
    assert list(dbus_wire.split("ssa(sv)a(sa(sv))ay")) == ["s", "s", "a(sv)", "a(sa(sv))", "ay"]


def test_another_byte_order_is_refused() -> None:
    with pytest.raises(Failed, match="byte order"):
        dbus_wire.size(b"B" + bytes(15))
