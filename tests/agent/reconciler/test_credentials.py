"""From a secret of type registry to a pull with a password, against Debian's docker-registry."""

from pathlib import Path

import pytest

from agent.images.images import Images, PullFailed
from agent.reconciler.files import Files
from orch.model.assignment import File
from orch.model.names import ObjectName
from orch.oci import auth, build, reference
from orch.oci.failure import Reason
from orch.oci.registry import Registry
from tests.support import images as pictures
from tests.support.registry import running_registry

BCRYPT_OF_SECRET = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"


def secret(host: str, password: str, *, name: str = "pull", version: int = 1, kind: str = "registry") -> File:
    data = {"host": host.encode(), "user": b"me", "password": password.encode()}
    return File(ObjectName("shop", name), version, secret=True, data=data, type=kind)


def test_the_newest_version_of_each_secret_of_that_type_counts(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.keep(
        [
            secret("r.lan", "old", version=9),
            secret("r.lan", "new", version=10),
            secret("r.lan", "later", name="zzz"),
            secret("other.lan", "x", name="opaque", kind="opaque"),
        ]
    )

    assert files.credentials("shop") == {"r.lan": auth.Credentials("me", "new")}
    assert files.credentials("elsewhere") == {}


@pytest.mark.registry
@pytest.mark.root
async def test_an_image_is_pulled_with_the_credentials_of_the_namespace_that_wants_it(tmp_path: Path) -> None:
    with running_registry(htpasswd=BCRYPT_OF_SECRET) as registry:
        text, allowed = f"{registry.host}/web:1", {registry.host}
        async with Registry(
            plain_http=allowed, credentials=lambda _: auth.Credentials("me", "secret")
        ) as client:
            await build.push(client, reference.parse(text), pictures.web("1"))
        files = Files(tmp_path / "run")
        files.keep([secret(registry.host, "secret")])
        images = await Images.open(tmp_path / "images", plain_http=allowed)
        try:
            with pytest.raises(PullFailed, match="it wants credentials") as caught:
                await images.pull(text, credentials=files.credentials("elsewhere").get)
            assert caught.value.reason is Reason.UNAUTHORIZED

            files.keep([secret(registry.host, "guess", version=2)])
            with pytest.raises(PullFailed, match="check its user and password"):
                await images.pull(text, credentials=files.credentials("shop").get)

            files.keep([secret(registry.host, "secret", version=3)])
            assert len((await images.pull(text, credentials=files.credentials("shop").get)).layers) == 2
        finally:
            await images.close()
