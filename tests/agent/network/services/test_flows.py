from agent.network.services import flows
from agent.network.services.flows import Flow
from agent.network.services.groups import Form, Group, Key

ADDRESS, NODE = bytes((10, 224, 0, 5)), bytes((192, 0, 2, 1))
WEB = Key(Form.VIRTUAL, ADDRESS)
DNS_DOOR = bytes((17, 0, 0, 0, 0, 53, 0, 0))
DOOR = Key(Form.ANY, DNS_DOOR)
PORT = (53).to_bytes(2, "big")
A, B = bytes((10, 208, 4, 2)), bytes((10, 208, 4, 3))


def seat(address: bytes) -> bytes:
    return address + PORT + b"\0\0"


def flow(asked: bytes, answering: bytes) -> Flow:
    return Flow(asked, PORT, answering, b"")


def test_a_flow_to_who_left_is_stale_and_others_are_not() -> None:
    stale = flows.stale(
        [(WEB, (Group((A, B)), Group((B,)))), (DOOR, (Group((seat(A), seat(B))), Group((seat(B),))))]
    )

    assert stale.has(flow(ADDRESS, A))
    assert stale.has(flow(NODE, A)), "through the published port"
    assert not stale.has(flow(ADDRESS, B))
    assert not stale.has(flow(bytes((10, 224, 0, 6)), A).__class__(bytes((10, 224, 0, 6)), b"\0\x50", A, b""))


def test_a_flow_to_the_node_itself_is_stale_once_its_port_is_published() -> None:
    stale = flows.stale([(DOOR, (None, Group((seat(A),))))])

    assert stale.has(flow(NODE, NODE))
    assert not flows.stale([(DOOR, (Group((seat(A),)), Group((seat(B),))))]).has(flow(NODE, NODE))


def test_nobody_is_looked_for_where_nobody_can_be() -> None:
    assert not flows.stale([(WEB, (None, Group((A,))))])
    assert not flows.stale([(WEB, (Group((A,), has_udp=False), None))])
    assert flows.stale([(WEB, (Group((A,)), None))])


def test_few_endpoints_are_asked_for_one_by_one_and_many_at_once() -> None:
    def questions(count: int) -> int:
        gone = tuple(bytes((10, 208, 4, last)) for last in range(count))
        return len(list(flows.questions(flows.stale([(WEB, (Group(gone), None))]))))

    assert questions(3) == 3
    assert questions(100) == 1


def test_a_client_is_astray_where_its_endpoint_is_not_behind_what_it_asked() -> None:
    def key(asked: bytes) -> bytes:
        return bytes((10, 208, 8, 9)) + asked + DNS_DOOR

    wanted = {WEB: Group((A,)), DOOR: Group((seat(B),))}
    assert not flows.is_astray(key(ADDRESS), seat(A), wanted)
    assert flows.is_astray(key(ADDRESS), seat(B), wanted)
    assert not flows.is_astray(key(NODE), seat(B), wanted)
    assert flows.is_astray(key(NODE), seat(A), wanted)
    assert flows.is_astray(key(ADDRESS), seat(A), {}), "the service is gone"


def test_the_doors_of_tasks_are_groups_of_one() -> None:
    before, after = {("published_any", DNS_DOOR): seat(A)}, {("published_at", NODE + DNS_DOOR): seat(B)}

    assert dict(flows.of_doors(before, after)) == {
        DOOR: (Group((seat(A),)), None),
        Key(Form.AT, NODE + DNS_DOOR): (None, Group((seat(B),))),
    }
    assert dict(flows.of_doors(before, before)) == {}
