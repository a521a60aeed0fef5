"""ADD of what is behind an address."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator

import pytest

from agent.builds.order import BuildFailed
from tests.support.yard import Yard

pytestmark = pytest.mark.root


@contextlib.contextmanager
def a_server(
    files: dict[str, bytes], given: list[str] | None = None, *, has_etags: bool = False
) -> Iterator[str]:
    """Its address, on the loopback; `given` is what it was asked for."""
    given = [] if given is None else given

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            etag = f'"{hashlib.sha256(content or b"").hexdigest()}"' if has_etags else ""
            if etag and etag == self.headers.get("If-None-Match"):
                given.append(f"{self.path} is the same")
                self.send_response(304)
                self.end_headers()
                return
            given.append(self.path)
            self.send_response(404 if content is None else 200)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_what_is_behind_an_address_is_added(yard: Yard) -> None:
    files = {"/a/tool.tgz": b"bytes"}
    yard.file("beside")
    with a_server(files) as address:
        dockerfile = (
            f"FROM scratch\nADD {address}/a/tool.tgz?x=1 /exact\nADD {address}/a/tool.tgz beside /in/\n"
        )
        files["/a/tool.tgz?x=1"] = b"other"
        image = await yard.build(dockerfile)
        found = yard.files(image)
        assert (found["exact"].read_text(), found["in/tool.tgz"].read_text()) == ("other", "bytes")
        about = found["exact"].stat()
        assert (about.st_mode & 0o777, about.st_uid, int(about.st_mtime)) == (0o600, 0, 1_700_000_000)
        assert "in/beside" in found

        await yard.build(dockerfile)
        assert yard.cached == 2
        files["/a/tool.tgz"] = b"newer"
        assert yard.read(await yard.build(dockerfile), "in/tool.tgz") == "newer"
        assert yard.cached == 1


async def test_an_address_with_a_digest_is_asked_once_and_not_believed(yard: Yard) -> None:
    files = {"/x": b"good"}
    digest = f"sha256:{hashlib.sha256(b'good').hexdigest()}"
    with a_server(files) as address:
        dockerfile = f"FROM scratch\nADD --checksum={digest} {address}/x /x\n"
        files["/x"] = b"evil"
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: .* has the digest sha256:.*, not sha256:"):
            await yard.build(dockerfile)
        files["/x"] = b"good"
        image = await yard.build(dockerfile)
        assert yard.read(image, "x") == "good"
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: .* the server answered 404"):
            await yard.build(f"FROM scratch\nADD {address}/missing /x\n")
    assert (await yard.build(dockerfile)).digest == image.digest  # nobody answers any more


async def test_what_the_server_calls_the_same_is_not_fetched_again(yard: Yard) -> None:
    files, given = {"/x": b"first"}, list[str]()
    with a_server(files, given, has_etags=True) as address:
        dockerfile = f"FROM scratch\nADD {address}/x /x\n"
        first = await yard.build(dockerfile)
        assert (await yard.build(dockerfile)).digest == first.digest
        assert given == ["/x", "/x is the same"]

        beside = await yard.build(f"FROM scratch\nADD {address}/x /elsewhere\n")
        assert yard.read(beside, "elsewhere") == "first", "the layer is another, so it is fetched after all"
        assert given[2:] == ["/x is the same", "/x"]

        files["/x"] = b"second"
        assert yard.read(await yard.build(dockerfile), "x") == "second"
        assert given[4:] == ["/x"]
        await yard.build(dockerfile, use_cache=False)
        assert given[5:] == ["/x"]
