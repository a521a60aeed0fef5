"""What HAProxy is told in files: its configuration, its maps, its list of certificates (pure).

The structure (everything but endpoints, maps and certificates) has a digest, which the running proxy says of
itself: while that is as it should be, all the rest is changed at run time, and nothing is loaded anew.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.routes.wanted import NONE, REDIRECT, Backend, Certificate, Server, Wanted

MOST_CONNECTIONS = 20_000
CONNECT_SECONDS = 2
RETRIES = 3
TUNNEL_HOURS = 1
SAMPLED_ABOVE_PER_SECOND = 4000
"""Requests; beyond, of the answers that are no errors one in SAMPLE is in the log, and counts as so many."""
SAMPLE = 8
SOURCES_PER_LINE = 32


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies, who the proxy runs as, and where it listens; port 0 is not at all."""

    folder: str
    certificates: str
    http_port: int = 80
    https_port: int = 443
    uid: int = 65534
    gid: int = 65534
    most_connections: int = MOST_CONNECTIONS
    leaving_seconds: int = TUNNEL_HOURS * 3600
    """After which one that has been followed by another ends, whatever is still under way."""
    threads: int = 1

    @property
    def config(self) -> str:
        return f"{self.folder}/haproxy.cfg"

    @property
    def socket(self) -> str:
        return f"{self.folder}/control.sock"

    @property
    def jail(self) -> str:
        return f"{self.folder}/jail"

    @property
    def certificate_list(self) -> str:
        return f"{self.folder}/certificates.list"

    def map(self, name: str) -> str:
        """One of http, https, splits."""
        return f"{self.folder}/{name}.map"

    def certificate(self, name: str) -> str:
        return f"{self.certificates}/{name}.pem"


def maps(wanted: Wanted) -> dict[str, Mapping[str, str]]:
    """By name."""
    return {"http": wanted.http, "https": wanted.https, "splits": wanted.splits}


