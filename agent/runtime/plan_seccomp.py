"""The seccomp profile of an OCI configuration → the filter of a plan (pure)."""

from collections.abc import Mapping
from typing import Any

from agent.runtime.container import LaunchFailed


def program(profile: Mapping[str, Any] | None) -> bytes:
    """A compiled filter comes under a key of our own; profiles in the OCI's words are not compiled yet."""
    if profile is None:
        return b""
    for key, value in profile.items():
        if key != "orchCompiled" and value not in (None, {}, [], ""):
            why = "is not supported yet; take it out of the configuration"
            raise LaunchFailed("config", f"linux.seccomp.{key} {why}")
    compiled: bytes = profile["orchCompiled"]
    return compiled
