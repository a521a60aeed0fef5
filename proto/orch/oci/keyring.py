"""A Secret of `type: registry` → who we are at which registry (pure).

    data: {host: registry.example.com:5000, user: ci, password: …}

or what Docker keeps in ~/.docker/config.json, under `.dockerconfigjson` as Kubernetes has it.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from orch.oci.auth import Credentials
from orch.oci.reference import DOCKER_HUB, is_host

SECRET_TYPE = "registry"  # noqa: S105  a word of the manifest
DOCKER_CONFIG = ".dockerconfigjson"
_ENTRIES = ("host", "user", "password")
_HUB = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com", DOCKER_HUB}


class NotCredentials(ValueError):
    """The sentence says what is missing."""


def of(data: Mapping[str, bytes]) -> dict[str, Credentials]:
    """By registry. Raises NotCredentials."""
    if DOCKER_CONFIG in data:
        return _of_docker(data[DOCKER_CONFIG])
    if missing := [name for name in _ENTRIES if not data.get(name)]:
        raise NotCredentials(
            f"a secret of type registry needs host, user and password (or {DOCKER_CONFIG}): "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    host, user, password = (_text(data[name], name) for name in _ENTRIES)
    return {_host(host): Credentials(user, password)}


def merged(secrets: Iterable[Mapping[str, bytes]]) -> dict[str, Credentials]:
    """Of several secrets, the first that names a registry counts; one that is none is passed over."""
    found: dict[str, Credentials] = {}
    for data in secrets:
        try:
            found = of(data) | found
        except NotCredentials:
            continue
    return found


def _of_docker(text: bytes) -> dict[str, Credentials]:
    try:
        entries = json.loads(text)["auths"].items()
        return {_host(host): _docker_entry(entry) for host, entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        if isinstance(error, NotCredentials):
            raise
        raise NotCredentials(
            f'{DOCKER_CONFIG} is not a file of Docker\'s: {{"auths": {{"HOST": {{"auth": …}}}}}}'
        ) from error


def _docker_entry(entry: Mapping[str, Any]) -> Credentials:
    user, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    token = entry.get("identitytoken", "")
    if not (user and (password or token)):
        raise NotCredentials(f"{DOCKER_CONFIG} has an entry without user and password")
    return Credentials(str(user), str(password).rstrip("\x00"), str(token))


def _host(written: str) -> str:
    """`https://index.docker.io/v1/` and such → the registry's name as in a reference."""
    host = written.strip().partition("://")[2] or written.strip()
    host = host.partition("/")[0]
    if not is_host(host):
        raise NotCredentials(f'"{written}" is not a registry: expected host or host:port')
    return DOCKER_HUB if host in _HUB else host


def _text(content: bytes, name: str) -> str:
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError as error:
        raise NotCredentials(f"{name} is not text") from error
    if "\n" in text or (name == "user" and ":" in text):
        raise NotCredentials(f"{name} may not hold {'a line break' if chr(10) in text else 'a colon'}")
    return text
