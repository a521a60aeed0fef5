"""describe: the ports that an image speaks of."""

from cli.render import details
from orch.model.task import ContainerState, ContainerStatus
from tests.cli import views
from tests.cli.views import NOW


def a_task(*exposes: str) -> object:
    container = ContainerStatus("main", ContainerState.RUNNING, pid=1, started_at=NOW, exposes=exposes)
    return views.a_task(containers=(container,)).task


def test_a_task_shows_what_its_image_exposes() -> None:
    assert "exposes:  53/udp, 8080/tcp (says the image)" in details.task(
        a_task("53/udp", "8080/tcp"), [], NOW
    )
    assert "expose" not in details.task(a_task(), [], NOW)


def test_a_service_shows_those_that_its_manifest_does_not_speak_of() -> None:
    service = views.a_service("web").service

    page = details.service(service, [a_task("8080/tcp", "9090/tcp"), a_task("9090/tcp")], [], NOW)

    (line,) = [line for line in page.splitlines() if line.startswith("Exposed:")]
    assert line.split()[1:5] == ["9090/tcp,", "says", "the", "image:"]
    assert "Exposed" not in details.service(service, [a_task("8080/tcp")], [], NOW)
