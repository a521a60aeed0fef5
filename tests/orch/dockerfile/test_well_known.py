"""Whole Dockerfiles in the manner of well-known projects are understood: read, planned, followed to the end."""

from pathlib import Path

import pytest

from orch.dockerfile import parse, source, stages, steps
from orch.dockerfile.stages import Recipe
from orch.dockerfile.steps import Execute, Place, State, Step
from orch.oci.image_config import ImageConfig

HERE = Path(__file__).parent / "well_known"
PLATFORM = {
    "TARGETPLATFORM": "linux/amd64",
    "TARGETOS": "linux",
    "TARGETARCH": "amd64",
    "BUILDPLATFORM": "linux/amd64",
}


def recipe(name: str, **given: str) -> Recipe:
    return stages.recipe(parse.parse((HERE / f"{name}.Dockerfile").read_text()), given, PLATFORM)


def followed(name: str, target: str = "", **given: str) -> tuple[list[Step], State]:
    """All steps that the target needs, and its state."""
    plan = recipe(name, **given)
    escape = source.read((HERE / f"{name}.Dockerfile").read_text()).escape
    done: list[Step] = []
    ends: dict[int, State] = {}
    chosen = plan.target(target)
    for stage in plan.needed(chosen):
        below = plan.before(stage, stage.base)
        state = steps.begin(ends[below.number].config if below else ImageConfig(), given, escape)
        for one in stage.instructions:
            state, step = steps.follow(state, one, given, plan.defaults)
            done += [step] if step else []
        ends[stage.number] = state
    return done, ends[chosen.number]


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.iterdir()))
def test_every_stage_can_be_followed_to_its_end(name: str) -> None:
    for stage in recipe(name).stages:
        followed(name, str(stage.number))


def test_a_database_s_commands_come_whole_and_without_the_comments_between() -> None:
    done, state = followed("database")
    commands = [step.argv[-1] for step in done if isinstance(step, Execute)]

    assert len(commands) == 9
    assert "a home is wanted" not in commands[0]
    assert "useradd -r -g keeper --uid=999" in commands[0]
    assert "|| rm -vf \"$pyc\"; done' -- '{}' +;" in commands[4]
    assert state.environment["PATH"].endswith(":/usr/lib/keeper/16/bin")
    assert state.environment["KEEPER_VERSION"] == "16.4-1.pgdg120+1"
    config = state.config
    assert (config.volumes, config.stop_signal) == (("/var/lib/keeper/data",), "SIGINT")
    assert (config.entrypoint, config.command) == (("docker-entrypoint.sh",), ("keeper",))


def test_a_web_server_keeps_what_its_shell_is_to_expand() -> None:
    done, state = followed("webserver")
    command = next(step.argv[-1] for step in done if isinstance(step, Execute))

    assert 'serverPackages="         server=${SERVER_VERSION}-${PKG_RELEASE}' in command
    assert "REVISION=${REVISION%~*}" in command
    assert state.config.command == ("server", "-g", "daemon off;")
    assert [step.target for step in done if isinstance(step, Place)] == ["/", "/docker-entrypoint.d/"]


@pytest.mark.parametrize(
    ("target", "given", "needed"),
    [
        (
            "",
            {},
            ["base", "swagger", "cross-false", "dev-base", "delve", "dev-systemd-false", "dev", "final"],
        ),
        ("binary", {}, ["base", "criu", "binary"]),
        ("dev-base", {"CROSS": "true"}, ["base", "cross-true", "dev-base"]),
        ("vpnkit", {}, ["vpnkit-amd64", "vpnkit-arm64", "vpnkit"]),
    ],
)
def test_of_an_engine_s_stages_only_those_are_built_that_its_arguments_choose(
    target: str, given: dict[str, str], needed: list[str]
) -> None:
    plan = recipe("engine", **given)

    assert [stage.name for stage in plan.needed(plan.target(target))] == needed
    assert plan.stages[0].base == "golang:1.23.3-bookworm"


def test_a_plugin_s_mounts_lie_on_the_working_directory() -> None:
    done, _ = followed("plugin", "releaser")
    runs = [step for step in done if isinstance(step, Execute)]

    (context,) = runs[1].mounts
    assert (context.kind, context.target, context.stage, context.readonly) == ("bind", "/src", "", True)
    binaries, version = runs[-1].mounts
    assert (binaries.stage, binaries.target) == ("binaries", "/work")
    assert (version.stage, version.source, version.target) == ("version", "/tmp/.version", "/tmp/.version")


def test_a_rails_application_s_files_in_place_secrets_and_shell() -> None:
    done, state = followed("rails")
    runs = [step for step in done if isinstance(step, Execute)]
    written = [step.written for step in done if isinstance(step, Place) and step.written]

    assert runs[0].argv[:4] == ("/bin/bash", "-o", "pipefail", "-c")
    config, token = runs[0].mounts  # a key that nobody must have is not mounted, as BuildKit does it
    assert (config.id, config.target) == ("bundle_config", "/root/.bundle/config")
    assert (token.id, token.env, token.target) == ("token", "PACKAGES_TOKEN", "")
    assert runs[1].argv[-1].startswith("<<EOT bash\n  set -e\n")  # the shell itself reads it
    assert written[0] == (("EOT", '#!/bin/sh\nexec bundle exec puma -C "$CONFIG"\n'),)
    assert written[1] == (("one", "port: 3000\n"), ("two", "workers: 2\n"))
    check = state.config.health_check
    assert check
    assert (check.start_period_ns, check.retries) == (90_000_000_000, 3)
    assert state.config.exposed_ports == ("3000/tcp", "4000/tcp")
    (copied,) = [step for step in done if isinstance(step, Place) and step.exclude]
    assert (copied.owner, copied.exclude) == ("app:app", ("spec", "**/*.md"))


def test_a_compose_example_s_here_documents_are_scripts() -> None:
    done, state = followed("compose")

    assert [step.argv[-1] for step in done if isinstance(step, Execute)][1:] == [
        "apk update\napk add git\n",
        "addgroup -S docker\nadduser -S --shell /bin/bash --ingroup docker vscode\n",
    ]
    assert (state.config.entrypoint, state.config.command) == (("python3",), ("app.py",))
