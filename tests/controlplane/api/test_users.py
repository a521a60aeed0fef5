"""What the people may do whom an administrator lets in, and who may let people in."""

from typing import Any

import pytest
from grpc import StatusCode, aio

from controlplane.api import users
from orch.identity import certificate
from orch.identity import request as requests
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes


async def certified(running: planes.Running, name: str, role: str, **fields: Any) -> agents.Credential:
    key = requests.new_key()
    wanted = pb.CertifyUserRequest(name=name, role=role, request=requests.make(key, name), **fields)
    reply = await running.stub.CertifyUser(wanted)
    assert (reply.ca, list(reply.addresses)) == (running.ca, [running.settings.advertise])
    return agents.Credential(reply.certificate, key, reply.ca)


async def may(call: Any) -> bool:
    """Whether the door lets it through; what is behind may still find it wrong."""
    try:
        await call
    except aio.AioRpcError as error:
        return error.code() is not StatusCode.PERMISSION_DENIED
    return True


@pytest.mark.parametrize(
    ("role", "reads", "changes", "runs"),
    [("view", True, False, False), ("edit", True, True, False), ("admin", True, True, True)],
)
async def test_a_role_opens_what_it_says_and_no_more(
    running: planes.Running, role: str, *, reads: bool, changes: bool, runs: bool
) -> None:
    credential = await certified(running, "ann", role)
    async with credential.channel(running.address) as channel:
        stub = agents.control(channel)
        logs = stub.Logs(pb.LogsRequest(namespace="default", name="web", tail=-1))
        watched = stub.Watch(pb.GetRequest(kinds=["services"]))
        reading = [
            await may(stub.Get(pb.GetRequest(kinds=["services", "secrets"]))),
            await may(stub.Why(pb.WhyRequest(namespace="default", name="web"))),
            await may(stub.Version(pb.VersionRequest())),
            await may(logs.read()),
            await may(watched.read()),
        ]
        watched.cancel()
        entering = stub.Exec(iter([pb.ExecInput(start=pb.ExecStart(namespace="default", task="web.1"))]))
        changing = [
            await may(stub.Apply(planes.applying(planes.a_service()))),
            await may(stub.Scale(pb.ScaleRequest())),
            await may(stub.Rollout(pb.RolloutRequest())),
            await may(stub.Delete(pb.DeleteRequest())),
            await may(entering.read()),
        ]
        running_it = [
            await may(stub.JoinToken(pb.JoinTokenRequest())),
            await may(stub.ChangeNode(pb.ChangeNodeRequest(name="n1"))),
            await may(stub.CertifyUser(pb.CertifyUserRequest(name="bob", role="admin"))),
            await may(stub.Store(pb.StoreRequest(verb="status")).read()),
        ]
    assert (set(reading), set(changing), set(running_it)) == ({reads}, {changes}, {runs})


async def test_a_certificate_ends_when_the_administrator_says(running: planes.Running) -> None:
    now = running.plane._grounds.clock.now()
    for asked, days in ((0.0, 90.0), (3600.0, 1 / 24)):
        credential = await certified(running, "ann", "view", valid_for=asked)
        found = certificate.read(credential.certificate)
        assert found.not_after == pytest.approx(now + days * users.DAY_SECONDS, abs=5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"role": "root"}, "'root' is not a role: view, edit, admin"),
        ({"name": "Ann, O=orch:admins"}, "name"),
        ({"name": "bob"}, "is for ann, but bob asks"),
        ({"request": b"nonsense"}, "cannot be read"),
        ({"request": b" " * (users.LARGEST_REQUEST_BYTES + 1)}, "too large"),
        ({"valid_for": 400 * users.DAY_SECONDS}, "at most 366 days"),
        ({"valid_for": -1.0}, "at most 366 days"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    running: planes.Running, fields: dict[str, Any], words: str
) -> None:
    good = {"name": "ann", "role": "view", "request": requests.make(requests.new_key(), "ann")}
    code, said = await planes.refused(running.stub.CertifyUser(pb.CertifyUserRequest(**good | fields)))
    assert code is StatusCode.INVALID_ARGUMENT
    assert words in said
