"""The OCI runtime configuration, feature by feature: what a container sees of it under orchrun, runc and crun.

One bundle, three runtimes. Where they may differ, the row says how and why; everything else must be equal.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import Bundles, Runtime

pytestmark = pytest.mark.root

_NAMESPACES = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]


def _with(kind: str) -> list[dict[str, str]]:
    return [*_NAMESPACES, {"type": kind}]


def _mount(destination: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source or kind, "options": list(options)}


_PROC = _mount("/proc", "proc")
_QUIET = ("nosuid", "noexec", "nodev")


@dataclass(frozen=True)
class Row:
    """A feature: what config.json says, and a script that prints what a container sees of it."""

    see: str
    config: dict[str, Any] = field(default_factory=dict)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    without: tuple[str, ...] = ()
    """Oracles that do not know it, or do something else; the comment beside it says which."""
    expected: str | None = None
    """What must be seen, where no oracle can say it."""


def _all(*names: str) -> dict[str, list[str]]:
    return {kind: list(names) for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}


ROWS: dict[str, Row] = {
    # -- process --------------------------------------------------------------------------------------
    "process.args, env, cwd": Row(
        "pwd; env | sort; tr '\\0' ' ' < /proc/self/cmdline",
        {"process__cwd": "/srv", "process__env": ["PATH=/bin", "A=1", "A=2", "EMPTY=", "S=a b"]},
    ),
    "process.cwd that is not there is made": Row("pwd", {"process__cwd": "/made/for/it"}),
    "process.user": Row(
        "id -u; id -g; id -G",
        {"process__user": {"uid": 1000, "gid": 1001, "additionalGids": [7, 8]}},
    ),
    "process.user.umask": Row("umask", {"process__user": {"uid": 0, "gid": 0, "umask": 0o077}}),
    "HOME of the user": Row("echo $HOME", {"process__user": {"uid": 1000, "gid": 1000}}),
    "HOME that is given": Row("echo $HOME", {"process__env": ["PATH=/bin", "HOME=/else"]}),
    "process.capabilities": Row(
        "grep Cap /proc/self/status",
        {"process__capabilities": _all("CAP_CHOWN", "CAP_NET_RAW")},
    ),
    "process.capabilities of a user": Row(
        "grep Cap /proc/self/status",
        {
            "process__user": {"uid": 1000, "gid": 1000},
            "process__capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL"],
                "permitted": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL"],
            },
        },
    ),
    "process.capabilities none": Row("grep Cap /proc/self/status", {"process__capabilities": {}}),
    "process.rlimits": Row(
        "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hu",
        {
            "process__rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60},
            ]
        },
    ),
    "process.rlimits that say nothing": Row("ulimit -Sn; ulimit -Hn; ulimit -Ss"),
    "process.noNewPrivileges": Row("grep NoNewPrivs /proc/self/status", {"process__noNewPrivileges": False}),
    "process.oomScoreAdj": Row("cat /proc/self/oom_score_adj", {"process__oomScoreAdj": 77}),
    "no process but its own": Row("set -- /proc/[0-9]*; echo $# $$"),
    "signals as in any process": Row("grep -E 'SigBlk|SigIgn' /proc/self/status"),
    "a session keyring of its own": Row(
        # those of containers that have ended may still be there for a while: their number says nothing
        "awk '{print $9}' /host/keys | grep -q '^_ses[.]' && echo there",
        {"linux__maskedPaths": []},
        [_mount("/host/keys", "bind", "bind", source="/proc/keys")],
        without=("crun",),  # its keyring has the container's name, without the prefix
    ),
    # -- root and mounts --------------------------------------------------------------------------------
    "root.readonly": Row("touch /x 2>&1; touch /dev/shm/x && echo fine", {"root__readonly": True}),
    "mounts of every kind": Row(
        "awk '{print $2, $3, $4}' /proc/self/mounts | grep -E '^/(proc|dev|sys|dev/pts|dev/shm|dev/mqueue) '"
        " | sed -E 's/(,inode64|,size=[0-9]*k)//g' | sort",
    ),
    "tmpfs with its options": Row(
        "stat -c '%a %u %g' /t; grep ' /t ' /proc/mounts | cut -d' ' -f4 | tr , '\\n' | sort | grep -v inode",
        mounts=[_mount("/t", "tmpfs", *_QUIET, "size=1m", "mode=750", "uid=5", "gid=6", "nr_inodes=99")],
        without=("runc",),  # 1.1 gives it the mode of the directory below, whatever the options say
    ),
    "tmpfs that copies what is below it": Row(
        "ls /etc; grep -c ' /etc ' /proc/mounts",
        mounts=[_mount("/etc", "tmpfs", "tmpcopyup", "mode=755")],
    ),
    "bind read-only": Row(
        "cat /data/file; touch /data/x 2>&1; grep ' /data ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1",
        mounts=[_mount("/data", "bind", "rbind", "ro", source="SOURCE")],
    ),
    "bind with attributes": Row(
        "grep ' /data ' /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep -E '^(rw|no)' | sort",
        mounts=[_mount("/data", "bind", "bind", *_QUIET, "noatime", source="SOURCE")],
    ),
    "a file that is bound": Row(
        "cat /new/place/of/it", mounts=[_mount("/new/place/of/it", "bind", "bind", source="SOURCE/file")]
    ),
    "mounts in their order": Row(
        "ls /data; touch /data/inner/x && echo fine",
        mounts=[
            _mount("/data", "bind", "rbind", "ro", source="SOURCE"),
            _mount("/data/inner", "tmpfs", "size=1m"),
        ],
    ),
    "rslave": Row(
        "grep -E ' / / ' /proc/self/mountinfo | grep -o -E '(shared|master|propagate_from):' ; echo end",
        {"linux__rootfsPropagation": "rslave"},
    ),
    "a link in the image is followed inside it": Row(
        "ls /srv/real; ls -ld /srv/link | cut -c1",
        {"hooks": {}},
        [_mount("/srv/link/x", "tmpfs")],
    ),
    "masked and read-only paths": Row(
        "cat /proc/kcore | wc -c; cat /proc/keys | wc -c; ls /sys/firmware | wc -l;"
        " echo 1 > /proc/sys/kernel/panic || echo no; echo b > /proc/sysrq-trigger || echo no",
    ),
    "a masked directory is empty and read-only": Row(
        "ls /srv/secret | wc -l; touch /srv/secret/x 2>&1 | grep -o Read-only",
        {"linux__maskedPaths": ["/srv/secret"]},
    ),
    # -- devices ------------------------------------------------------------------------------------------
    "the devices that everybody has": Row(
        "cd /dev; stat -c '%n %F %t:%T %a' full null random tty urandom zero; echo x > null;"
        " head -c 3 /dev/zero | wc -c; readlink fd stdin stdout stderr ptmx",
    ),
    "linux.devices": Row(
        "stat -c '%F %t:%T %a %u %g' /dev/mine /dev/deep/er",
        {
            "linux__devices": [
                {
                    "path": "/dev/mine",
                    "type": "c",
                    "major": 1,
                    "minor": 5,
                    "fileMode": 0o640,
                    "uid": 3,
                    "gid": 4,
                },
                {
                    "path": "/dev/deep/er",
                    "type": "c",
                    "major": 1,
                    "minor": 3,
                    "fileMode": 0o600,
                    "uid": 0,
                    "gid": 0,
                },
            ]
        },
    ),
    "linux.devices a pipe": Row(
        "stat -c '%F %a' /dev/p",
        {"linux__devices": [{"path": "/dev/p", "type": "p", "fileMode": 0o622, "uid": 0, "gid": 0}]},
    ),
    "resources.devices": Row(
        "mknod /srv/d c 1 8 && head -c 1 /srv/d | wc -c; rm -f /srv/d; mknod /srv/k c 1 11; head -c1 /srv/k 2>&1"
        " | tail -1; rm -f /srv/k; head -c 1 /dev/urandom | wc -c",
        {
            "process__capabilities": _all("CAP_MKNOD"),
            "linux__resources__devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "rwm"},
            ],
        },
    ),
    # -- linux --------------------------------------------------------------------------------------------
    "hostname and domainname": Row(
        "hostname; cat /proc/sys/kernel/domainname",
        {"hostname": "hugo", "domainname": "example.org"},
        without=("runc", "crun"),  # both too old for the key
        expected="hugo\nexample.org\n",
    ),
    "hostname": Row("hostname; cat /proc/sys/kernel/hostname", {"hostname": "hugo"}),
    "linux.sysctl": Row(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        {"linux__sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}},
    ),
    "linux.namespaces all": Row(
        "for kind in mnt pid net uts ipc cgroup; do [ $(readlink /proc/self/ns/$kind) = $(cat /host/$kind) ]"
        " && echo $kind shared || echo $kind own; done",
        {"linux__namespaces": _with("cgroup")},
        [_mount("/host", "bind", "rbind", source="NAMESPACES")],
    ),
    "linux.namespaces the host's network": Row(
        "[ $(readlink /proc/self/ns/net) = $(cat /host/net) ] && echo shared",
        {"linux__namespaces": [one for one in _NAMESPACES if one["type"] != "network"]},
        [_mount("/host", "bind", "rbind", source="NAMESPACES")],
    ),
    "linux.namespaces user with mappings": Row(
        "id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; [ -w /tmp ] && echo writable;"
        " touch /scratch/x && stat -c %u /scratch/x",
        {
            "linux__namespaces": _with("user"),
            "linux__uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "linux__gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
        },
        [_mount("/scratch", "tmpfs", "size=1m")],
    ),
    "linux.namespaces time with offsets": Row(
        'cut -d. -f1 /proc/uptime | awk \'{print ($1 > 1000000) ? "moved" : "not"}\'',
        {
            "linux__namespaces": _with("time"),
            "linux__timeOffsets": {"boottime": {"secs": 2000000, "nanosecs": 0}},
        },
        without=("runc", "crun"),  # both too old for the key
        expected="moved\n",
    ),
    "linux.seccomp": Row(
        "mkdir /tmp/no 2>&1; chmod 700 /srv 2>&1; grep 'Seccomp:' /proc/self/status",
        {
            "linux__seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
                    {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                ],
            }
        },
    ),
    "linux.seccomp with conditions": Row(
        "kill -0 $$ && echo may; kill -10 $$ 2>&1 || echo may not",
        {
            "linux__seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["kill"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            }
        },
    ),
    "linux.personality": Row(
        "uname -m",
        {"linux__personality": {"domain": "LINUX32"}},
        without=("runc",),  # 1.1 ignores it
    ),
    # -- resources ------------------------------------------------------------------------------------------
    "resources.memory": Row(
        "cat /cg/memory/memory.limit_in_bytes /cg/memory/memory.soft_limit_in_bytes",
        {"linux__resources__memory": {"limit": 64 << 20, "reservation": 32 << 20}},
    ),
    "resources.cpu": Row(
        "cat /cg/cpu/cpu.shares /cg/cpu/cpu.cfs_quota_us /cg/cpu/cpu.cfs_period_us",
        {"linux__resources__cpu": {"shares": 512, "quota": 30000, "period": 60000}},
    ),
    "resources.cpu.cpus": Row(
        "grep Cpus_allowed_list /proc/self/status", {"linux__resources__cpu": {"cpus": "0"}}
    ),
    "cgroupsPath in every hierarchy": Row("grep -v '^0:' /proc/self/cgroup | cut -d: -f3 | sort -u"),
    "resources.pids": Row("cat /cg/pids/pids.max", {"linux__resources__pids": {"limit": 33}}),
}


@pytest.fixture(scope="module")
def rootfs() -> Iterator[Path]:
    """Not below pytest's own directory: root of a user namespace must reach it, and other runs of pytest close that."""
    with tempfile.TemporaryDirectory(prefix="orch-conformance-") as directory:
        Path(directory).chmod(0o755)
        root = orchrun_bench.unpack_busybox(Path(directory, "rootfs"))
        (root / "srv" / "real").mkdir()
        (root / "srv" / "link").symlink_to("/srv/real")
        (root / "srv" / "secret").mkdir()
        (root / "scratch").mkdir()
        (root / "srv" / "secret" / "file").write_text("secret")
        yield root


