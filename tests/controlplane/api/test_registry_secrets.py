"""Credentials for registries: checked when they are given, told to whoever pulls from there."""

import pytest

from orch.v1 import control_pb2 as pb
from tests.support import planes


def credentials(name: str, password: bytes = b"pw", host: bytes = b"r.lan") -> pb.Document:
    data = {"host": host, "user": b"ci", "password": password}
    named = {"namespace": "default", "name": name}
    return pb.Document(secret={"name": named, "type": "registry", "data": data})


def from_registry(service: str, image: str) -> pb.Document:
    return planes.a_service(service, image=image)


async def test_a_node_is_told_the_credentials_for_the_images_of_its_tasks_and_no_others(
    running: planes.Running,
) -> None:
    agent = await running.agent("n1")
    others = credentials("others", host=b"elsewhere.lan")
    web = from_registry("web", "r.lan/web:1")
    await running.stub.Apply(planes.applying(web, credentials("pull"), others))

    await agent.wait_until(lambda it: bool(it.tasks()) and bool(it.told["files"].files))

    (file,) = agent.told["files"].files
    assert (file.name.name, file.type, dict(file.data)["password"]) == ("pull", "registry", b"pw")


async def test_new_credentials_are_told_without_a_new_revision(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(from_registry("web", "r.lan/web:1"), credentials("pull")))
    await agent.wait_until(lambda it: bool(it.told["files"].files))

    reply = await running.stub.Apply(planes.applying(credentials("pull", b"changed")))
    await agent.wait_until(lambda it: dict(it.told["files"].files[0].data)["password"] == b"changed")

    assert [each.reference.kind for each in reply.objects] == ["secret"]
    assert len(agent.told["files"].files) == 1


@pytest.mark.parametrize(
    ("data", "words"), [({"host": b"r.lan"}, "user and password are missing"), ({"x": b"1"}, "host")]
)
async def test_credentials_that_lack_something_are_refused(
    running: planes.Running,
    data: dict[str, bytes],
    words: str,
) -> None:
    named = {"namespace": "default", "name": "pull"}
    secret = pb.Document(secret={"name": named, "type": "registry", "data": data})

    assert words in await planes.refusal(running, secret)
