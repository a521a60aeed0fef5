"""The OCI distribution API: the cluster's own registry, and Debian's beside it, answer alike."""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from obstore.store import LocalStore, MemoryStore

from controlplane.registry import blobs
from orch.oci import manifest
from tests.support.our_registry import our_registry
from tests.support.registry import running_registry

OURS = ("files", "memory")


@pytest.fixture
def debian() -> Iterator[str]:
    with running_registry() as running:
        yield f"http://{running.host}"


@pytest.fixture(params=[*OURS, pytest.param("debian", marks=pytest.mark.registry)])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator["Client"]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "debian":
            address = request.getfixturevalue("debian")
        else:
            store = LocalStore(tmp_path) if request.param == "files" else MemoryStore()
            address = "http://" + await stack.enter_async_context(our_registry(store))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Client(session, address, is_ours=request.param in OURS)


class Client:
    """Requests, and short ways to push."""

    def __init__(self, session: aiohttp.ClientSession, address: str, *, is_ours: bool) -> None:
        self._session = session
        self.address = address
        self.is_ours = is_ours

    async def ask(self, method: str, path: str, **options: Any) -> "Answer":
        url = path if path.startswith("http") else self.address + path
        async with self._session.request(method, url, **options) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def push_blob(self, name: str, content: bytes) -> str:
        begun = await self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert begun.status == 202
        digest = sha256(content)
        done = await self.ask("PUT", with_query(begun.location, f"digest={digest}"), data=content)
        assert (done.status, done.headers["Docker-Content-Digest"]) == (201, digest)
        return digest

    async def push_image(self, name: str, wanted: str, content: bytes, **more: Any) -> "Answer":
        config = await self.push_blob(name, b'{"architecture":"amd64","os":"linux"}')
        layer = await self.push_blob(name, content)
        body = image(config, 37, layer, len(content), **more)
        return await self.ask(
            "PUT",
            f"/v2/{name}/manifests/{wanted}",
            data=body,
            headers={"Content-Type": manifest.OCI_MANIFEST},
        )


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def code(self) -> str:
        """Of the first error."""
        return str(json.loads(self.body)["errors"][0]["code"])

    @property
    def digest(self) -> str:
        return self.headers["Docker-Content-Digest"]


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def with_query(location: str, query: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}{query}"


def image(config: str, config_size: int, layer: str, layer_size: int, **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": {"mediaType": manifest.OCI_CONFIG, "digest": config, "size": config_size},
        "layers": [{"mediaType": manifest.OCI_LAYER, "digest": layer, "size": layer_size}],
    }
    return json.dumps(document | more).encode()


async def test_it_says_that_it_is_a_registry(registry: Client) -> None:
    assert (await registry.ask("GET", "/v2/")).status == 200


async def test_what_was_pushed_comes_back(registry: Client) -> None:
    content = bytes(range(256)) * 5000
    digest = await registry.push_blob("shop/web", content)

    head = await registry.ask("HEAD", f"/v2/shop/web/blobs/{digest}")
    whole = await registry.ask("GET", f"/v2/shop/web/blobs/{digest}")
    part = await registry.ask("GET", f"/v2/shop/web/blobs/{digest}", headers={"Range": "bytes=1000-1999"})
    rest = await registry.ask("GET", f"/v2/shop/web/blobs/{digest}", headers={"Range": "bytes=1279990-"})

    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(content)), b"")
    assert (whole.status, whole.body == content) == (200, True)
    assert (part.status, part.body) == (206, content[1000:2000])
    assert (rest.status, rest.body) == (206, content[1279990:])
    assert rest.headers["Content-Range"] == "bytes 1279990-1279999/1280000"


