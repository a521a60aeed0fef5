import _socket
import errno
import os
import resource

import pytest

from agent.runtime import packets


@pytest.fixture
def pair() -> "tuple[_socket.socket, _socket.socket]":
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def test_a_word_comes_with_the_descriptors_that_were_sent_beside_it(
    pair: "tuple[_socket.socket, _socket.socket]",
) -> None:
    ours, theirs = pair
    ours.sendmsg([b"go"], [packets.rights((0, 0))])
    word, fds = packets.receive_word(theirs, 2)
    for fd in fds:
        os.close(fd)
    assert (word, len(fds)) == (b"go", 2)


def test_a_word_without_descriptors_and_an_end_are_heard(
    pair: "tuple[_socket.socket, _socket.socket]",
) -> None:
    ours, theirs = pair
    ours.send(b"go")
    ours.close()
    assert [packets.receive_word(theirs, 2), packets.receive_word(theirs, 2)] == [(b"go", []), (b"", [])]


def test_descriptors_that_had_no_room_are_not_taken_for_none(
    pair: "tuple[_socket.socket, _socket.socket]",
) -> None:
    ours, theirs = pair
    ours.sendmsg([b"go"], [packets.rights((0, 0, 0))])
    free = os.dup(0)
    os.close(free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))
    try:
        with pytest.raises(OSError) as refusal:
            packets.receive_word(theirs, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert refusal.value.errno == errno.EMFILE
