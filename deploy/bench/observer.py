"""A user of the API that watches all tasks and remembers every task's last word, also of those that have gone."""

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc

from orch import wire
from orch.model import names, service, task
from orch.v1 import control_pb2, control_pb2_grpc, values_pb2

_TIMEOUT_S = 60.0


class Observer:
    """Applies and deletes services, and waits for what its watch says."""

    def __init__(self, address: str, credentials: Path) -> None:
        files = (credentials / name for name in ("ca.crt", "admin.key", "admin.crt"))
        self._channel = grpc.secure_channel(
            address, grpc.ssl_channel_credentials(*(f.read_bytes() for f in files))
        )
        self.control = control_pb2_grpc.ControlStub(self._channel)
        self._changed = threading.Condition()
        self.tasks: dict[str, control_pb2.TaskView] = {}
        self.gone: set[str] = set()
        self.services: dict[str, control_pb2.ServiceView] = {}
        self._stream = self.control.Watch(control_pb2.GetRequest(kinds=["services", "tasks"], all=True))
        threading.Thread(target=self._follow, daemon=True).start()

    def close(self) -> None:
        self._stream.cancel()
        self._channel.close()

    def apply(self, name: str, replicas: int, image: str, **rollout: object) -> float:
        """Returns when the API received it, seconds since 1970."""
        spec = service.ServiceSpec.model_validate(
            {
                "replicas": replicas,
                "template": {
                    "containers": [{"image": image, "resources": {"limits": {"memory": "64Mi", "pids": 64}}}],
                    "stop": {"drain_delay": 0},
                },
                "rollout": {"min_ready": 0, **rollout},
            }
        )
        document = control_pb2.Document(
            service=control_pb2.ServiceDocument(
                name=values_pb2.ObjectName(namespace=names.DEFAULT_NAMESPACE, name=name),
                spec=wire.to_wire(spec),
            )
        )
        request = control_pb2.ApplyRequest(documents=[document], request_id=uuid.uuid4().hex)
        return float(self.control.Apply(request).received_at)

    def delete(self, name: str) -> float:
        """Returns when the API received it, seconds since 1970."""
        reference = control_pb2.Reference(kind="service", namespace=names.DEFAULT_NAMESPACE, name=name)
        return float(self.control.Delete(control_pb2.DeleteRequest(references=[reference])).received_at)

    def of(self, name: str) -> list[control_pb2.TaskView]:
        """All tasks of a service that are wanted and running."""
        return [
            view
            for view in list(self.tasks.values())
            if view.task.id.service == name
            and view.task.wanted == task.Wanted.RUN
            and view.state == task.TaskState.RUNNING
            and not view.unreachable
        ]

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Until it holds. Raises TimeoutError."""
        deadline = time.monotonic() + _TIMEOUT_S
        with self._changed:
            while not holds():
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{what} did not happen within {_TIMEOUT_S:.0f} s")

    def wait_running(self, name: str, count: int, image: str = "") -> list[control_pb2.TaskView]:
        """Until so many tasks of the service run (with that image)."""

        def found() -> list[control_pb2.TaskView]:
            return [
                view
                for view in self.of(name)
                if view.ready and (not image or view.image.partition("@")[0] == image)
            ]

        self.wait(f"{count} of {name} running", lambda: len(found()) >= count)
        return found()

    def wait_gone(self, name: str) -> None:
        """Until the service and everything of it has ended."""

        def all_over() -> bool:
            return name not in self.services and all(
                key in self.gone or view.state >= task.TaskState.COMPLETE
                for key, view in self.tasks.items()
                if view.task.id.service == name
            )

        self.wait(f"{name} gone", all_over)

    def _follow(self) -> None:
        try:
            for reply in self._stream:
                with self._changed:
                    self._take(reply)
                    self._changed.notify_all()
        except grpc.RpcError:
            return

    def _take(self, reply: control_pb2.WatchReply) -> None:
        for changed in reply.changed:
            if changed.HasField("task"):
                self.tasks[_key(changed.task.task.id)] = changed.task
            elif changed.HasField("service"):
                self.services[changed.service.service.name.name] = changed.service
        for removed in reply.removed:
            if removed.kind.startswith("service"):
                self.services.pop(removed.name, None)
            else:
                self.gone.update(key for key, view in self.tasks.items() if _is(view.task.id, removed))


def _key(identity: values_pb2.TaskId) -> str:
    return str(wire.from_wire(identity, names.TaskId).key)


def _is(identity: values_pb2.TaskId, reference: control_pb2.Reference) -> bool:
    known = wire.from_wire(identity, names.TaskId)
    return reference.uid in {known.uid, known.key}


ROLLOUT_FIVE_AT_A_TIME = {"max_surge": "5", "max_unavailable": "0"}
