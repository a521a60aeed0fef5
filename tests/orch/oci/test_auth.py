"""Challenges as real registries send them."""

import pytest

from orch.oci import auth
from orch.oci.auth import Basic, Bearer


@pytest.mark.parametrize(
    ("header", "meaning"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            Bearer("https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull,push"),
        ),
        (
            'Bearer realm="https://gitlab.com/jwt/auth", service="container_registry"',
            Bearer("https://gitlab.com/jwt/auth", "container_registry", ""),
        ),
        (
            'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"',
            Bearer("https://ghcr.io/token", "ghcr.io", "repository:user/image:pull"),
        ),
        (
            'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"',
            Bearer("https://public.ecr.aws/token/", "public.ecr.aws", "aws"),
        ),
        (
            'Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:a/b:pull",error="invalid_token"',
            Bearer("https://quay.io/v2/auth", "quay.io", "repository:a/b:pull"),
        ),
        (
            'Basic realm="harbor", Bearer realm="https://h/token",service="s"',
            Bearer("https://h/token", "s", ""),
        ),
        ("bearer realm=https://r/token", Bearer("https://r/token", "", "")),
        ('Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"', Basic()),
        ("basic", Basic()),
        ('Bearer realm="file:///etc/passwd"', None),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_a_challenge_is_understood(header: str, meaning: Bearer | Basic | None) -> None:
    assert auth.challenge([header]) == meaning


def test_of_several_headers_a_token_is_preferred_to_a_password() -> None:
    headers = ['Basic realm="r"', 'Bearer realm="https://r/token"']

    assert auth.challenge(headers) == Bearer("https://r/token", "", "")


def test_a_scope_is_asked_for_where_the_registry_names_none() -> None:
    url = Bearer("https://r/token", "reg", "").url("repository:web:pull")

    assert url == "https://r/token?service=reg&scope=repository%3Aweb%3Apull"


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(auth.Credentials("me", "secret"))