@pytest.fixture
def bundles(rootfs: Path, tmp_path: Path) -> Iterator[Bundles]:
    with orchrun_bench.bundles_in(tmp_path / "bundles", rootfs) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What rows bind from the host."""
    (tmp_path / "source" / "inner").mkdir(parents=True)
    (tmp_path / "source" / "file").write_text("of the host\n")
    namespaces = tmp_path / "namespaces"
    namespaces.mkdir()
    for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user"):
        (namespaces / kind).write_text((Path("/proc/self/ns") / kind).readlink().name)
    return tmp_path


def _bundle(row: Row, bundles: Bundles, source: Path) -> Path:
    bundle = bundles.new("sh", "-c", row.see, **row.config)
    config = json.loads((bundle / "config.json").read_text())
    places = {"SOURCE": source / "source", "NAMESPACES": source / "namespaces"}
    for mount in row.mounts:
        word, _, rest = mount["source"].partition("/")
        found = {**mount, "source": f"{places[word]}/{rest}".rstrip("/")} if word in places else mount
        config["mounts"].append(found)
    if "/cg/" in row.see:
        config["mounts"].append(_mount("/cg", "cgroup", *_QUIET, "ro"))
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


@pytest.mark.parametrize("name", ROWS)
def test_a_container_sees_what_the_configuration_says(
    bundles: Bundles, source: Path, tmp_path: Path, name: str
) -> None:
    row = ROWS[name]
    bundle = _bundle(row, bundles, source)
    ours = Runtime("orchrun", tmp_path)
    done = ours("run", "--bundle", str(bundle), ours.new())
    assert done.code == 0 or not done.err.startswith("time="), done.err
    if row.expected is not None:
        assert done.out == row.expected
    for oracle in {"runc", "crun"} - set(row.without):
        orchrun_bench.need(oracle)
        runtime = Runtime(oracle, tmp_path)
        theirs = runtime("run", "--bundle", str(bundle), runtime.new())
        assert theirs.code == done.code, (oracle, theirs.err)
        assert done.out == theirs.out, oracle
