"""Small pictures of tasks, for tables of decisions."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agent.images.image import Image
from agent.network.attachment import Attached
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container, Observed, Trouble
from agent.runtime.container import Exited, Running
from orch.model.container import ContainerSpec
from orch.model.names import TaskId
from orch.model.policy import OnNodeLoss, PortSpec, RestartPolicy, StopPolicy
from orch.model.service import TaskTemplate
from orch.model.task import Wanted
from orch.oci.image_config import ImageConfig

NOW = 1000.0
TASK = TaskId("default", "web", 7, 1, 1)
IMAGE = Image("web:1", "sha256:1", ImageConfig(stop_signal="SIGQUIT"), ("/layers/1",))
PLACE = Attached(TASK.key, "/run/netns/x", ("10.208.4.2",), "10.208.4.1")


def a_spec(name: str = "main", **more: Any) -> ContainerSpec:
    return ContainerSpec(name=name, image="web:1", **more)


def an_asked(
    *containers: ContainerSpec,
    inits: Iterable[ContainerSpec] = (),
    restart: RestartPolicy | None = None,
    stop: StopPolicy | None = None,
    ports: tuple[PortSpec, ...] = (),
    loss: OnNodeLoss | None = None,
    **more: Any,
) -> Asked:
    template = TaskTemplate(
        containers=containers or (a_spec(),),
        init_containers=tuple(inits),
        restart=restart or RestartPolicy(),
        stop=stop or StopPolicy(drain_delay=0.0, grace_period=10.0),
        ports=ports,
        on_node_loss=loss or OnNodeLoss(),
    )
    return Asked(TASK, 1, template, **more)


def stopped(asked: Asked, since: float = NOW) -> Asked:
    return replace(asked, wanted=Wanted.STOP, stop_since=since, drained_since=since)


def running(name: str = "main", run: int = 1, **more: Any) -> Container:
    number = f"{TASK.key}.{name}.1.{run}"
    return Container(name, run=run, id=number, running=Running(number, 100 + run, 5, NOW - 60), **more)


def exited(
    name: str = "main", code: int | None = 1, count: int = 1, at: float = NOW, **more: Any
) -> Container:
    """One that ended; with a trouble unless it ended with 0."""
    number = f"{TASK.key}.{name}.1.1"
    trouble = Trouble("ExitCode", f"container {name} ended with exit code {code}", at, count, crash=True)
    end = Exited(number, 101, code, None, False, at)
    known = {"trouble": trouble if code else None, "exited": end, **more}
    return Container(name, run=1, id=number, **known)


def a_prepared(*containers: Container, **more: Any) -> Observed:
    """Image, network and files are there."""
    return Observed(
        containers={each.name: each for each in containers},
        images={"web:1": IMAGE},
        attached=PLACE,
        files_ready=True,
        **more,
    )
