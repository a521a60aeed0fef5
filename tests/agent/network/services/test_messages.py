import struct

import pytest

from agent.network.services import messages


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, number and body of each message."""
    found = []
    while data:
        length, kind, flags, number, _ = struct.unpack_from("=IHHII", data)
        found.append((kind, flags, number, data[16:length]))
        data = data[length:]
    return found


@pytest.mark.parametrize("key", [b"1234", b"12345678", b"123456789"])
@pytest.mark.parametrize("value", [b"", b"abcd", b"abcdef", "a-chain"])
def test_elements_are_read_as_they_were_written(key: bytes, value: bytes | str) -> None:
    [message] = messages.new_elements("orch", "a_map", [(key, value), (key, value)])

    [(_, _, _, body)] = split(message)
    assert list(messages.read_elements(body)) == [(key, value), (key, value)]


def test_many_elements_are_few_messages_that_fit() -> None:
    keys = [number.to_bytes(4, "big") for number in range(1201)]

    made = list(messages.lost_elements("orch", "a_map", keys))

    assert [len(list(messages.read_elements(split(each)[0][3]))) for each in made] == [500, 500, 201]
    assert all(len(each) < 1 << 16 for each in made)


def test_a_transaction_is_framed_numbered_and_answered_once() -> None:
    wishes = [messages.new_chain("orch", "one"), messages.new_chain("orch", "two")]

    data, last = messages.transaction(wishes)

    begin, one, two, end = split(data)
    assert (begin[0], end[0]) == (0x10, 0x11)
    assert [each[2] for each in (begin, one, two, end)] == [1, 2, 3, 4]
    assert last == 3
    assert [bool(each[1] & messages.NLM_F_ACK) for each in (begin, one, two, end)] == [
        False,
        False,
        True,
        False,
    ]
