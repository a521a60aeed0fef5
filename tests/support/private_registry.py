"""The registry beside a dev cluster, made to ask for a password or a token; open again at the end."""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.dev import processes
from deploy.demo import images
from orch.oci import build, reference
from orch.oci.auth import Credentials
from orch.oci.registry import Registry
from tests.support import token_server
from tests.support.certificates import Authority
from tests.support.dev import PATIENCE_SECONDS, Dev

USER = token_server.USER
PASSWORDS = {
    "first-password-7741": "$2b$05$abcdefghijklmnopqrstuu/98N4afM8bYmZG4vpjc3EMiSiTryjH2",
    "second-password-9920": "$2b$05$abcdefghijklmnopqrstuuD0w.k3TwHziF.3sxn5Pt/WsIvyeYrKy",
}
"""And what bcrypt makes of them, for htpasswd."""
FIRST, SECOND = PASSWORDS
_TOKEN_PORT = 5051


@dataclass(frozen=True, slots=True)
class Private:
    cluster: Dev
    kind: Literal["basic", "token"]
    directory: Path

    @property
    def host(self) -> str:
        return self.cluster.cluster.registry_address

    def begin(self, password: str) -> None:
        """From now on this is the password; the registry of before ends."""
        _stop(self.cluster)
        (self.directory / "password").write_text(password)
        settings = self.directory / "registry.yml"
        settings.write_text(self._settings(password))
        _start(self.cluster, self.host, settings, self.directory / "log")

    def push(self, name: str, version: str, password: str) -> str:
        """The digest of a web image that now has this name."""

        async def push() -> str:
            known = Credentials(USER, password)
            async with Registry(plain_http=[self.host], credentials=lambda _: known) as connection:
                return await build.push(
                    connection, reference.parse(f"{self.host}/{name}"), images.web(version)
                )

        return asyncio.run(push())

    def _settings(self, password: str) -> str:
        text = (
            "version: 0.1\nlog: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/data}}}}\n"
            f"http: {{addr: '{self.host}'}}\n"
        )
        if self.kind == "basic":
            (self.directory / "htpasswd").write_text(f"{USER}:{PASSWORDS[password]}\n")
            return text + f"auth: {{htpasswd: {{realm: private, path: {self.directory}/htpasswd}}}}\n"
        realm = f"http://{_token_address(self.cluster)}/token"
        words = f"realm: '{realm}', service: private, issuer: {token_server.ISSUER}"
        return text + f"auth: {{token: {{{words}, rootcertbundle: {self.directory}/ca.pem}}}}\n"


@contextlib.contextmanager
def private_registry(cluster: Dev, kind: Literal["basic", "token"]) -> Iterator[Private]:
    directory = cluster.work / f"private-{kind}"
    directory.mkdir()
    made = Private(cluster, kind, directory)
    try:
        with registry_stopped(cluster):
            if kind == "token":
                _start_token_server(cluster, directory)
            made.begin(FIRST)
            yield made
    finally:
        processes.kill(list(processes.marked(cluster.cluster.name, "tokens")))


@contextlib.contextmanager
def registry_stopped(cluster: Dev) -> Iterator[None]:
    """The registry beside the cluster makes room for another; at the end it is back."""
    _stop(cluster)
    try:
        yield
    finally:
        _stop(cluster)
        settings = cluster.cluster.state / "registry.yml"
        _start(cluster, cluster.cluster.registry_address, settings, cluster.work / "registry.log")


def registry_elsewhere(cluster: Dev, address: str) -> None:
    """One with the same content listens there, until the registry is back."""
    text = (cluster.cluster.state / "registry.yml").read_text()
    settings = cluster.work / "elsewhere.yml"
    settings.write_text(text.replace(cluster.cluster.registry_address, address))
    _start(cluster, address, settings, cluster.work / "registry.log")


def _start_token_server(cluster: Dev, directory: Path) -> None:
    authority = Authority(directory, "ca")
    issued = authority.issue("tokens")
    issued.cert.rename(directory / "cert.pem")
    issued.key.rename(directory / "key.pem")
    command = [sys.executable, token_server.__file__, _token_address(cluster), str(directory), "private"]
    log = directory / "tokens.log"
    process = processes.start(
        cluster.cluster.name, "tokens", command, netns=cluster.cluster.lan_path, log=log
    )
    processes.wait_for_line(process, log, token_server.READY, "the token server")


def _token_address(cluster: Dev) -> str:
    return f"{cluster.cluster.control_address}:{_TOKEN_PORT}"


def _stop(cluster: Dev) -> None:
    processes.kill(list(processes.marked(cluster.cluster.name, "registry")))


def _start(cluster: Dev, address: str, settings: Path, log: Path) -> None:
    command = ["docker-registry", "serve", str(settings)]
    process = processes.start(
        cluster.cluster.name, "registry", command, netns=cluster.cluster.lan_path, log=log
    )
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        assert process.poll() is None, f"the registry does not start:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the registry does not listen:\n{log.read_text()}"
        time.sleep(0.02)  # a listener has no event for others
