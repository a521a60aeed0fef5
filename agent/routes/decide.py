"""From what the proxy is to be and what it is: nothing, words at run time, or a new process (pure).

The order is by construction: who comes is there before anybody is led to it, and who goes is left first.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.routes import config, seen
from agent.routes.wanted import Backend, Certificate, Wanted

ADDED = "New server registered."


@dataclass(frozen=True, slots=True)
class Reload:
    """A new process, which takes the listening sockets over from the old one."""

    why: str


@dataclass(frozen=True, slots=True)
class Say:
    """Words at run time. Where the proxy answers with what is not in `answers`, it has not done it."""

    words: str
    answers: tuple[str, ...] = ()


Step = Reload | Say


def decide(wanted: Wanted, now: seen.Seen, places: config.Places) -> list[Step]:
    """What brings the one to the other."""
    if now.structure != config.structure(wanted, places):
        return [Reload("what is served has changed")]
    files = {places.certificate(each.name): each for each in wanted.certificates}
    for path, each in files.items():
        if each.is_default and path not in now.certificates:
            return [Reload("the certificate for whoever names no host is new")]
    backends = {each.name: each for each in wanted.backends}
    return [
        *(step for each in wanted.backends for step in _coming(each, now.servers.get(each.name, {}))),
        *_certificates(files, now, places),
        *_maps(wanted, now, places),
        *(step for name, there in now.servers.items() for step in _going(name, backends.get(name), there)),
    ]


def after(wanted: Wanted, now: seen.Seen, places: config.Places) -> seen.Seen:
    """What is seen once that is done: those that go are there until nobody uses them any more."""
    servers = {}
    for backend in wanted.backends:
        there = {
            name: seen.SeenServer(each.address, each.port, each.weight, "drain")
            for name, each in now.servers.get(backend.name, {}).items()
        }
        there |= {
            each.name: seen.SeenServer(each.address, each.port, each.weight) for each in backend.servers
        }
        servers[backend.name] = there
    structure = now.structure or config.structure(wanted, places)
    return seen.Seen(structure, servers, config.maps(wanted), certificates(wanted, places))


def certificates(wanted: Wanted, places: config.Places) -> dict[str, str]:
    """File → a digest of what is in it."""
    return {places.certificate(each.name): _digest(each.pem) for each in wanted.certificates}


def draining(now: seen.Seen) -> dict[str, list[str]]:
    """Those that go, by backend."""
    found = {
        backend: [name for name, each in there.items() if each.state != "ready"]
        for backend, there in now.servers.items()
    }
    return {backend: names for backend, names in found.items() if names}


def _coming(backend: Backend, there: Mapping[str, seen.SeenServer]) -> Iterator[Say]:
    for each in backend.servers:
        name = f"{backend.name}/{each.name}"
        known = there.get(each.name)
        if known is None:
            yield Say(f"add server {name} {config.server(each, backend)}", (ADDED,))
            yield Say(f"set server {name} state ready")
            continue
        if (known.address, known.port) != (each.address, each.port):
            yield Say(f"set server {name} addr {each.address} port {each.port}", _MOVED)
        if known.weight != each.weight:
            yield Say(f"set server {name} weight {each.weight}")
        if known.state != "ready":
            yield Say(f"set server {name} state ready")


_MOVED = ("IP changed from", "port changed from", "no need to change", "nothing changed")


def _going(name: str, backend: Backend | None, there: Mapping[str, seen.SeenServer]) -> Iterator[Say]:
    stay = {each.name for each in backend.servers} if backend else set()
    for each, known in there.items():
        if each not in stay and known.state == "ready":
            yield Say(f"set server {name}/{each} state drain")


def _maps(wanted: Wanted, now: seen.Seen, places: config.Places) -> Iterator[Say]:
    for name, entries in config.maps(wanted).items():
        path, there = places.map(name), now.maps.get(name, {})
        if name == "https" and not (wanted.has_tls and places.https_port):
            continue
        if name == "http" and not places.http_port:
            continue
        if name == "splits" and not entries:
            continue
        for key in there.keys() - entries.keys():
            yield Say(f"del map {path} {key}")
        for key, value in entries.items():
            if key not in there:
                yield Say(f"add map {path} {key} {value}")
            elif there[key] != value:
                yield Say(f"set map {path} {key} {value}")


def _certificates(files: Mapping[str, Certificate], now: seen.Seen, places: config.Places) -> Iterator[Say]:
    if not places.https_port:
        return
    for path, each in files.items():
        if now.certificates.get(path) == _digest(each.pem):
            continue
        new = path not in now.certificates
        if new:
            yield Say(f"new ssl cert {path}", ("New empty certificate store",))
        pem = "\n".join(line for line in each.pem.splitlines() if line.strip())
        yield Say(f"set ssl cert {path} <<\n{pem}\n", ("Transaction created", "Transaction updated"))
        yield Say(f"commit ssl cert {path}", ("Committing", "Success!"))
        if new:
            line = config.certificate_line(places, each)
            yield Say(f"add ssl crt-list {places.certificate_list} <<\n{line}\n", ("Inserting", "Success!"))
    for path in now.certificates.keys() - files.keys():
        listed = places.certificate_list
        yield Say(f"del ssl crt-list {listed} {path}", ("Entry", "Certificate", "Success!", "deleted"))
        yield Say(f"del ssl cert {path}", ("Certificate", "deleted"))


def _digest(pem: str) -> str:
    return hashlib.sha256(pem.encode()).hexdigest()
