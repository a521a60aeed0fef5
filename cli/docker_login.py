"""Credentials for registries, where `docker login` keeps them: ~/.docker/config.json and its helpers."""

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.exits import Wrong
from orch.oci.auth import Credentials
from orch.oci.reference import DOCKER_HUB

_HELPER_SECONDS = 30.0
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


def credentials_of(registry: str) -> Credentials | None:
    """What the user logged in with; None for a registry that knows nobody here. Raises Wrong."""
    config = _config()
    for key in (
        _HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}", f"http://{registry}")
    ):
        if helper := str((config.get("credHelpers") or {}).get(key) or ""):
            return _from_helper(helper, key)
        entry = (config.get("auths") or {}).get(key)
        if isinstance(entry, dict) and (found := _from_entry(entry, registry)):
            return found
        if (store := str(config.get("credsStore") or "")) and (found := _from_helper(store, key)):
            return found
    return None


def _config() -> Mapping[str, Any]:
    directory = os.environ.get("DOCKER_CONFIG")
    path = (Path(directory) if directory else Path.home() / ".docker") / "config.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Wrong(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _from_entry(entry: Mapping[str, Any], registry: str) -> Credentials | None:
    if entry.get("identitytoken"):
        raise Wrong(
            f"{registry}: docker keeps an identity token, which orchctl cannot use: log in with a password or token"
        )
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password", "")))
    try:
        user, colon, password = (
            base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
        )
    except (binascii.Error, UnicodeDecodeError):
        raise Wrong(f"{registry}: what docker keeps for it is damaged: docker login {registry}") from None
    return Credentials(user, password.rstrip("\0")) if colon else None


def _from_helper(name: str, key: str) -> Credentials | None:
    """A program `docker-credential-NAME` keeps the passwords; it ends with 1 for what it does not have."""
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise Wrong(f"docker's configuration names {program}, which is not installed") from None
    except subprocess.TimeoutExpired:
        raise Wrong(f"{program} did not answer within {_HELPER_SECONDS:g} s") from None
    if done.returncode:
        return None
    try:
        said = json.loads(done.stdout)
        return Credentials(str(said["Username"]), str(said["Secret"]))
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"{program} answered what cannot be understood") from None
