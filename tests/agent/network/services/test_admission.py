from agent.network.rules import Door
from agent.network.services.admission import Admission
from agent.network.services.groups import Form, Group, Key
from agent.network.services.reserved import RoutePorts
from orch.model.assignment import EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName
from orch.model.network import RouteSpec

PORT = Key(Form.ANY, bytes((6, 0, 0, 0, 31, 144, 0, 0)))
BOUND = Key(Form.AT, bytes((127, 0, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0)))
ONE, TWO = Group((b"aaaabbbb",)), Group((b"aaaabbbb", b"ccccdddd"))


def nothing_virtual(_key: Key) -> bool:
    return False


def test_a_door_that_a_process_has_stays_outside_until_it_lets_go() -> None:
    admission, taken = Admission(), {Door("", "tcp", 8080)}

    def admit(changes: dict) -> dict:
        return admission.admit(changes, nothing_virtual, taken.__contains__)

    assert admit({PORT: (None, ONE), BOUND: (None, ONE)}) == {BOUND: (None, ONE)}
    assert "port *:8080/tcp" in admission.problems()[0]
    assert admit({PORT: (ONE, TWO)}) == {}
    taken.clear()
    assert admit({}) == {PORT: (None, TWO)}, "the kernel has never had it"
    assert admission.problems() == ()
    taken.add(Door("", "tcp", 8080))
    assert admit({PORT: (TWO, ONE)}) == {PORT: (TWO, ONE)}, "what is ours stays ours"


def test_a_door_outside_that_is_wanted_no_more_is_forgotten() -> None:
    admission = Admission()
    admission.admit({BOUND: (None, ONE)}, nothing_virtual, lambda _: True)
    assert "port 127.0.0.1:53/udp" in admission.problems()[0]

    assert admission.admit({BOUND: (ONE, None)}, nothing_virtual, lambda _: True) == {BOUND: (None, None)}
    assert admission.problems() == ()


def test_nobody_can_have_a_port_of_a_virtual_address() -> None:
    admission = Admission()

    assert admission.admit({BOUND: (None, ONE)}, lambda _: True, lambda _: True) == {BOUND: (None, ONE)}


def test_where_routes_are_served_no_door_is_open_also_not_one_that_was() -> None:
    admission = Admission()

    def admit(changes: dict) -> dict:
        return admission.admit(changes, nothing_virtual, lambda _: False)

    assert admit({PORT: (None, ONE), BOUND: (None, ONE)}) == {PORT: (None, ONE), BOUND: (None, ONE)}
    again = dict(admission.reserve(frozenset({8080, 53}), {PORT: ONE, BOUND: ONE}))
    assert admit(again) == {PORT: (ONE, None), BOUND: (ONE, ONE)}, "routes are never UDP"
    assert "this node serves HTTP routes there" in admission.problems()[0]
    assert admit({PORT: (ONE, TWO)}) == {}
    assert not dict(admission.reserve(frozenset(), {PORT: TWO, BOUND: ONE}))
    assert admit({}) == {PORT: (None, TWO)}
    assert admission.problems() == ()


def test_routes_have_their_ports_when_there_are_any() -> None:
    ports = RoutePorts(80, 443)
    plain = ServiceEndpoints(ServiceName("default", "web"), routes=(RouteSpec(host="a.test"),))
    secure = ServiceEndpoints(ServiceName("default", "web"), routes=(RouteSpec(host="a.test", tls="cert"),))
    nothing = ServiceEndpoints(ServiceName("default", "web"))

    def reserved(*services: ServiceEndpoints) -> set[int]:
        return set(ports.reserved(EndpointSection(Stamp(), services=services)))

    assert (reserved(nothing), reserved(nothing, plain), reserved(secure)) == (set(), {80}, {80, 443})
    assert RoutePorts(0, 0).reserved(EndpointSection(Stamp(), services=(secure,))) == frozenset()