async def test_an_upload_may_come_in_chunks(registry: Client) -> None:
    begun = await registry.ask("POST", "/v2/web/blobs/uploads/")
    content = b"0123456789" * 1000
    chunk = {"Content-Range": "0-3999", "Content-Type": "application/octet-stream"}
    first = await registry.ask("PATCH", begun.location, data=content[:4000], headers=chunk)
    asked = await registry.ask("GET", first.location)
    last = await registry.ask(
        "PUT", with_query(first.location, f"digest={sha256(content)}"), data=content[4000:]
    )

    assert (first.status, first.headers["Range"]) == (202, "0-3999")
    assert (asked.status, asked.headers["Range"]) == (204, "0-3999")
    assert last.status == 201
    assert (await registry.ask("GET", f"/v2/web/blobs/{sha256(content)}")).body == content


async def test_a_chunk_that_does_not_follow_is_refused(registry: Client) -> None:
    if not registry.is_ours:
        pytest.skip("Debian's 2.8 takes chunks as they come")
    begun = await registry.ask("POST", "/v2/web/blobs/uploads/")
    chunk = {"Content-Range": "5-9", "Content-Type": "application/octet-stream"}

    assert (await registry.ask("PATCH", begun.location, data=b"01234", headers=chunk)).status == 416


async def test_a_wrong_digest_is_refused_and_leaves_nothing(registry: Client) -> None:
    begun = await registry.ask("POST", "/v2/web/blobs/uploads/")
    lie = sha256(b"something else")
    answer = await registry.ask("PUT", with_query(begun.location, f"digest={lie}"), data=b"content")

    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await registry.ask("HEAD", f"/v2/web/blobs/{lie}")).status == 404


async def test_an_upload_may_be_given_up(registry: Client) -> None:
    begun = await registry.ask("POST", "/v2/web/blobs/uploads/")
    assert (await registry.ask("DELETE", begun.location)).status == 204
    assert (await registry.ask("PATCH", begun.location, data=b"x")).status == 404


async def test_a_refused_push_in_one_request_leaves_no_upload_under_way(
    registry: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "MOST_UPLOADS", 1)
    for _ in range(2):
        refused = await registry.ask("POST", "/v2/web/blobs/uploads/?digest=sha256:12", data=b"x")
        assert refused.status in {400, 202}

    if registry.is_ours:
        assert await registry.push_blob("web", b"fine")


async def test_an_upload_that_has_ended_is_unknown(registry: Client) -> None:
    begun = await registry.ask("POST", "/v2/web/blobs/uploads/")
    await registry.ask("PUT", with_query(begun.location, f"digest={sha256(b'x')}"), data=b"x")

    again = await registry.ask("PUT", with_query(begun.location, f"digest={sha256(b'x')}"), data=b"")
    assert (again.status, again.code) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_names_may_hold_words_of_the_api(registry: Client) -> None:
    pushed = await registry.push_image("my/tags", "1", b"layer")
    assert pushed.status == 201

    assert (await registry.ask("GET", "/v2/my/tags/tags/list")).status == 200


async def test_a_blob_is_mounted_from_another_repository(registry: Client) -> None:
    digest = await registry.push_blob("one", b"shared")
    assert (await registry.ask("GET", f"/v2/two/blobs/{digest}")).status == 404

    mounted = await registry.ask("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one")
    missing = await registry.ask("POST", f"/v2/two/blobs/uploads/?mount={sha256(b'no')}&from=one")

    assert (mounted.status, missing.status) == (201, 202)
    assert (await registry.ask("GET", f"/v2/two/blobs/{digest}")).body == b"shared"


async def test_a_manifest_is_found_by_tag_and_digest(registry: Client) -> None:
    put = await registry.push_image("shop/web", "1.0", b"layer")

    by_tag = await registry.ask(
        "GET", "/v2/shop/web/manifests/1.0", headers={"Accept": manifest.OCI_MANIFEST}
    )
    head = await registry.ask(
        "HEAD", f"/v2/shop/web/manifests/{put.digest}", headers={"Accept": manifest.OCI_MANIFEST}
    )

    assert put.status == 201
    assert sha256(by_tag.body) == put.digest == by_tag.digest == head.digest
    assert by_tag.headers["Content-Type"] == manifest.OCI_MANIFEST
    assert head.headers["Content-Length"] == str(len(by_tag.body))


