"""What the configuration says becomes a plan; what is not supported is refused by its key."""

from typing import Any

import pytest

from agent.linux import constants as c
from agent.runtime import plan, spec
from agent.runtime.container import Launch, LaunchFailed


def a_launch(config: dict[str, Any], **options: Any) -> Launch:
    return Launch(
        **{"container": "web-1", "sandbox": "web", "layers": ("/layer",), "logs": "/logs", **options},
        config=config,
    )


def test_defaults_are_dockers() -> None:
    made = plan.plan(a_launch(spec.config(["serve"], network="/run/netns/x")))

    assert made["network"] == "/run/netns/x"
    assert not made["clone"] & c.CLONE_NEWNET
    assert made["clone"] & c.CLONE_NEWPID
    assert made["capabilities"]["bounding"] == 0xA80425FB
    assert made["no_new_privileges"]
    assert made["limits"] == {}


def test_every_file_system_is_nodev_but_devpts() -> None:
    made = plan.plan(
        a_launch(spec.config(["serve"], mounts=[spec.bind("/a", "/b"), spec.tmpfs("/c", size_bytes=1)]))
    )

    with_devices = [mount["target"] for mount in made["mounts"] if not mount["flags"] & c.MS_NODEV]
    assert with_devices == ["/dev/pts"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("hooks",), {"prestart": []}, "hooks is not supported yet"),
        (("process", "terminal"), True, "process.terminal"),
        (("process", "args"), [], "process.args is empty"),
        (("process", "cwd"), "srv", "process.cwd srv is not absolute"),
        (("process", "scheduler"), {"policy": "SCHED_IDLE"}, "process.scheduler is not supported yet"),
        (("process", "capabilities"), {"bounding": ["CAP_FLY"]}, "CAP_FLY is not a capability"),
        (("process", "rlimits"), [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "RLIMIT_X is not a limit"),
        (("process", "env"), 5, "wrong shape"),
        (("linux", "uidMappings"), [{}], "linux.uidMappings is not supported yet"),
        (("linux", "cgroupsPath"), "/x", "linux.cgroupsPath is not supported yet"),
        (("linux", "namespaces"), [{"type": "user"}], "a user namespace is not supported yet"),
        (("linux", "namespaces"), [{"type": "pid", "path": "/x"}], "joining a pid namespace by path"),
        (("linux", "namespaces"), [{"type": "mount"}], "without a pid namespace"),
        (
            ("mounts",),
            [{"destination": "/x", "type": "bind", "options": ["idmap"]}],
            "mounts[0].options idmap",
        ),
        (("mounts",), [{"destination": "x", "type": "tmpfs"}], "x is not absolute"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_key(path: tuple[str, ...], value: Any, words: str) -> None:
    config = spec.config(["serve"])
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value

    with pytest.raises(LaunchFailed) as refused:
        plan.plan(a_launch(config))

    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["", "Web", "a/b", "..", "_helpers", "a" * 201])
def test_a_name_that_is_no_safe_path_is_refused(name: str) -> None:
    with pytest.raises(LaunchFailed):
        plan.plan(a_launch(spec.config(["serve"]), container=name))


def test_a_layer_that_would_break_the_mount_is_refused() -> None:
    with pytest.raises(LaunchFailed, match="no comma or colon"):
        plan.plan(a_launch(spec.config(["serve"]), layers=("/a:b",)))
