"""What is said of a start that failed names what the image has and what to change."""

from pathlib import Path

import pytest

from agent.reconciler import advice
from agent.runtime.container import LaunchFailed
from orch.model.container import ContainerSpec, ResourceAmounts, ResourceSpec

MISSING = "exec {}: no such file in the image; /app holds srv"


@pytest.fixture
def layers(tmp_path: Path) -> tuple[str, ...]:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for file in (lower / "usr/bin/python3", lower / "bin/sleep", upper / "app/srv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o755)
    (upper / "app/readme").touch(0o644)
    (upper / "opt").symlink_to("/")
    (lower / "etc").mkdir()
    (lower / "etc/passwd").touch()
    return str(lower), str(upper)


def of(
    step: str, message: str, layers: tuple[str, ...], spec: ContainerSpec | None = None, **process: object
) -> str:
    known = {"args": ["/app/server"], "cwd": "/"} | process
    return advice.of(LaunchFailed(step, message), spec or ContainerSpec(image="i"), layers, known).message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("/app/server", "/app/srv"),
        ("/bin/slep", "/bin/sleep"),
        ("/usr/bin/sleep", "/bin/sleep"),
        ("python", "/usr/bin/python3"),
        ("/app/readm", ""),
        ("/zzz", ""),
    ],
)
def test_the_nearest_program_of_the_image_is_named(name: str, nearest: str, layers: tuple[str, ...]) -> None:
    said = of("exec", MISSING.format(name), layers, args=[name])

    assert advice.nearest_program(layers, name) == nearest
    assert said.startswith(f"exec {name}: no such file in the image; ")
    assert said.endswith(f"the image has {nearest}: did you mean that?" if nearest else "that the image has")


def test_a_working_directory_that_is_a_file_is_called_one(layers: tuple[str, ...]) -> None:
    assert of("cwd", "enter /etc/passwd: File exists", layers, cwd="/etc/passwd") == (
        "workingDir /etc/passwd: it is a file in the image, and must be a directory"
    )
    assert of("cwd", "enter /etc: permission denied", layers, cwd="/etc") == "enter /etc: permission denied"


def test_a_limit_that_is_too_low_is_named_with_what_is_needed(layers: tuple[str, ...]) -> None:
    def spec(**limits: object) -> ContainerSpec:
        amounts = ResourceAmounts.model_validate(limits)
        return ContainerSpec(image="i", resources=ResourceSpec(limits=amounts))

    failure = advice.hopeless(spec(memory="64Ki"))
    assert failure is not None
    assert failure.step == "limits"
    assert failure.message.startswith(
        "memory limit 64Ki is below the 2Mi that a start needs: raise resources.limits.memory"
    )
    assert [advice.hopeless(each) for each in (spec(memory="2Mi"), spec())] == [None, None]
    assert "pids limit 1 leaves nothing" in of("start", "killed", layers, spec(pids=1))
    assert of("start", "killed", layers, spec(memory="8Mi", pids=5)) == "killed (limits: memory 8Mi, pids 5)"
    assert of("start", "killed", layers) == "killed"
