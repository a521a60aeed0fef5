"""From service and image to OCI runtime configuration."""

import pytest

from agent.reconciler import configuration, confinement
from agent.reconciler.accounts import Account, UnknownUser, find
from agent.reconciler.configuration import Mounted, NothingToRun, arguments
from agent.runtime import capabilities
from agent.runtime.container import Launch
from agent.runtime.plan import plan
from orch.model.container import ContainerSpec, ResourceAmounts, ResourceSpec, VolumeMount
from orch.model.security import SecuritySpec
from orch.oci.image_config import ImageConfig

PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:1000:1001:web:/www:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nwww:x:1001:\naudio:x:29:www,other\n"


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        ((), (), ["/web", "--port", "80"]),
        ((), ("--port", "8080"), ["/web", "--port", "8080"]),
        (("/other",), (), ["/other"]),
        (("/other",), ("-x",), ["/other", "-x"]),
    ],
)
def test_entrypoint_and_command_as_docker_has_them(
    entrypoint: tuple[str, ...], command: tuple[str, ...], expected: list[str]
) -> None:
    image = ImageConfig(entrypoint=("/web",), command=("--port", "80"))
    spec = ContainerSpec(image="web:1", entrypoint=entrypoint, command=command)

    assert list(arguments(spec, image)) == expected


def test_an_image_and_a_service_that_say_nothing_are_refused() -> None:
    with pytest.raises(NothingToRun, match="set command"):
        arguments(ContainerSpec(image="web:1"), ImageConfig())


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Account(0, 0, (), "/root")),
        ("www", Account(1000, 1001, (29,), "/www")),
        ("1000", Account(1000, 1001, (29,), "/www")),
        ("4242", Account(4242, 0, (), "/")),
        ("www:audio", Account(1000, 29, (), "/www")),
        ("1000:29", Account(1000, 29, (), "/www")),
        ("7:8", Account(7, 8, (), "/")),
    ],
)
def test_users_are_looked_up_in_the_images_own_files(user: str, expected: Account) -> None:
    assert find(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["nobody", "www:nogroup", "-1", "99999999999"])
def test_an_unknown_user_is_refused_by_name(user: str) -> None:
    with pytest.raises(UnknownUser):
        find(user, PASSWD, GROUP)


def a_configuration(
    spec: ContainerSpec, image: ImageConfig | None = None, **more: object
) -> dict[str, object]:
    words = {"hostname": "web.1", "netns": "/run/netns/x", **more}
    return configuration.configuration(
        spec, image or ImageConfig(command=("sh",)), Account(home="/root"), **words
    )


def test_the_services_environment_wins_over_the_images_and_ours() -> None:
    image = ImageConfig(command=("sh",), environment=(("PATH", "/bin"), ("A", "image"), ("B", "image")))

    found = a_configuration(ContainerSpec(image="web:1", environment={"A": "service"}), image)

    assert set(found["process"]["env"]) == {
        "PATH=/bin",
        "A=service",
        "B=image",
        "HOSTNAME=web.1",
        "HOME=/root",
    }


def test_limits_become_quota_shares_memory_and_pids() -> None:
    resources = ResourceSpec(
        requests=ResourceAmounts(cpu="250m"), limits=ResourceAmounts(cpu="1.5", memory=64 << 20, pids=20)
    )

    found = a_configuration(ContainerSpec(image="web:1", resources=resources))

    assert found["linux"]["resources"] == {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"quota": 150_000, "period": 100_000, "shares": 256},
        "pids": {"limit": 20},
    }


def test_without_a_limit_a_fork_bomb_is_still_bounded() -> None:
    found = a_configuration(ContainerSpec(image="web:1"))

    assert found["linux"]["resources"] == {"pids": {"limit": configuration.DEFAULT_PIDS}}


def test_mounts_network_and_privileges() -> None:
    spec = ContainerSpec(
        image="web:1",
        volumes=(
            VolumeMount(source="/srv", target="/srv", read_only=True),
            VolumeMount(type="tmpfs", target="/tmp"),
        ),
    )

    found = a_configuration(spec, files=(Mounted("/run/x/hosts", "/etc/hosts"),))

    mounts = {each["destination"]: each for each in found["mounts"]}
    assert "rro" in mounts["/srv"]["options"]
    assert f"size={64 << 20}" in mounts["/tmp"]["options"]
    assert "rro" in mounts["/etc/hosts"]["options"]
    assert {"type": "network", "path": "/run/netns/x"} in found["linux"]["namespaces"]
    assert found["process"]["noNewPrivileges"]
    assert "CAP_SYS_ADMIN" not in found["process"]["capabilities"]["bounding"]


def _capabilities(**security: object) -> set[str]:
    found = a_configuration(ContainerSpec(image="web:1", security=SecuritySpec.model_validate(security)))
    return set(found["process"]["capabilities"]["bounding"])


def test_capabilities_are_few_unless_they_are_asked_for() -> None:
    usual = _capabilities()

    assert not usual & {"CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_ADMIN"}
    assert _capabilities(capAdd=["NET_RAW"]) == usual | {"CAP_NET_RAW"}
    assert _capabilities(capDrop=["ALL"]) == set()
    assert _capabilities(capDrop=["ALL"], capAdd=["KILL"]) == {"CAP_KILL"}
    assert _capabilities(privileged=True) > usual | {"CAP_SYS_ADMIN", "CAP_MKNOD"}


def test_nobody_gives_more_than_he_has() -> None:
    kill, raw = capabilities.mask(["CAP_KILL"]), SecuritySpec(cap_add=("NET_RAW",))

    assert confinement.capabilities_of(SecuritySpec(privileged=True), kill) == ("CAP_KILL",)
    assert confinement.capabilities_of(SecuritySpec(), kill) == ("CAP_KILL",)
    with pytest.raises(confinement.NotHeld, match="NET_RAW: the node's agent does not have it"):
        confinement.capabilities_of(raw, kill)


def test_what_is_added_for_a_user_who_is_not_root_survives_the_exec() -> None:
    spec = ContainerSpec(image="web:1", security=SecuritySpec(cap_add=("NET_BIND_SERVICE",)))
    words = {"hostname": "web.1", "netns": "/run/netns/x"}

    image = ImageConfig(command=("sh",))
    of_user = configuration.configuration(spec, image, Account(uid=7, gid=7), **words)

    assert of_user["process"]["capabilities"]["ambient"] == ["CAP_NET_BIND_SERVICE"]
    assert (
        "ambient"
        not in configuration.configuration(spec, image, Account(), **words)["process"]["capabilities"]
    )


def test_each_key_of_security_loosens_or_tightens_one_thing_and_the_runtime_takes_it() -> None:
    def changed(**spec: object) -> dict[str, object]:
        found = a_configuration(ContainerSpec.model_validate({"image": "web:1"} | spec))
        assert plan(Launch("a.b.1.1", "a", found, ("/layer",), "/logs"))
        return found

    assert changed()["root"]["readonly"] is False
    assert changed(security={"readOnly": True})["root"]["readonly"] is True
    assert changed(security={"noNewPrivileges": False})["process"]["noNewPrivileges"] is False
    assert changed(security={"procMount": "unmasked"})["linux"]["maskedPaths"] == []
    assert changed(security={"sysctls": {"net.core.somaxconn": "99"}})["linux"]["sysctl"] == {
        "net.core.somaxconn": "99"
    }
    assert changed(ulimits={"nofile": "10:20", "core": "unlimited"})["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1},
    ]
    shm = next(each for each in changed(shmSize="1Mi")["mounts"] if each["destination"] == "/dev/shm")
    assert "size=1048576" in shm["options"]