async def test_a_manifest_needs_its_parts(registry: Client) -> None:
    body = image(sha256(b"none"), 4, sha256(b"neither"), 7)
    kind = {"Content-Type": manifest.OCI_MANIFEST}
    answer = await registry.ask("PUT", "/v2/web/manifests/1", data=body, headers=kind)

    assert answer.status in {400, 404}
    assert answer.code in {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}


async def test_tags_come_in_pages(registry: Client) -> None:
    for tag in ("a", "b", "c"):
        await registry.push_image("web", tag, b"layer")

    whole = json.loads((await registry.ask("GET", "/v2/web/tags/list")).body)
    page = await registry.ask("GET", "/v2/web/tags/list?n=2")
    rest = json.loads((await registry.ask("GET", "/v2/web/tags/list?n=2&last=b")).body)

    assert (whole["name"], sorted(whole["tags"])) == ("web", ["a", "b", "c"])
    if registry.is_ours:  # Debian's 2.8 knows neither order nor pages of tags
        assert whole["tags"] == ["a", "b", "c"]
        assert json.loads(page.body)["tags"] == ["a", "b"]
        assert 'rel="next"' in page.headers["Link"]
        assert rest["tags"] == ["c"]


async def test_what_is_deleted_is_gone(registry: Client) -> None:
    put = await registry.push_image("web", "1", b"layer")
    layer = sha256(b"layer")

    assert (await registry.ask("DELETE", f"/v2/web/manifests/{put.digest}")).status == 202
    assert (await registry.ask("DELETE", f"/v2/web/blobs/{layer}")).status == 202

    accept = {"Accept": manifest.OCI_MANIFEST}
    assert (await registry.ask("GET", "/v2/web/manifests/1", headers=accept)).status == 404
    assert (await registry.ask("GET", f"/v2/web/manifests/{put.digest}", headers=accept)).status == 404
    assert (await registry.ask("GET", f"/v2/web/blobs/{layer}")).status == 404


async def test_referrers_are_listed(registry: Client) -> None:
    if not registry.is_ours:
        pytest.skip("Debian's 2.8 knows no referrers")
    subject = (await registry.push_image("web", "1", b"layer")).digest
    reference = {"mediaType": manifest.OCI_MANIFEST, "digest": subject, "size": 1}
    signed = await registry.push_image("web", "sig", b"signature", subject=reference, artifactType="x/sig")

    found = json.loads((await registry.ask("GET", f"/v2/web/referrers/{subject}")).body)
    filtered = await registry.ask("GET", f"/v2/web/referrers/{subject}?artifactType=x/other")
    nobody = await registry.ask("GET", f"/v2/web/referrers/{sha256(b'nobody')}")

    assert signed.headers["OCI-Subject"] == subject
    assert [(one["digest"], one["artifactType"]) for one in found["manifests"]] == [(signed.digest, "x/sig")]
    assert json.loads(filtered.body)["manifests"] == []
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert (nobody.status, json.loads(nobody.body)["manifests"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/web/manifests/1"),
        ("GET", "/v2/web/tags/list"),
        ("GET", f"/v2/web/blobs/sha256:{'0' * 64}"),
        ("GET", "/v2/web/blobs/sha256:short"),
        ("GET", "/v2/We../manifests/1"),
        ("PUT", "/v2/web/manifests/.bad"),
        ("GET", "/v2/web/../../etc/passwd"),
        ("PATCH", "/v2/web/blobs/uploads/unknown"),
    ],
)
async def test_what_is_not_there_or_no_name_is_refused(registry: Client, method: str, path: str) -> None:
    assert (await registry.ask(method, path)).status in {400, 404, 405, 301}


async def test_a_manifest_above_its_limit_is_refused(registry: Client) -> None:
    kind = {"Content-Type": manifest.OCI_MANIFEST}
    answer = await registry.ask("PUT", "/v2/web/manifests/1", data=b" " * ((4 << 20) + 1), headers=kind)

    assert answer.status in {400, 413}
