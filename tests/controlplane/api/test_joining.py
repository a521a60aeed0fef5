"""Who gets a certificate, and who does not; and what a certificate lets one do."""

from typing import Any

import pytest
from grpc import StatusCode, aio, insecure_channel, ssl_channel_credentials

from controlplane.api import authority
from orch.identity import introduction, roles, token
from orch.identity import request as requests
from orch.v1 import control_pb2, sessions_pb2_grpc
from orch.v1 import sessions_pb2 as pb
from tests.support import agents, planes


def invitation(running: planes.Running) -> token.JoinToken:
    return token.JoinToken.parse((running.settings.data / "join-token").read_text())


async def joined(running: planes.Running, **fields: Any) -> Any:
    channel = aio.secure_channel(
        running.join_address, ssl_channel_credentials(running.ca), options=agents.OPTIONS
    )
    async with channel:
        return await sessions_pb2_grpc.JoinStub(channel).Join(pb.JoinRequest(**fields))


async def test_an_agent_finds_the_authority_by_its_digest_alone(running: planes.Running) -> None:
    import asyncio

    host, _, port = running.join_address.rpartition(":")
    found = await asyncio.to_thread(introduction.fetch_ca, host, int(port), invitation(running))
    assert found.strip() == running.ca.strip()


async def test_unknown_foreign_and_expired_tokens_are_refused(running: planes.Running) -> None:
    request = requests.make(requests.new_key(), "n1")
    stranger = token.JoinToken.fresh(invitation(running).cluster, running.ca)
    code, words = await planes.refused(joined(running, token=str(stranger), node="n1", request=request))
    assert (code, "orchctl node join-token" in words) == (StatusCode.PERMISSION_DENIED, True)
    foreign = token.JoinToken(
        "other", invitation(running).ca_digest, invitation(running).id, invitation(running).secret
    )
    assert (await planes.refused(joined(running, token=str(foreign), node="n1", request=request)))[
        0
    ] is StatusCode.PERMISSION_DENIED
    made, _ = await running.plane.tokens.make(100.0, now=0.0)
    assert (await planes.refused(joined(running, token=str(made), node="n1", request=request)))[
        0
    ] is StatusCode.PERMISSION_DENIED


async def test_a_request_for_another_name_is_refused(running: planes.Running) -> None:
    request = requests.make(requests.new_key(), "n2")
    code, words = await planes.refused(
        joined(running, token=str(invitation(running)), node="n1", request=request)
    )
    assert (code, "n2" in words) == (StatusCode.INVALID_ARGUMENT, True)


async def test_a_name_belongs_to_the_key_that_joined_first(running: planes.Running) -> None:
    words = str(invitation(running))
    first = await agents.join(running.join_address, running.ca, words, "n1")
    code, said = await planes.refused(
        joined(running, token=words, node="n1", request=requests.make(requests.new_key(), "n1"))
    )
    assert (code, "another key" in said) == (StatusCode.PERMISSION_DENIED, True)
    again = await agents.join(running.join_address, running.ca, words, "n1", key=first.key)
    assert again.certificate != first.certificate


async def test_an_old_key_renews_without_a_token_and_may_hand_over_to_a_new_key(
    running: planes.Running,
) -> None:
    first = await agents.join(running.join_address, running.ca, invitation(running), "n1")
    request = requests.make(requests.new_key(), "n1")
    reply = await joined(
        running,
        node="n1",
        request=request,
        previous_certificate=first.certificate,
        proof=requests.prove(first.key, request),
    )
    assert authority.is_signed_by(reply.certificate, running.ca)
    other = await agents.join(running.join_address, running.ca, invitation(running), "n2")
    code, _ = await planes.refused(
        joined(
            running,
            node="n1",
            request=request,
            previous_certificate=other.certificate,
            proof=requests.prove(other.key, request),
        )
    )
    assert code is StatusCode.PERMISSION_DENIED
    code, _ = await planes.refused(
        joined(running, node="n3", request=requests.make(requests.new_key(), "n3"))
    )
    assert code is StatusCode.PERMISSION_DENIED


async def test_a_node_may_not_do_what_users_do_nor_speak_for_another(running: planes.Running) -> None:
    credential = await agents.join(running.join_address, running.ca, invitation(running), "n1")
    async with credential.channel(running.address) as channel:
        code, _ = await planes.refused(agents.control(channel).Get(control_pb2.GetRequest(kinds=["secrets"])))
        assert code is StatusCode.PERMISSION_DENIED
    impostor = agents.Agent("n2", running.address, credential)
    impostor_task = impostor.start()
    with pytest.raises(TimeoutError):
        import asyncio

        await asyncio.wait_for(impostor_task, 0.5)
    assert "n1" in impostor.ended
    await impostor.stop()


async def test_no_listener_answers_a_stranger(running: planes.Running) -> None:
    async def asked(channel: aio.Channel) -> StatusCode:
        async with channel:
            code, _ = await planes.refused(
                agents.control(channel).Version(control_pb2.VersionRequest(), timeout=3)
            )
            return code

    anonymous = aio.secure_channel(
        running.address, ssl_channel_credentials(running.ca), options=agents.OPTIONS
    )
    assert await asked(anonymous) is StatusCode.UNAVAILABLE
    assert await asked(aio.insecure_channel(running.address)) is StatusCode.UNAVAILABLE
    other = authority.found("c2", 1_790_000_000.0)
    forged = authority.issue(
        other, roles.Caller("admin", roles.Role.ADMIN), running.plane._grounds.clock.now()
    )
    stranger = agents.Credential(forged.certificate, forged.key, running.ca)
    assert await asked(stranger.channel(running.address)) is StatusCode.UNAVAILABLE
    assert insecure_channel is not None


async def test_a_user_may_read_and_apply_but_not_run_the_cluster(running: planes.Running) -> None:
    grounds = running.plane._grounds
    own = authority.issue(grounds.authority, roles.Caller("ann", roles.Role.USER), grounds.clock.now())
    async with agents.Credential(own.certificate, own.key, running.ca).channel(running.address) as channel:
        stub = agents.control(channel)
        await stub.Apply(planes.applying(planes.a_service()))
        assert (await stub.Get(control_pb2.GetRequest(kinds=["services"]))).objects[
            0
        ].service.service.updated_by == "ann"
        assert (await planes.refused(stub.JoinToken(control_pb2.JoinTokenRequest())))[
            0
        ] is StatusCode.PERMISSION_DENIED


async def test_an_administrator_makes_a_token_that_joins(running: planes.Running) -> None:
    reply = await running.stub.JoinToken(control_pb2.JoinTokenRequest(valid_for=60))
    credential = await agents.join(running.join_address, running.ca, reply.token, "n7")
    assert credential.certificate
