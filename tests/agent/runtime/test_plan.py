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

    assert made["join"] == [[c.CLONE_NEWNET, "/run/netns/x"]]
    assert not made["clone"] & c.CLONE_NEWNET
    assert made["clone"] & c.CLONE_NEWPID
    assert made["capabilities"]["bounding"] == 0xA00405FB
    assert made["no_new_privileges"]
    assert made["limits"]["rows"] == []


def test_every_file_system_is_nodev_but_devpts() -> None:
    made = plan.plan(
        a_launch(spec.config(["serve"], mounts=[spec.bind("/a", "/b"), spec.tmpfs("/c", size_bytes=1)]))
    )

    nodev = c.MOUNT_ATTR_NODEV
    with_devices = [one["target"] for one in made["mounts"] if not (one["set"] | one["rset"]) & nodev]
    assert with_devices == ["/dev/pts"]


def test_a_relative_source_lies_in_the_bundle() -> None:
    mounts = [{"destination": "/v", "source": "data/v", "options": ["bind"]}]
    made = plan.of_config(spec.config(["serve"], mounts=mounts), container="web", bundle="/b")

    assert made["mounts"][-1]["source"] == "/b/data/v"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("hooks",), {"prestart": [{"path": "x"}]}, "hooks.prestart[0].path x is not an absolute path"),
        (("hooks",), {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout 0"),
        (("process", "args"), [], "process.args is empty"),
        (("process", "cwd"), "srv", "process.cwd srv is not absolute"),
        (("process", "args"), ["a\0b"], "process.args 'a\\x00b' holds a zero byte"),
        (("process", "scheduler"), {"policy": "SCHED_X"}, "process.scheduler.policy SCHED_X is not known"),
        (("process", "ioPriority"), {"class": "X"}, "process.ioPriority.class X is not known"),
        (("process", "ioPriority"), {"priority": 8}, "process.ioPriority.priority 8 is not between"),
        (("process", "execCPUAffinity"), {"final": "0-x"}, "0-x is not a list of CPUs"),
        (("process", "oomScoreAdj"), 1001, "process.oomScoreAdj 1001 is not between"),
        (("process", "user"), {"uid": -1}, "process.user -1 is not an id"),
        (("process", "rlimits"), [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "soft 2 is above hard 1"),
        (("process", "rlimits"), [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "RLIMIT_X is not a limit"),
        (("process", "env"), 5, "wrong shape"),
        (("linux", "namespaces"), [{"type": "flat"}], "flat is not a kind of namespace"),
        (("linux", "namespaces"), [{"type": "pid", "path": "x"}], "pid: x is not an absolute path"),
        (("linux", "namespaces"), [{"type": "pid"}, {"type": "pid"}], "pid is there twice"),
        (("linux", "namespaces"), [{"type": "pid"}], "mounts needs a new mount namespace"),
        (("linux", "timeOffsets"), {"realtime": {"secs": 1}}, "realtime cannot be moved"),
        (("linux", "timeOffsets"), {"boottime": {"secs": 1}}, "linux.timeOffsets needs a time namespace"),
        (("linux", "intelRdt"), {"closID": "x"}, "linux.intelRdt is not supported"),
        (("linux", "sysctl"), {"kernel.panic": "1"}, "kernel.panic belongs to no namespace"),
        (("linux", "sysctl"), {"kernel.hostname": "x"}, "kernel.hostname is set by hostname"),
        (("linux", "sysctl"), {"net/../kernel/panic": "x"}, "is not a name"),
        (
            ("mounts",),
            [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}],
            "cannot have mapped ids",
        ),
        (("mounts",), [{"destination": "/x", "type": "bind"}], "mounts[0].source is empty"),
        (("mounts",), [{"destination": "/x"}], "mounts[0].type is empty"),
        (("mounts",), [{"destination": "/x/../y", "type": "tmpfs"}], "is not a plain absolute path"),
        (("mounts",), [{"destination": "/x", "source": "/", "options": ["bind", "size=1"]}], "size=1 is not"),
        (("mounts",), [{"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}], "for a tmpfs"),
        (("linux", "maskedPaths"), ["proc/x"], "linux.maskedPaths proc/x is not absolute"),
        (("linux", "rootfsPropagation"), "loose", "loose is none of shared, slave"),
        (("linux", "devices"), [{"type": "x", "path": "/dev/x"}], "linux.devices[0].type x"),
        (("linux", "devices"), [{"type": "c", "path": "/dev/x", "major": 1}], "needs major and minor"),
        (("linux", "uidMappings"), [{"containerID": 0, "hostID": 1, "size": 1}], "needs a user namespace"),
        (("linux", "namespaces"), [{"type": "mount"}, {"type": "user"}], "linux.uidMappings is empty"),
        (("linux", "namespaces"), [{"type": "user"}], "user needs a new mount namespace"),
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


def test_what_the_specification_does_not_know_is_ignored() -> None:
    config = spec.config(["serve"])
    config["linux"]["somethingNew"] = {"a": 1}
    config["process"]["somethingNew"] = 1

    assert plan.of_config(config, container="web")["args"] == ["serve"]


def test_a_host_name_without_a_name_space_would_be_the_hosts() -> None:
    config = spec.config(["serve"], hostname="web")
    config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]

    with pytest.raises(LaunchFailed, match="hostname needs a uts namespace"):
        plan.of_config(config, container="web")


def test_a_capability_that_nobody_knows_is_left_out_with_a_warning() -> None:
    config = spec.config(["serve"])
    config["process"]["capabilities"] = {"bounding": ["CAP_FLY", "CAP_KILL"], "effective": ["CAP_FLY"]}

    made = plan.of_config(config, container="web")

    assert made["capabilities"]["bounding"] == 1 << 5
    assert made["warnings"] == ["process.capabilities CAP_FLY is not a capability; it is left out"]