def map_text(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def certificate_line(places: Places, each: Certificate) -> str:
    """The default comes first, and for whoever it is."""
    hosts = () if each.is_default else each.hosts
    return " ".join((places.certificate(each.name), *hosts))


def structure(wanted: Wanted, places: Places) -> str:
    """A digest of all that only a new process can take up."""
    whole = "\n".join(_lines(wanted, places, "", with_servers=False))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def text(wanted: Wanted, places: Places) -> str:
    """The configuration as it is to be now, endpoints and all."""
    said = structure(wanted, places)
    return "\n".join((*_lines(wanted, places, said, with_servers=True), ""))


def server(each: Server, backend: Backend) -> str:
    """The words for one endpoint, in a file and at run time."""
    host = f"[{each.address}]" if ":" in each.address else each.address
    words = [f"{host}:{each.port}", f"weight {each.weight}"]
    if backend.manner.slow_start:
        words.append(f"slowstart {round(backend.manner.slow_start * 1000)}")
    if backend.manner.protocol == "h2c":
        words.append("proto h2")
    return " ".join(words)


def _lines(wanted: Wanted, places: Places, said: str, *, with_servers: bool) -> Iterator[str]:
    yield from _global(places, said)
    if places.http_port:
        yield from _frontend(wanted, places, "http")
    if places.https_port and wanted.has_tls:
        yield from _frontend(wanted, places, "https")
    yield from _own_backends(places)
    for each in wanted.backends:
        yield from _backend(each)
        if with_servers:
            yield from (f"  server {one.name} {server(one, each)}" for one in each.servers)


def _global(places: Places, said: str) -> Iterator[str]:
    yield from (
        "# Written by orch-agent, and written anew whenever it is read.",
        "global",
        f"  description {said}",
        f"  chroot {places.jail}",
        f"  uid {places.uid}",
        f"  gid {places.gid}",
        f"  maxconn {places.most_connections}",
        f"  hard-stop-after {places.leaving_seconds}s",
        f"  nbthread {places.threads}",
        f"  stats socket {places.socket} mode 600 level admin expose-fd listeners",
        "  stats timeout 10s",
        "  log stdout format raw local0 info",
        "  tune.ssl.default-dh-param 2048",
        "  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "defaults",
        "  mode http",
        "  log global",
        "  option dontlognull",
        '  log-format "R %b %s %ST %Ta %[var(txn.counts)]"',
        "  balance roundrobin",
        f"  timeout connect {CONNECT_SECONDS}s",
        "  timeout client 60s",
        "  timeout server 60s",
        "  timeout queue 10s",
        "  timeout http-request 15s",
        "  timeout http-keep-alive 75s",
        "  timeout client-fin 30s",
        f"  timeout tunnel {TUNNEL_HOURS}h",
        f"  retries {RETRIES}",
        "  option redispatch 1",
        "  retry-on conn-failure empty-response",
    )


def _frontend(wanted: Wanted, places: Places, name: str) -> Iterator[str]:
    port = places.http_port if name == "http" else places.https_port
    yield f"frontend orch-{name}"
    if name == "http":
        yield f"  bind :{port}"
    else:
        default = next((each for each in wanted.certificates if each.is_default), None)
        strict = "strict-sni" if default is None else f"crt {places.certificate(default.name)}"
        yield f"  bind :{port} ssl {strict} crt-list {places.certificate_list} alpn h2,http/1.1"
    yield from _leading(wanted, places, name)
    yield from (
        "  http-request set-header X-Forwarded-For %[src]",
        f"  http-request set-header X-Forwarded-Proto {name}",
        (
            f"  http-response set-var(txn.counts) int({SAMPLE})"
            f" if {{ fe_req_rate gt {SAMPLED_ABOVE_PER_SECOND} }} {{ status lt 500 }}"
        ),
        f"  http-response set-log-level silent if {{ var(txn.counts) -m int {SAMPLE} }} {{ rand({SAMPLE}) gt 0 }}",
        "  use_backend %[var(txn.led)]",
        f"  default_backend {NONE}",
    )


def _leading(wanted: Wanted, places: Places, name: str) -> Iterator[str]:
    """The own host first, then its parent's `*.`, then any. What nobody asks for costs nothing."""
    table, splits = places.map(name), places.map("splits")
    host, none_yet = "%[req.hdr(host),host_only,lower]", ""
    own, parent, anybody = (f"{place}%[path]/" for place in (host, f"*.{host[:-1]},field(2,.,0)]", "*"))
    has_parents = any(key.startswith("*.") for key in wanted.http)
    has_anybody = any(key.startswith("*/") for key in wanted.http)
    for place, is_asked in ((own, True), (parent, has_parents), (anybody, has_anybody)):
        if is_asked:
            yield f'  http-request set-var-fmt(txn.place) "{place}"{none_yet}'
            yield f"  http-request set-var(txn.led) var(txn.place),map_beg({table}){none_yet}"
            none_yet = " if !{ var(txn.led) -m found }"
    if wanted.splits:
        is_split = "if { var(txn.led) -m beg @ }"
        yield f'  http-request set-var-fmt(txn.part) "%[var(txn.led)]%[rand(1000)]" {is_split}'
        yield f"  http-request set-var(txn.led) var(txn.part),map_str({splits}) {is_split}"


def _own_backends(places: Places) -> Iterator[str]:
    port = "" if places.https_port == 443 else f":{places.https_port}"
    where = f"https://%[req.hdr(host),host_only]{port}%[pathq]"
    yield from (
        f"backend {NONE}",
        (
            "  http-request return status 404 content-type text/plain lf-string"
            ' "no route leads from %[req.hdr(host)]%[path] to a service\\n"'
        ),
        f"backend {REDIRECT}",
        f'  http-request redirect location "{where}" code 308',
    )


def _limited(sources: Sequence[str], name: str) -> Iterator[str]:
    """To these; the node itself is always let in. A line has so many words, and lines of one name go together."""
    every = ("127.0.0.1", "::1", *sources) if sources else ()
    for at in range(0, len(every), SOURCES_PER_LINE):
        yield f"  acl let_in src {' '.join(every[at : at + SOURCES_PER_LINE])}"
    if every:
        refusal = f'string "service {name} takes no requests from %[src]\\n"'
        yield f"  http-request return status 403 content-type text/plain lf-{refusal} if !let_in"


def _backend(each: Backend) -> Iterator[str]:
    manner, name = each.manner, each.service
    yield f"backend {each.name}"
    yield f"  timeout server {round(manner.timeout * 1000)}ms"
    yield from _limited(manner.sources, name)
    yield "  http-request disable-l7-retry if !{ method GET HEAD OPTIONS PUT DELETE TRACE }"
    yield (  # a process that lets go of its listeners counts no servers, and still has them
        "  http-request return status 503 content-type text/plain hdr Retry-After 1"
        f' string "service {name} has no ready endpoint\\n" if {{ nbsrv eq 0 }} !{{ stopping }}'
    )
    if manner.strip:
        pattern = manner.strip.replace(".", "[.]").replace("+", "[+]")
        yield f"  http-request replace-path ^{pattern}/*(.*) /\\1"
    for status, why in (
        (502, "answered with what is no HTTP, or ended in the middle"),
        (503, "could not be reached"),
        (504, f"did not begin its answer within {manner.timeout:g} s"),
    ):
        yield f'  http-error status {status} content-type text/plain string "service {name} {why}\\n"'
