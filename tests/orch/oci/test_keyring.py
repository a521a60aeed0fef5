"""Secrets of type registry, in both forms."""

import base64
import json

import pytest

from orch.oci import keyring
from orch.oci.auth import Credentials


def docker(entries: object) -> dict[str, bytes]:
    return {".dockerconfigjson": json.dumps({"auths": entries}).encode()}


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            {"host": b"registry.lan:5000", "user": b"ci", "password": b"pw\n"},
            {"registry.lan:5000": Credentials("ci", "pw")},
        ),
        (
            docker({"https://index.docker.io/v1/": {"auth": auth("me:pass:word")}}),
            {"docker.io": Credentials("me", "pass:word")},
        ),
        (
            docker({"ghcr.io": {"username": "me", "password": "pw"}, "r.lan": {"auth": auth("a:b")}}),
            {"ghcr.io": Credentials("me", "pw"), "r.lan": Credentials("a", "b")},
        ),
        (
            docker({"r.azurecr.io": {"auth": auth("<token>:"), "identitytoken": "refresh"}}),
            {"r.azurecr.io": Credentials("<token>", "", "refresh")},
        ),
    ],
)
def test_credentials_are_read(data: dict[str, bytes], found: dict[str, Credentials]) -> None:
    assert keyring.of(data) == found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"host": b"r.lan", "user": b"ci"}, "password is missing"),
        ({"user": b"ci"}, "host and password are missing"),
        ({"host": b"not a host", "user": b"u", "password": b"p"}, "is not a registry"),
        ({"host": b"r.lan", "user": b"a:b", "password": b"p"}, "a colon"),
        ({"host": b"r.lan", "user": b"a", "password": b"\xff"}, "is not text"),
        (docker({"r.lan": {}}), "without user and password"),
        (docker([]), "is not a file of Docker's"),
        (docker({"r.lan": {"auth": "%%%"}}), "is not a file of Docker's"),
        ({".dockerconfigjson": b"["}, "is not a file of Docker's"),
    ],
)
def test_what_is_missing_is_said(data: dict[str, bytes], words: str) -> None:
    with pytest.raises(keyring.NotCredentials, match=words):
        keyring.of(data)


def test_of_two_secrets_for_a_registry_the_first_counts() -> None:
    one = {"host": b"r.lan", "user": b"one", "password": b"p"}
    two = {"host": b"r.lan", "user": b"two", "password": b"p"}

    assert keyring.merged([{}, one, two]) == {"r.lan": Credentials("one", "p")}
