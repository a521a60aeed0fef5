"""A talk with systemd over D-Bus: units started, changed and stopped, each job waited for.

Over systemd's own socket, which needs no message bus; where only the bus can be reached, over that.
"""

import _socket
import os
import time

from agent.orchrun import dbus_wire
from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    Property = tuple[str, tuple[str, Any]]

WITHIN_SECONDS = 30.0
_RUNS = "/run/systemd/system"
_PRIVATE = "/run/systemd/private"
_BUS = "/run/dbus/system_bus_socket"
_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
_NO_SUCH_UNIT = f"{_NAME}.NoSuchUnit"
_UNIT_EXISTS = f"{_NAME}.UnitExists"
_BROKER = "org.freedesktop.DBus"
_CHUNK_BYTES = 65536


class Refused(Failed):
    """systemd answered with an error; `name` is D-Bus's."""

    def __init__(self, what: str, name: str, why: str) -> None:
        super().__init__(f"systemd: {what}: {why or name}")
        self.name = name


def is_running() -> bool:
    """As PID 1 of this machine: sd_booted asks the same."""
    return os.path.isdir(_RUNS)


class Systemd:
    """A connection; use it as a context."""

    __slots__ = ("_deadline", "_heard", "_is_bus", "_jobs", "_serial", "_sock")

    def __init__(self, private: str = _PRIVATE, bus: str = _BUS) -> None:
        self._deadline = time.monotonic() + WITHIN_SECONDS
        self._serial = 0
        self._heard = b""
        self._jobs: dict[str, str] = {}
        """Path of a job that is over → its result."""
        self._sock, self._is_bus = _connect(private, bus)

    def __enter__(self) -> "Self":
        self._authenticate()
        if self._is_bus:
            self._ask(_BROKER, "/org/freedesktop/DBus", _BROKER, "Hello")
            rule = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"
            self._ask(_BROKER, "/org/freedesktop/DBus", _BROKER, "AddMatch", "s", rule)
            self._manager("Subscribe")
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def version(self) -> int:
        """254 for systemd 254.5-1."""
        [(text)] = self._ask(
            _NAME, _PATH, "org.freedesktop.DBus.Properties", "Get", "ss", _MANAGER, "Version"
        )
        digits = ""
        for letter in text.lstrip("v"):
            if not letter.isdigit():
                break
            digits += letter
        return int(digits or 0)

    def start(self, unit: str, properties: "list[Property]") -> None:
        """A transient unit; one of that name which has failed before makes room."""
        try:
            job = self._transient(unit, properties)
        except Refused as refused:
            if refused.name != _UNIT_EXISTS:
                raise
            self.forget(unit)
            job = self._transient(unit, properties)
        result = self._result(job, unit)
        if result != "done":
            self.forget(unit)
            raise Failed(f"systemd: start {unit}: the job ended as {result!r}; systemctl status {unit}")

    def _transient(self, unit: str, properties: "list[Property]") -> str:
        [job] = self._manager("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", properties, [])
        return str(job)

    def change(self, unit: str, properties: "list[Property]") -> None:
        """Until the next boot."""
        self._manager("SetUnitProperties", "sba(sv)", unit, True, properties)

    def stop(self, unit: str) -> None:
        """Whether it is there or not."""
        try:
            [job] = self._manager("StopUnit", "ss", unit, "replace")
        except Refused as refused:
            if refused.name != _NO_SUCH_UNIT:
                raise
            return
        self._result(job, unit)

    def forget(self, unit: str) -> None:
        """That it has failed."""
        try:
            self._manager("ResetFailedUnit", "s", unit)
        except Refused as refused:
            if refused.name != _NO_SUCH_UNIT:
                raise

    def _manager(self, member: str, signature: str = "", *values: "Any") -> "tuple[Any, ...]":
        return self._ask(_NAME, _PATH, _MANAGER, member, signature, *values)

    def _ask(
        self, to: str, path: str, interface: str, member: str, signature: str = "", *values: "Any"
    ) -> "tuple[Any, ...]":
        self._serial += 1
        self._sock.sendall(dbus_wire.call(self._serial, to, path, interface, member, signature, *values))
        while True:
            heard = self._next(member)
            if heard.answered == self._serial:
                break
        if heard.kind == dbus_wire.ERROR:
            what = f"{member} {values[0]}" if values else member
            raise Refused(what, heard.error, " ".join(map(str, heard.body())))
        return heard.body()

    def _result(self, job: str, unit: str) -> str:
        while job not in self._jobs:
            self._next(f"the job of {unit}")
        return self._jobs[job]

    def _next(self, what: str) -> dbus_wire.Message:
        prefix = self._read(dbus_wire.PREFIX_BYTES, what)
        data = self._read(dbus_wire.size(prefix), what)
        self._heard = self._heard[len(data) :]
        heard = dbus_wire.Message(data)
        if heard.kind == dbus_wire.SIGNAL and heard.member == "JobRemoved" and heard.interface == _MANAGER:
            _, job, _, result = heard.body()
            self._jobs[job] = result
        return heard

    def _read(self, count: int, what: str) -> bytes:
        """So many bytes of what was heard and not yet used up."""
        while len(self._heard) < count:
            self._more(what)
        return self._heard[:count]

    def _more(self, what: str) -> None:
        left = self._deadline - time.monotonic()
        late = Failed(
            f"systemd did not answer within {WITHIN_SECONDS:.0f} s: {what}; is it busy or stopping?"
        )
        if left <= 0:
            raise late
        self._sock.settimeout(left)
        try:
            heard = self._sock.recv(_CHUNK_BYTES)
        except TimeoutError:
            raise late from None
        if not heard:
            raise Failed(f"systemd closed the connection: {what}")
        self._heard += heard

    def _authenticate(self) -> None:
        """As who we are, which the socket proves.

        BEGIN goes along, and nothing else: what systemd reads together with it, it would leave lying until it
        hears more from us.
        """
        user = str(os.geteuid()).encode().hex()
        self._sock.settimeout(WITHIN_SECONDS)
        self._sock.sendall(f"\0AUTH EXTERNAL {user}\r\nBEGIN\r\n".encode())
        while b"\r\n" not in self._heard:
            self._more("to let us in")
        line, _, self._heard = self._heard.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise Failed(f"systemd does not let us in: {line.decode(errors='replace')}")


def _connect(*paths: str) -> "tuple[_socket.socket, bool]":
    """And whether it is the second."""
    why = ""
    for path in paths:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
        except OSError as error:
            why += f"; {path}: {(error.strerror or str(error)).lower()}"
            sock.close()
            continue
        return sock, path != paths[0]
    raise Failed(f"systemd cannot be reached{why}")
