"""Credentials are found where `docker login` keeps them."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import docker_login
from cli.exits import Wrong
from orch.oci.auth import Credentials

Login = Callable[[dict[str, Any]], None]


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return lambda words: (tmp_path / "config.json").write_text(json.dumps(words))  # type: ignore[func-returns-value]


def encoded(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def test_without_docker_nobody_is_logged_in(login: Login) -> None:
    assert docker_login.credentials_of("ghcr.io") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://reg.lan:5000", "reg.lan:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
def test_a_password_may_hold_colons(login: Login, key: str, registry: str) -> None:
    login({"auths": {key: encoded("ann:se:cret")}})
    assert docker_login.credentials_of(registry) == Credentials("ann", "se:cret")
    assert docker_login.credentials_of("quay.io") is None


def test_a_helper_is_asked_for_its_registry_only(login: Login, tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-vault"
    answer = '{"Username":"bob","Secret":"s"}'
    helper.write_text(f"#!/bin/sh\nread key\n[ $1.$key = get.ghcr.io ] || exit 1\necho '{answer}'\n")
    helper.chmod(0o755)
    login({"credsStore": "vault"})
    assert docker_login.credentials_of("ghcr.io") == Credentials("bob", "s")
    assert docker_login.credentials_of("quay.io") is None
    login({"credHelpers": {"ghcr.io": "vault", "quay.io": "missing"}})
    assert docker_login.credentials_of("ghcr.io") == Credentials("bob", "s")
    with pytest.raises(Wrong, match="docker-credential-missing, which is not installed"):
        docker_login.credentials_of("quay.io")


def test_what_cannot_be_used_is_said(login: Login, tmp_path: Path) -> None:
    login({"auths": {"ghcr.io": {"identitytoken": "x"}, "quay.io": {"auth": "%%%"}}})
    with pytest.raises(Wrong, match="identity token"):
        docker_login.credentials_of("ghcr.io")
    with pytest.raises(Wrong, match="is damaged: docker login"):
        docker_login.credentials_of("quay.io")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Wrong, match="cannot be read"):
        docker_login.credentials_of("ghcr.io")
