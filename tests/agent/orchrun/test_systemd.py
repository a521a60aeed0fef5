"""The talk with systemd, held with a peer that answers as systemd does, over a real socket."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.orchrun import dbus_wire, systemd
from agent.orchrun.errors import Failed

JOB = "/org/freedesktop/systemd1/job/7"
Answer = Callable[[str, tuple[Any, ...]], "tuple[str, str] | str | None"]
"""Member and arguments → the result of the job that it begins, name and message of an error, or None to leave."""


class Peer:
    """Listens where systemd would; what it was asked stands in `asked`."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()

    def _serve(self) -> None:
        try:
            talk, _ = self._listener.accept()
        except OSError:
            return
        with talk, talk.makefile("rb") as heard:
            said = b""
            while b"BEGIN\r\n" not in said:
                said += talk.recv(4096)
            assert said.startswith(b"\0AUTH EXTERNAL ")
            if not said.endswith(b"BEGIN\r\n"):
                return  # what comes with it systemd leaves lying
            talk.sendall(b"OK 0123\r\n")
            while prefix := heard.read(dbus_wire.PREFIX_BYTES):
                data = prefix + heard.read(dbus_wire.size(prefix) - len(prefix))
                if not self._take(talk, data):
                    return

    def _take(self, talk: socket.socket, data: bytes) -> bool:
        serial = int.from_bytes(data[8:12], "little")
        asked = dbus_wire.Message(data)
        self.asked.append((asked.member, asked.body()))
        if asked.member == "Get":
            talk.sendall(_reply(serial, "v", ("s", "252.39-1~deb12u2")))
            return True
        match self.answer(asked.member, asked.body()):
            case None:
                return False
            case (name, why):
                talk.sendall(_reply(serial, "s", why, error=name))
            case "":
                talk.sendall(_reply(serial))
            case result:
                talk.sendall(_CHANGED + _removed("/another", "failed"))
                # In one write, the signal before the reply: systemd sends them in any order.
                talk.sendall(_removed(JOB, str(result)) + _reply(serial, "o", JOB))
        return True


def _reply(serial: int, signature: str = "", *values: Any, error: str = "") -> bytes:
    fields = [(5, ("u", serial)), *([(4, ("s", error))] if error else [])]
    return _message(dbus_wire.ERROR if error else dbus_wire.REPLY, fields, signature, values)


def _removed(job: str, result: str) -> bytes:
    interface = "org.freedesktop.systemd1.Manager"
    fields = [(1, ("o", "/org/freedesktop/systemd1")), (2, ("s", interface)), (3, ("s", "JobRemoved"))]
    return _message(dbus_wire.SIGNAL, fields, "uoss", (7, job, "box.scope", result))


def _message(kind: int, fields: list[Any], signature: str, values: tuple[Any, ...]) -> bytes:
    body, head = bytearray(), bytearray((ord("l"), kind, 0, 1))
    for one, value in zip(dbus_wire.split(signature), values, strict=True):
        dbus_wire.put(body, one, value)
    for one, value in (("u", len(body)), ("u", 1)):
        dbus_wire.put(head, one, value)
    dbus_wire.put(head, "a(yv)", [*fields, *([(8, ("g", signature))] if signature else [])])
    return bytes(head + bytes(-len(head) % 8) + body)


_CHANGED = b"\x01{\0".join(
    _message(
        dbus_wire.SIGNAL,
        [(1, ("o", "/a")), (2, ("s", "org.freedesktop.DBus.Properties")), (3, ("s", "PropertiesChanged"))],
        "s",
        ("org.freedesktop.systemd1.Unit",),
    ).rsplit(b"\x01s\0", 1)
)
"""A signal of a shape that nobody here reads; systemd sends many."""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[Answer], Peer]]:
    peers: list[Peer] = []

    def listen(answer: Answer) -> Peer:
        peers.append(Peer(tmp_path / "private", answer))
        return peers[-1]

    yield listen
    for peer in peers:
        peer.close()


def _talk(tmp_path: Path) -> systemd.Systemd:
    return systemd.Systemd(str(tmp_path / "private"), str(tmp_path / "no-bus"))


def test_a_unit_is_started_when_its_own_job_is_done(
    tmp_path: Path, listening: Callable[[Answer], Peer]
) -> None:
    peer = listening(lambda _member, _arguments: "done")

    with _talk(tmp_path) as manager:
        manager.start("box.scope", [("PIDs", ("au", [7]))])

    assert peer.asked == [("StartTransientUnit", ("box.scope", "replace", [("PIDs", [7])], []))]


def test_a_job_that_fails_is_an_error_with_its_result(
    tmp_path: Path, listening: Callable[[Answer], Peer]
) -> None:
    listening(lambda member, _arguments: "" if member == "ResetFailedUnit" else "failed")

    with _talk(tmp_path) as manager, pytest.raises(Failed, match=r"start box\.scope.*'failed'"):
        manager.start("box.scope", [])


def test_a_unit_that_failed_before_is_forgotten_and_made_again(
    tmp_path: Path, listening: Callable[[Answer], Peer]
) -> None:
    answers: list[tuple[str, str] | str] = [("org.freedesktop.systemd1.UnitExists", "it does"), "", "done"]
    peer = listening(lambda _member, _arguments: answers.pop(0))

    with _talk(tmp_path) as manager:
        manager.start("box.scope", [])

    members = [member for member, _ in peer.asked]
    assert members == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_what_systemd_refuses_is_said_in_its_words(
    tmp_path: Path, listening: Callable[[Answer], Peer]
) -> None:
    listening(lambda _member, _arguments: ("org.freedesktop.DBus.Error.InvalidArgs", "no such slice"))

    with _talk(tmp_path) as manager, pytest.raises(Failed, match=r"StartTransientUnit box\.scope: no such"):
        manager.start("box.scope", [])


def test_a_unit_that_is_gone_is_stopped(tmp_path: Path, listening: Callable[[Answer], Peer]) -> None:
    peer = listening(lambda _member, _arguments: ("org.freedesktop.systemd1.NoSuchUnit", "not loaded"))

    with _talk(tmp_path) as manager:
        manager.stop("box.scope")
        manager.forget("box.scope")

    assert [member for member, _ in peer.asked] == ["StopUnit", "ResetFailedUnit"]


def test_the_version_is_a_number(tmp_path: Path, listening: Callable[[Answer], Peer]) -> None:
    listening(lambda _member, _arguments: "")

    with _talk(tmp_path) as manager:
        assert manager.version() == 252


def test_without_systemd_both_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"private.*no such file.*no-bus: no such file"):
        _talk(tmp_path)


def test_a_systemd_that_goes_away_is_an_error(tmp_path: Path, listening: Callable[[Answer], Peer]) -> None:
    listening(lambda _member, _arguments: None)

    with _talk(tmp_path) as manager, pytest.raises(Failed, match="closed the connection: StopUnit"):
        manager.stop("box.scope")
