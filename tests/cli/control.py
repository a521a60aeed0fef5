"""A control plane that answers as it is told: real gRPC with real certificates, made-up answers."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from orch.model import selector
from orch.v1 import control_pb2 as pb
from orch.v1 import control_pb2_grpc
from tests.support.certificates import Authority, Files


class Control(control_pb2_grpc.ControlServicer):
    """Objects and answers are lists that a test fills; requests are kept."""

    def __init__(self) -> None:
        self.objects: list[pb.Object] = []
        self.watched: list[pb.WatchReply | Exception] = []
        """Sent by Watch after the objects."""
        self.answers: dict[str, Any] = {}
        """By method: a reply, a list of replies for streams, an error, or a function of the request."""
        self.requests: list[tuple[str, Any]] = []
        self.age = 0.0

    def last(self, method: str) -> Any:
        """The latest request of a method."""
        return next(request for name, request in reversed(self.requests) if name == method)

    def Get(self, request: pb.GetRequest, context: Any) -> pb.GetReply:  # noqa: N802
        self.requests.append(("Get", request))
        return pb.GetReply(objects=[each for each in self.objects if _is_meant(each, request)], age=self.age)

    def Watch(self, request: pb.GetRequest, context: Any) -> Iterator[pb.WatchReply]:  # noqa: N802
        self.requests.append(("Watch", request))
        yield pb.WatchReply(changed=[each for each in self.objects if _is_meant(each, request)], synced=True)
        for reply in list(self.watched):
            if isinstance(reply, Exception):
                _fail(context, reply)
            yield reply
        while context.is_active() and not self.answers.get("Watch ends"):
            context.add_callback(lambda: None)
            if not _sleep_until_gone(context):
                return

    def __getattribute__(self, name: str) -> Any:
        """Every other method of the service answers from `answers`."""
        if name in _UNARY:
            return lambda request, context: self._answer(name, request, context)
        if name in _STREAMS:
            return lambda request, context: self._answers(name, request, context)
        return super().__getattribute__(name)

    def _answer(self, name: str, request: Any, context: Any) -> Any:
        self.requests.append((name, request))
        found = self.answers.get(name)
        found = found(request) if callable(found) else found
        if isinstance(found, Exception):
            _fail(context, found)
        return found if found is not None else _UNARY[name]()

    def _answers(self, name: str, request: Any, context: Any) -> Iterator[Any]:
        found = self.answers.get(name, [])
        found = found(request) if callable(found) else found
        if name != "Exec":
            self.requests.append((name, request))
        for reply in found:
            if isinstance(reply, Exception):
                _fail(context, reply)
            yield reply


class Error(Exception):
    """An answer that is a status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


_UNARY: dict[str, Callable[[], Any]] = {
    "Apply": pb.ApplyReply,
    "Delete": pb.DeleteReply,
    "Scale": pb.ApplyReply,
    "Rollout": pb.ApplyReply,
    "ChangeNode": pb.ChangeNodeReply,
    "Why": pb.WhyReply,
    "JoinToken": pb.JoinTokenReply,
    "CertifyUser": pb.CertifyUserReply,
    "Version": pb.VersionReply,
}
_STREAMS = {"Logs", "Exec", "Store"}


@contextlib.contextmanager
def serving(control: Control, authority: Authority, certificate: Files) -> Iterator[str]:
    """The address where it answers, over mutual TLS."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    control_pb2_grpc.add_ControlServicer_to_server(control, server)
    credentials = grpc.ssl_server_credentials(
        [(certificate.key.read_bytes(), certificate.cert.read_bytes())],
        authority.file.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def _sleep_until_gone(context: Any) -> bool:
    """Waits for the client to leave."""
    gone = concurrent.futures.Future[None]()
    if not context.add_callback(lambda: gone.set_result(None)):
        return False
    gone.result(timeout=60)
    return False


def _fail(context: Any, error: Exception) -> None:
    code = error.code if isinstance(error, Error) else grpc.StatusCode.INTERNAL
    context.abort(code, str(error))


def _is_meant(object_: pb.Object, request: pb.GetRequest) -> bool:
    kind = object_.WhichOneof("kind")
    view = getattr(object_, kind)
    if f"{kind}s" not in request.kinds:
        return False
    namespace, names, labels = _identity(kind, view)
    if request.namespace not in ("", namespace) and namespace:
        return False
    if kind == "task" and view.state in _FINISHED and not request.all:
        return False
    if not selector.parse(request.selector).matches(labels):
        return False
    return not request.names or any(name in request.names for name in names)


_FINISHED = {8, 9, 10}


def _identity(kind: str, view: Any) -> tuple[str, Sequence[str], Any]:
    match kind:
        case "service":
            return view.service.name.namespace, [view.service.name.name], view.service.labels
        case "task":
            task = view.task.id
            slot = f"{task.service}.{task.slot}"
            return task.namespace, [task.service, slot, f"{slot}.{task.attempt}"], {}
        case "node":
            return "", [view.spec.name], view.spec.labels
        case "event":
            return view.namespace, [view.object], {}
        case "revision":
            return view.revision.service.namespace, [view.revision.service.name], {}
        case "namespace":
            return "", [view.name], view.labels
    return view.name.namespace, [view.name.name], view.labels


def write_context(directory: Path, addresses: Sequence[str], ca: Path, files: Files) -> None:
    """As `dev up` writes it, with the name in the test's certificates. `ORCH_CONFIG` must name the directory."""
    from cli import context

    context.save("test", addresses, ca, files.cert, files.key, server_name="127.0.0.1")
    context.use("test")
    assert (directory / "current").exists()
