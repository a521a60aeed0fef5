"""How registries are reached: without TLS, with authorities of their own, over mirrors."""

import functools
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orch.oci.failure import ImageFailure, Reason
from orch.oci.reference import Reference

SHUNNED_SECONDS = 30.0
"""A mirror that cannot be reached is not asked again for so long: nobody waits for it at each layer."""


@dataclass(frozen=True, slots=True)
class Routes:
    """What the operator said about registries, by their names."""

    plain_http: frozenset[str] = frozenset()
    """These are spoken to without TLS."""
    perhaps_plain: frozenset[str] = frozenset()
    """So are these, where they do not speak TLS."""
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM files that are trusted for one registry, beside what the machine trusts."""
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Asked before the registry itself, in this order."""
    _shunned: dict[str, float] = field(default_factory=dict)
    _found_plain: set[str] = field(default_factory=set)

    def mirrors_of(self, ref: Reference) -> list[Reference]:
        """The same image in the mirrors of its registry, without those that just failed."""
        now = time.monotonic()
        return [
            replace(ref, registry=mirror)
            for mirror in self.mirrors.get(ref.registry, ())
            if self._shunned.get(mirror, 0.0) <= now
        ]

    def failed(self, mirror: Reference, failure: ImageFailure) -> None:
        """A mirror did not help; the next one or the registry itself may."""
        if failure.reason is Reason.REGISTRY_UNREACHABLE:
            self._shunned[mirror.registry] = time.monotonic() + SHUNNED_SECONDS

    def is_plain(self, registry: str) -> bool:
        """Spoken to without TLS, as far as we know."""
        return registry in self.plain_http or registry in self._found_plain

    def goes_on_plain(self, registry: str) -> bool:
        """It does not speak TLS: whether it may be spoken to without, from now on."""
        if registry in self.perhaps_plain:
            self._found_plain.add(registry)
        return self.is_plain(registry)

    def may_be_plain(self, registry: str) -> bool:
        return registry in self.plain_http or registry in self.perhaps_plain

    def tls(self, registry: str) -> ssl.SSLContext | None:
        """What to trust for this registry; None: what the machine trusts. Raises ImageFailure."""
        authority = self.authorities.get(registry)
        if authority is None:
            return None
        try:
            return _context(authority, authority.stat().st_mtime_ns)
        except (OSError, ssl.SSLError) as problem:
            raise ImageFailure(
                Reason.REGISTRY_UNREACHABLE,
                f"the CA of registry {registry} cannot be read: {authority}: {problem.strerror or problem}",
            ) from problem


def routes(
    plain_http: Collection[str] = (),
    authorities: Mapping[str, Path] | None = None,
    mirrors: Sequence[tuple[str, str]] = (),
    perhaps_plain: Collection[str] = (),
) -> Routes:
    """`mirrors` are pairs (registry, mirror), in the order in which they are tried."""
    found: dict[str, list[str]] = {}
    for registry, mirror in mirrors:
        found.setdefault(registry, []).append(mirror)
    return Routes(frozenset(plain_http), frozenset(perhaps_plain), authorities or {}, found)


@functools.lru_cache(maxsize=64)
def _context(authority: Path, _changed_at: int) -> ssl.SSLContext:
    """Read again when the file has changed."""
    context = ssl.create_default_context()
    context.load_verify_locations(authority)
    return context
