"""HTTPS: each host shows its own certificate, and these come, change and go while the proxy runs."""

# ruff: noqa: ASYNC240  /proc and small files do not block

import ssl
from pathlib import Path

import pytest

from orch.model.names import ObjectName
from orch.model.network import RouteSpec
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, Lab, service
from tests.kernel.routes_tls import CERT, https, pem, shown

pytestmark = [pytest.mark.root, HAPROXY]


async def test_each_host_shows_its_own_certificate_and_speaks_http_2(lab: Lab) -> None:
    web, own = await lab.server("web"), ObjectName("default", "b")
    routes = RouteSpec(host="a.test", tls="cert"), RouteSpec(host="b.test", tls="b")
    await lab.set(service("web", [web], *routes), pems={CERT: pem("a.test"), own: pem("b.test")})

    assert [await shown(lab, host) for host in ("a.test", "b.test")] == ["a.test", "b.test"]
    assert (
        await https(lab, "a.test", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        == "2 200"
    )
    assert await https(lab, "a.test", "--http1.1", "-o", "/dev/null", "-w", "%{http_version}") == "1.1"
    assert web.last["x-forwarded-proto"] == "https"
    with pytest.raises((ssl.SSLError, OSError)):
        await shown(lab, "c.test")


async def test_who_comes_by_http_is_sent_to_https_unless_the_route_says_otherwise(lab: Lab) -> None:
    web = await lab.server("web")
    both = RouteSpec(host="a.test", path="/open", tls="cert", redirect=False)
    await lab.set(
        service("web", [web], RouteSpec(host="a.test", tls="cert"), both), pems={CERT: pem("a.test")}
    )

    http = f"http://127.0.0.1:{lab.places.http_port}"
    words = "-H", "Host: a.test:80", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"
    assert await lab.curl(*words, f"{http}/x?y=1") == f"308 https://a.test:{lab.places.https_port}/x?y=1"
    assert await lab.curl(*words, f"{http}/open") == "200 "


async def test_certificates_come_change_and_go_without_a_new_process(lab: Lab) -> None:
    web = await lab.server("web")
    a, b = RouteSpec(host="a.test", tls="cert"), RouteSpec(host="b.test", tls="b")
    own = ObjectName("default", "b")
    await lab.set(service("web", [web], a, b), pems={CERT: pem("a.test")})
    assert lab.proxy.problems() == ["HTTPS for b.test: the secret b has not come from the control plane"]

    await lab.set(service("web", [web], a, b), pems={CERT: pem("a.test"), own: pem("b.test")})
    assert await shown(lab, "b.test") == "b.test"
    await lab.set(service("web", [web], a, b), pems={CERT: pem("a2.test"), own: pem("b.test")})
    assert await shown(lab, "a.test") == "a2.test"
    await lab.set(service("web", [web], a), pems={CERT: pem("a3.test")})

    with pytest.raises((ssl.SSLError, OSError)):
        await shown(lab, "b.test")
    assert await shown(lab, "a.test") == "a3.test"
    assert (lab.proxy.reloads, lab.proxy.problems()) == (0, [])


async def test_keys_are_for_root_alone_and_the_proxy_is_not_root(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], RouteSpec(host="a.test", tls="cert")), pems={CERT: pem("a.test")})

    (pid,) = lab.pids()
    keys = list((lab.folder / "keys").glob("*.pem"))
    assert [each.stat().st_mode & 0o777 for each in (lab.folder / "keys", *keys)] == [0o700, 0o400]
    assert routes_lab.user_of(pid) == lab.places.uid != 0
    assert str(Path(f"/proc/{pid}/root").readlink()) == lab.places.jail
