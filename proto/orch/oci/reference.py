"""Names of images: `registry/repository:tag@digest` in every form people type.

Follows the distribution project's grammar and Docker's defaults: without a registry it is
docker.io, a single word there lives in `library/`, and without tag and digest the tag is `latest`.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from orch.oci.failure import ImageFailure, Reason

DOCKER_HUB = "docker.io"
CLUSTER = "registry.orch"
"""The cluster's own registry, wherever it is served from."""
_LONGEST_NAME = 255

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A complete name: nothing is left to defaults."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest where there is one, for it cannot move."""
        return self.digest or self.tag or "latest"

    def pinned(self, digest: str) -> "Reference":
        """The same repository at exactly these bytes, whatever the tag says later."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """As people write it: without the parts that the defaults would add."""
        text = str(self).removeprefix(f"{DOCKER_HUB}/")
        return text.removeprefix("library/") if self.registry == DOCKER_HUB else text


@lru_cache(maxsize=1024)
def parse(text: str) -> Reference:
    """The reference in `text`; raises ImageFailure(InvalidReference) saying which part is wrong."""
    if not text or text != text.strip():
        raise _invalid(text, "it is empty" if not text.strip() else "it has spaces around it")
    rest, digest = _split_digest(text)
    rest, tag = _split_tag(rest, text)
    registry, repository = _split_registry(rest, text)
    _check_repository(repository, text)
    if tag is None and digest is None:
        tag = "latest"
    return Reference(registry, repository, tag, digest)


def of_own(text: str) -> Reference:
    """As `parse`, but a name without a registry is the cluster's own. Raises ImageFailure."""
    return parse(text if names_a_registry(text) else f"{CLUSTER}/{text}")


def names_a_registry(text: str) -> bool:
    """Whether the registry was written out, and not left to the default."""
    first, slash, _ = text.partition("/")
    return bool(slash) and _is_a_host(first)


def is_host(text: str) -> bool:
    """Whether it can be a registry's name: host or host:port."""
    return _HOST.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Without a registry: `library/busybox`."""
    return len(text) <= _LONGEST_NAME and all(_COMPONENT.fullmatch(part) for part in text.split("/"))


def _split_digest(text: str) -> tuple[str, str | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return rest, None
    if not is_digest(digest):
        raise _invalid(text, f'"{digest}" is not a digest: expected sha256: and 64 hexadecimal digits')
    return rest, digest


def _split_tag(rest: str, text: str) -> tuple[str, str | None]:
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag or tag.endswith("]"):
        return rest, None
    if not _TAG.fullmatch(tag):
        raise _invalid(text, f'"{tag}" is not a tag: up to 128 letters, digits, "_", "." and "-"')
    return head, tag


def _split_registry(rest: str, text: str) -> tuple[str, str]:
    first, slash, others = rest.partition("/")
    if not slash or not _is_a_host(first):
        return DOCKER_HUB, rest if "/" in rest else f"library/{rest}"
    if not _HOST.fullmatch(first):
        raise _invalid(text, f'"{first}" is not the name of a registry: expected host or host:port')
    if first in {DOCKER_HUB, "index.docker.io"}:
        return DOCKER_HUB, others if "/" in others else f"library/{others}"
    return first, others


def _is_a_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _check_repository(repository: str, text: str) -> None:
    for component in repository.split("/"):
        if component != component.lower():
            raise _invalid(text, f'"{component}" must be in lower case')
        if not _COMPONENT.fullmatch(component):
            raise _invalid(
                text, f'"{component}" is not a name: lower-case letters and digits, parted by ".", "_" or "-"'
            )
    if len(repository) > _LONGEST_NAME:
        raise _invalid(text[:40] + "…", f"its name is longer than {_LONGEST_NAME} characters")


def _invalid(text: str, why: str) -> ImageFailure:
    return ImageFailure(Reason.INVALID_REFERENCE, f'image "{text}" is not a valid reference: {why}')
