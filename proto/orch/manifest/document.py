"""What a manifest's documents become. Config and Namespace are the model's own."""

from dataclasses import dataclass, field

from orch.model.config import Config, Namespace
from orch.model.names import ObjectName
from orch.model.node import Taint
from orch.model.service import ServiceSpec


@dataclass(frozen=True, slots=True)
class ServiceDocument:
    """A service as it was asked for."""

    name: ObjectName
    spec: ServiceSpec
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlainSecret:
    """A secret before the control plane has encrypted it."""

    name: ObjectName
    type: str = "opaque"
    data: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"PlainSecret({self.name}, {sorted(self.data)})"


@dataclass(frozen=True, slots=True)
class NodeDocument:
    """Labels and taints of a node that exists."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


Value = ServiceDocument | Config | PlainSecret | Namespace | NodeDocument


@dataclass(frozen=True, slots=True)
class Written:
    """A value and where its document begins, `web.yaml:12`."""

    source: str
    value: Value


def identity(value: Value) -> tuple[str, ObjectName]:
    """Kind and name: what may stand only once in a set of documents."""
    match value:
        case ServiceDocument():
            return "Service", value.name
        case Config():
            return "Config", value.name
        case PlainSecret():
            return "Secret", value.name
        case Namespace():
            return "Namespace", ObjectName("", value.name)
        case NodeDocument():
            return "Node", ObjectName("", value.name)
