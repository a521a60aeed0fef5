"""What an image says about how it wants to be run: its configuration, read from JSON of strangers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.oci import reading
from orch.oci.manifest import Platform


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Docker's own addition: how the image says that it is well. Durations in nanoseconds; 0 says nothing."""

    test: tuple[str, ...]
    """NONE, CMD and words, or CMD-SHELL and one text."""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how it wants to be run."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    health_check: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    """Instructions for whoever builds on this image."""
    architecture: str = ""
    os: str = ""
    variant: str = ""
    diff_ids: tuple[str, ...] = ()
    """Digests of the uncompressed layers, lowest first."""

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


def read(body: bytes) -> ImageConfig:
    """The image configuration in `body`."""
    document = reading.document(body, "image configuration")
    run = reading.mapping(document.get("config"), "config")
    rootfs = reading.mapping(document.get("rootfs"), "rootfs")
    diff_ids = reading.strings(rootfs.get("diff_ids"), "rootfs.diff_ids")
    for diff_id in diff_ids:
        reading.digest(diff_id, "rootfs.diff_ids")
    return ImageConfig(
        entrypoint=_command(run.get("Entrypoint"), "Entrypoint"),
        command=_command(run.get("Cmd"), "Cmd"),
        environment=tuple(_assignment(text) for text in reading.strings(run.get("Env"), "Env")),
        user=reading.text(run.get("User"), "User"),
        working_dir=reading.text(run.get("WorkingDir"), "WorkingDir"),
        exposed_ports=tuple(sorted(reading.mapping(run.get("ExposedPorts"), "ExposedPorts"))),
        volumes=tuple(sorted(reading.mapping(run.get("Volumes"), "Volumes"))),
        stop_signal=reading.text(run.get("StopSignal"), "StopSignal"),
        labels=tuple(
            sorted(
                (k, reading.text(v, f"label {k}"))
                for k, v in reading.mapping(run.get("Labels"), "Labels").items()
            )
        ),
        health_check=_health_check(reading.mapping(run.get("Healthcheck"), "Healthcheck")),
        shell=reading.strings(run.get("Shell"), "Shell"),
        on_build=reading.strings(run.get("OnBuild"), "OnBuild"),
        architecture=reading.text(document.get("architecture"), "architecture"),
        os=reading.text(document.get("os"), "os"),
        variant=reading.text(document.get("variant"), "variant"),
        diff_ids=diff_ids,
    )


def _health_check(said: Mapping[str, Any]) -> HealthCheck | None:
    test = reading.strings(said.get("Test"), "Healthcheck.Test")
    if not test:
        return None
    names = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
    return HealthCheck(test, *(reading.number(said.get(name), f"Healthcheck.{name}") for name in names))


def _command(value: object, where: str) -> tuple[str, ...]:
    """Old images hold a plain string, which Docker runs through the shell."""
    return (
        ("/bin/sh", "-c", reading.text(value, where))
        if isinstance(value, str)
        else reading.strings(value, where)
    )


def _assignment(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
