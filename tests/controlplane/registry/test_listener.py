"""Who is let in, and what each may do."""

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from obstore.store import MemoryStore

from controlplane.api import authority
from controlplane.registry import listener
from controlplane.registry.listener import Listener
from controlplane.registry.refusal import CannotServe
from orch.identity import roles
from orch.identity.roles import Caller, Role

SERVER = Caller("cp-1", Role.SERVER)
NODE = Caller("node-1", Role.NODE)
USER = Caller("ann", Role.USER)


class Registry:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = authority.found("test", time.time())
        self.listener = Listener(MemoryStore())

    def certificate(self, who: Caller, ca: authority.Pair | None = None) -> authority.Pair:
        return authority.issue(ca or self.ca, who, time.time(), ("127.0.0.1",))

    async def start(self) -> None:
        own = self.certificate(SERVER)
        await self.listener.start("127.0.0.1:0", own.certificate, own.key, self.ca.certificate)

    async def ask(self, method: str, path: str, shown: authority.Pair | None, word: str = "") -> int:
        """The status; raises when the handshake fails."""
        trust = ssl.create_default_context(cadata=self.ca.certificate.decode())
        if shown:
            both = self.directory / "shown.pem"
            both.write_bytes(shown.certificate + shown.key)
            trust.load_cert_chain(both)
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"https://{self.listener.address}{path}",
                ssl=trust,
                server_hostname=roles.SERVER_NAME,
                headers={"Authorization": f"Bearer {word}"} if word else {},
            ) as answer,
        ):
            return answer.status


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    made = Registry(tmp_path)
    await made.start()
    yield made
    await made.listener.stop()


async def test_a_user_pushes_and_a_node_only_pulls(registry: Registry) -> None:
    user, node = registry.certificate(USER), registry.certificate(NODE)

    assert await registry.ask("POST", "/v2/web/blobs/uploads/", user) == 202
    assert await registry.ask("POST", "/v2/web/blobs/uploads/", node) == 403
    assert await registry.ask("DELETE", f"/v2/web/manifests/sha256:{'0' * 64}", node) == 403
    assert await registry.ask("GET", "/v2/", node) == 200
    assert await registry.ask("GET", "/v2/web/manifests/1", node) == 404


async def test_a_node_that_builds_pushes_to_the_names_of_its_build_until_that_ends(
    registry: Registry,
) -> None:
    node = registry.certificate(NODE)
    word = registry.listener.grant({"web"}, 60.0)

    assert await registry.ask("POST", "/v2/web/blobs/uploads/", node, word) == 202
    assert await registry.ask("POST", "/v2/other/blobs/uploads/", node, word) == 403
    registry.listener.withdraw(word)
    assert await registry.ask("POST", "/v2/web/blobs/uploads/", node, word) == 403
    registry.listener.withdraw(word)


async def test_a_stranger_does_not_get_in(registry: Registry) -> None:
    stranger = registry.certificate(USER, authority.found("other", time.time()))

    for shown in (None, stranger):
        with pytest.raises(aiohttp.ClientError):
            await registry.ask("GET", "/v2/", shown)


async def test_a_new_certificate_is_shown_from_the_next_handshake_on(registry: Registry) -> None:
    other = authority.found("second", time.time())
    fresh = registry.certificate(SERVER, other)
    node = registry.certificate(NODE)

    registry.listener.renew(fresh.certificate, fresh.key)

    with pytest.raises(aiohttp.ClientError):  # the client trusts the first authority only
        await registry.ask("GET", "/v2/", node)


async def test_an_address_that_is_taken_is_named(registry: Registry) -> None:
    second = Listener(MemoryStore())
    own = registry.certificate(SERVER)

    with pytest.raises(CannotServe, match=registry.listener.address):
        await second.start(registry.listener.address, own.certificate, own.key, registry.ca.certificate)
    await second.stop()


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CannotServe, match="file"):
        listener.store_at(str(tmp_path / "file" / "below"))
