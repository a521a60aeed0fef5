"""An AppArmor profile that a configuration names holds the payload, and every second process too.

Only where the kernel has AppArmor: Debian's has, so these run on the machine of `make test-vm`.
"""

import asyncio
import dataclasses
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.container import Launch, LaunchFailed

pytestmark = pytest.mark.root

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_PROFILES = Path("/sys/kernel/security/apparmor/profiles")
_RULES = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  signal,
  deny /etc/secret r,
}}
"""


def _load(option: str, profile: str) -> None:
    command = ["apparmor_parser", option, "--skip-cache", "--quiet"]
    said = subprocess.run(command, input=profile, text=True, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr


@pytest.fixture
def profile() -> Iterator[str]:
    """The name of a profile that the kernel holds while the test runs."""
    if not _ENABLED.exists() or _ENABLED.read_text().strip() != "Y":
        pytest.skip("this kernel has no AppArmor; make test-vm has it")
    if not shutil.which("apparmor_parser") or not _PROFILES.exists():
        pytest.skip("needs apparmor_parser and securityfs; make test-vm has them")
    name = f"orch-test-{uuid.uuid4().hex[:8]}"
    _load("--add", _RULES.format(name=name))
    try:
        yield name
    finally:
        _load("--remove", _RULES.format(name=name))


def _confined(bench: Any, profile: str, *args: str, **options: Any) -> Launch:
    (bench.layer / "etc" / "secret").write_text("told")
    launch: Launch = bench.launch_of(*args, **options)
    config: dict[str, Any] = dict(launch.config)
    config["process"] = {**config["process"], "apparmorProfile": profile}
    return dataclasses.replace(launch, config=config)


async def test_a_profile_holds_the_payload(bench: Any, profile: str) -> None:
    script = "cat /proc/self/attr/current; cat /etc/secret; cat /etc/hostname"
    running = await bench.runtime.launch(_confined(bench, profile, "sh", "-c", script))
    await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)

    said = await bench.said(running.container)
    assert f"{profile} (enforce)" in said
    assert "/etc/secret: Permission denied" in said or "'/etc/secret': Permission denied" in said
    assert "told" not in said


async def test_a_profile_holds_second_processes_too(bench: Any, profile: str) -> None:
    running = await bench.runtime.launch(_confined(bench, profile, "sleep", "60"))
    reader, writer = os.pipe()
    script = "cat /proc/self/attr/current; cat /etc/secret; true"
    entered = await bench.runtime.enter(
        running.container, args=["sh", "-c", script], stdout=writer, stderr=writer
    )
    os.close(writer)
    await asyncio.wait_for(entered.wait(), 10 * bench.patience)
    said = os.read(reader, 4096).decode()
    os.close(reader)

    assert f"{profile} (enforce)" in said
    assert "Permission denied" in said
    assert "told" not in said


async def test_a_profile_that_nobody_loaded_is_an_error(bench: Any, profile: str) -> None:
    with pytest.raises(LaunchFailed, match=r"set exec nobodys: .*; is that AppArmor profile loaded?"):
        await bench.runtime.launch(_confined(bench, "nobodys", "true"))
