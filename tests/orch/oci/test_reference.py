"""References in every form people type."""

import pytest

from orch.oci import reference
from orch.oci.failure import ImageFailure, Reason

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("grafana/loki", "docker.io/grafana/loki:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/grafana/loki:2", "docker.io/grafana/loki:2"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        ("127.0.0.1:5000/web", "127.0.0.1:5000/web:latest"),
        ("[::1]:5000/web:1", "[::1]:5000/web:1"),
        (f"web@{DIGEST}", f"docker.io/library/web@{DIGEST}"),
        (f"r.io/web:1@{DIGEST}", f"r.io/web:1@{DIGEST}"),
        ("a__b/c-d.e--f", "docker.io/a__b/c-d.e--f:latest"),
        ("Registry/web", "Registry/web:latest"),
    ],
)
def test_every_form_is_completed(text: str, whole: str) -> None:
    found = reference.parse(text)

    assert str(found) == whole
    assert reference.parse(whole) == found
    assert reference.parse(found.familiar) == found


def test_a_digest_wins_over_a_tag() -> None:
    assert reference.parse(f"r.io/web:1@{DIGEST}").wanted == DIGEST


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" web", "spaces"),
        ("web:", "not a tag"),
        ("web:a b", "not a tag"),
        ("web:" + "x" * 129, "not a tag"),
        ("Web", "lower case"),
        ("r.io/Web", "lower case"),
        ("r.io/", "not a name"),
        ("a//b", "not a name"),
        ("-web", "not a name"),
        ("../web", "not the name of a registry"),
        ("r.io:port/web", "not the name of a registry"),
        ("web@sha256:abc", "64 hexadecimal"),
        ("web@md5:" + "a" * 32, "not a digest"),
        ("web:1\n", "spaces"),
        ("a" * 300, "longer"),
        ("https://r.io/web", "not the name of a registry"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ImageFailure) as caught:
        reference.parse(text)

    assert caught.value.reason is Reason.INVALID_REFERENCE
    assert why in caught.value.message
