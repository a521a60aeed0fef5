"""What each instruction changes, and what it asks for."""

import pytest

from orch.dockerfile import parse, stages, steps
from orch.dockerfile.problem import DockerfileError
from orch.oci.image_config import HealthCheck, ImageConfig

EMPTY = ImageConfig()


def followed(text: str, config: ImageConfig = EMPTY, **given: str) -> tuple[ImageConfig, list[steps.Step]]:
    """The configuration after a whole stage, and the steps on the way."""
    recipe = stages.recipe(parse.parse(text), given, {"TARGETARCH": "amd64"})
    state = steps.begin(config, given)
    asked: list[steps.Step] = []
    for one in recipe.stages[-1].instructions:
        state, step = steps.follow(state, one, given, recipe.defaults)
        asked += [step] if step else []
    return state.config, asked


def executed(text: str, config: ImageConfig = EMPTY, **given: str) -> steps.Execute:
    _, asked = followed(text, config, **given)
    assert isinstance(asked[-1], steps.Execute)
    return asked[-1]


def placed(text: str) -> steps.Place:
    _, asked = followed(text)
    assert isinstance(asked[-1], steps.Place)
    return asked[-1]


def test_the_configuration_is_what_was_said() -> None:
    text = """
    FROM a
    ENV home=/srv PATH=/x:$PATH
    WORKDIR $home
    WORKDIR app
    USER app
    EXPOSE 80 8000-8001/udp
    VOLUME ["/data"]
    LABEL by="me and you"
    STOPSIGNAL SIGINT
    SHELL ["/bin/bash", "-c"]
    HEALTHCHECK --timeout=3s CMD curl x
    ENTRYPOINT ["serve"]
    CMD --port 80
    ONBUILD RUN x
    """
    config, asked = followed(text)

    assert dict(config.environment) == {"PATH": f"/x:{steps.DEFAULT_PATH}", "home": "/srv"}
    assert config.working_dir == "/srv/app"
    assert config.exposed_ports == ("80/tcp", "8000/udp", "8001/udp")
    assert (config.user, config.volumes, config.stop_signal) == ("app", ("/data",), "SIGINT")
    assert config.labels == (("by", "me and you"),)
    assert config.health_check == HealthCheck(("CMD-SHELL", "curl x"), timeout_ns=3_000_000_000)
    assert (config.entrypoint, config.command) == (("serve",), ("/bin/bash", "-c", "--port 80"))
    assert config.on_build == ("RUN x",)
    assert asked == [steps.MakeDirectory("/srv", ""), steps.MakeDirectory("/srv/app", "")]


def test_an_entrypoint_takes_an_inherited_command_away() -> None:
    inherited = ImageConfig(command=("old",))

    assert followed("FROM a\nENTRYPOINT x", inherited)[0].command == ()
    assert followed('FROM a\nCMD ["new"]\nENTRYPOINT x', inherited)[0].command == ("new",)


def test_one_env_sees_the_values_from_before_it() -> None:
    config, _ = followed("FROM a\nENV x=1\nENV x=2 y=$x")

    assert dict(config.environment)["y"] == "1"


def test_an_argument_counts_where_it_is_declared() -> None:
    text = "ARG v=1\nFROM a\nARG v\nARG w=$v-w\nARG TARGETARCH\nRUN x"

    assert dict(executed(text).environment) | {"PATH": ""} == {
        "v": "1",
        "w": "1-w",
        "TARGETARCH": "amd64",
        "PATH": "",
    }
    assert dict(executed(text, v="2").environment)["w"] == "2-w"
    assert "v" not in dict(executed("ARG v=1\nFROM a\nRUN x").environment)


def test_env_wins_over_an_argument() -> None:
    assert dict(executed("FROM a\nENV v=env\nARG v=arg\nRUN x", v="given").environment)["v"] == "env"


def test_proxies_need_no_declaration() -> None:
    assert dict(executed("FROM a\nRUN x", HTTP_PROXY="http://p").environment)["HTTP_PROXY"] == "http://p"


def test_a_script_in_place_goes_to_the_shell_or_stands_for_itself() -> None:
    assert executed("FROM a\nRUN <<EOF\none\ntwo\nEOF").argv == ("/bin/sh", "-c", "one\ntwo\n")
    assert executed("FROM a\nRUN <<EOF\n#!/bin/awk -f\nx\nEOF").script == "#!/bin/awk -f\nx\n"
    assert executed("FROM a\nRUN cat <<EOF > /x\none\nEOF").argv[-1] == "cat <<EOF > /x\none\nEOF\n"


def test_files_go_where_the_working_directory_says() -> None:
    assert placed("FROM a\nWORKDIR /srv\nCOPY a b/").target == "/srv/b/"
    assert placed("FROM a\nWORKDIR /srv\nCOPY a .").target == "/srv/"
    assert placed("FROM a\nCOPY a b").target == "/b"
    assert placed("FROM a\nENV d=/x f='a b'\nCOPY $f $d/").sources == ("a b",)


def test_a_file_in_place_is_written_with_its_variables() -> None:
    step = placed("FROM a\nENV n=web\nCOPY <<one <<'two' plain /x/\n$n \"q\"\none\n$n\ntwo\n")

    assert step.written == (("one", 'web "q"\n'), ("two", "$n\n"))
    assert step.sources == ("plain",)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("FROM a\nCOPY a b c", 2, "several sources"),
        ("FROM a\nEXPOSE 99999", 2, "no port"),
        ("FROM a\nRUN --mount=type=cache x", 2, "would hide the whole image"),
        ("FROM a\nRUN --mount=type=ssh,required=true x", 2, "ssh is not supported"),
        ("FROM a\nRUN --security=insecure x", 2, "gets no privileges"),
        ("FROM a\nEXPOSE 80/tpc", 2, "none of tcp"),
        ('FROM a\nENV a="${b:?is needed}"', 2, "is needed"),
    ],
)
def test_what_cannot_be_followed_is_said_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        followed(text)

    assert caught.value.line == line
    assert said in caught.value.message


def test_mounts_are_below_the_working_directory_and_take_variables() -> None:
    text = """
    FROM a
    ARG where=/deep
    WORKDIR /app
    RUN --mount=type=bind,source=uv.lock,target=uv.lock --mount=type=cache,target=.cache \\
        --mount=type=cache,target=$where,id=x x
    """
    lock, own, named = executed(text).mounts
    assert (lock.source, lock.target) == ("uv.lock", "/app/uv.lock")
    assert (own.target, own.id) == ("/app/.cache", "/app/.cache")
    assert (named.target, named.id) == ("/deep", "x")


def test_long_commands_of_official_images_come_whole() -> None:
    text = """
    FROM debian
    ENV VERSION 3.11.12rc1
    RUN set -eux; \\
    \t\\
    \tfetch "https://x/${VERSION%%[a-z]*}/$VERSION.tar"; \\
    # a comment between
    \t\tlib-dev \\

    \t; \\
    \tpip install 'wheel<0.46' "${LDFLAGS:--Wl},-rpath='\\$\\$ORIGIN'"
    """.replace("\n    ", "\n")
    said = executed(text).argv[-1]
    assert "a comment" not in said
    assert said.endswith("""pip install 'wheel<0.46' "${LDFLAGS:--Wl},-rpath='\\$\\$ORIGIN'\"""")
