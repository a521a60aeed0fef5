"""Where names point."""

from agent.names import records
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId


def an_endpoint(slot: int, address: str, *, ready: bool = True, attempt: int = 1) -> Endpoint:
    return Endpoint(TaskId("default", "web", 7, slot, attempt), "n1", (address,), ready)


def test_a_service_a_slot_and_all_tasks_have_names() -> None:
    service = ServiceEndpoints(
        ServiceName("default", "web"),
        (an_endpoint(1, "10.0.0.1"), an_endpoint(2, "10.0.0.2"), an_endpoint(3, "10.0.0.3", ready=False)),
    )

    assert records(EndpointSection(Stamp(), 1, (service,))) == {
        "web.default.orch": ("10.0.0.1", "10.0.0.2"),
        "tasks.web.default.orch": ("10.0.0.1", "10.0.0.2"),
        "1.web.default.orch": ("10.0.0.1",),
        "2.web.default.orch": ("10.0.0.2",),
        "3.web.default.orch": ("10.0.0.3",),
    }


def test_a_successor_takes_the_slots_name_over_when_it_is_ready() -> None:
    for is_ready, expected in ((False, "10.0.0.1"), (True, "10.0.0.9")):
        endpoints = (
            an_endpoint(1, "10.0.0.1", ready=not is_ready),
            an_endpoint(1, "10.0.0.9", ready=is_ready),
        )
        service = ServiceEndpoints(ServiceName("default", "web"), endpoints)

        found = records(EndpointSection(Stamp(), 1, (service,)))

        assert found["1.web.default.orch"] == (expected,)
