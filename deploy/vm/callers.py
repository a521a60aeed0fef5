"""podman and dockerd call orchrun with systemd's cgroup manager. They are this host's, where it has them."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

from deploy.vm import supplies
from deploy.vm.machine import Machine, MachineFailed

_PROGRAMS = (
    "podman",
    "conmon",
    "dockerd",
    "docker",
    "containerd",
    "containerd-shim-runc-v2",
    "apparmor_parser",
)
_HOST = "/opt/host"
_DAEMON_WITHIN_SECONDS = 300.0


def pack(tape: tarfile.TarFile) -> None:
    """The programs, with the libraries that they need."""
    programs = [found for found in map(shutil.which, _PROGRAMS) if found]
    for program in programs:
        tape.add(program, f"host/bin/{Path(program).name}")
    for library in sorted({one for program in programs for one in _libraries(program)}):
        tape.add(Path(library).resolve(), f"host/lib/{Path(library).name}")


def unpack(machine: Machine) -> None:
    """From the tape, which lies in /root/cargo, to where the steps call them."""
    machine.run(
        f"test ! -d /root/cargo/host || "
        f"{{ mv /root/cargo/host {_HOST} && echo {_HOST}/lib > /etc/ld.so.conf.d/host.conf && ldconfig; }}"
    )


def podman_keeps_its_containers_in_scopes(machine: Machine) -> None:
    if machine.ask(f"test -x {_HOST}/bin/podman")[0]:
        supplies.say("    podman is not on this host: left out")
        return
    podman = (
        f"{_HOST}/bin/podman --cgroup-manager systemd --events-backend none "
        f"--conmon {_HOST}/bin/conmon --runtime /opt/orch/bin/orchrun"
    )
    machine.run(
        'mkdir -p /etc/containers && echo \'{"default":[{"type":"insecureAcceptAnything"}]}\' '
        "> /etc/containers/policy.json"
    )
    run = "run --log-driver k8s-file --network none --memory 64m --pids-limit 40 --cgroups enabled"
    name = machine.run(f"{podman} {run} -d --rootfs /root/box/rootfs sleep 1000", 300).splitlines()[-1]
    unit = f"libpod-{name}.scope"
    assert machine.run(f"systemctl show -P MemoryMax {unit}") == str(64 << 20)
    assert machine.run(f"systemctl show -P TasksMax {unit}") == "40"
    assert machine.run(f"systemctl show -P Slice {unit}") == "machine.slice"
    assert machine.run(f"{podman} exec {name} cat /proc/self/cgroup") == "0::/"
    machine.run(f"{podman} update --memory 48m {name} || true")
    machine.run(f"{podman} rm --force --time 0 {name}", 300)
    machine.until(f"! systemctl list-units --all --plain --no-legend | grep -q {name}")


def dockerd_keeps_its_containers_in_scopes(machine: Machine) -> None:
    if machine.ask(f"test -x {_HOST}/bin/dockerd && test -x {_HOST}/bin/containerd-shim-runc-v2")[0]:
        supplies.say("    dockerd is not on this host: left out")
        return
    runtimes = {"orchrun": {"path": "/opt/orch/bin/orchrun"}}
    machine.put(
        "/etc/docker/daemon.json",
        json.dumps(
            {
                "runtimes": runtimes,
                "default-runtime": "orchrun",
                "exec-opts": ["native.cgroupdriver=systemd"],
                "storage-driver": "vfs",
                "bridge": "none",
                "iptables": False,
                "ip6tables": False,
            }
        ),
    )
    machine.run(f"ln -sf /opt/orch/bin/orchrun {_HOST}/bin/runc")  # it will not begin without one
    machine.put("/etc/apparmor/parser.conf", "")  # else it warns, and dockerd takes that for a version
    machine.run(
        f"systemd-run --quiet --unit=dockerd --setenv=PATH={_HOST}/bin:$PATH "
        f"--property=Delegate=yes --property=KillMode=process {_HOST}/bin/dockerd"
    )
    docker = f"{_HOST}/bin/docker"
    try:
        machine.until(f"{docker} version", _DAEMON_WITHIN_SECONDS)
    except MachineFailed as failure:
        raise MachineFailed(
            f"{failure}\n{machine.ask('journalctl --no-pager -n 60 -u dockerd')[1]}"
        ) from None
    assert (
        machine.run(f"{docker} info --format '{{{{.CgroupDriver}}}} {{{{.CgroupVersion}}}}'") == "systemd 2"
    )
    machine.run(f"tar -C /root/box/rootfs -c . | {docker} import - box:1", 300)
    run = f"{docker} run --network none --memory 64m --pids-limit 40 --cpu-shares 512"
    name = machine.run(f"{run} -d box:1 sleep 1000", 300).splitlines()[-1]
    unit = f"docker-{name}.scope"
    assert machine.run(f"systemctl show -P MemoryMax {unit}") == str(64 << 20)
    assert machine.run(f"systemctl show -P TasksMax {unit}") == "40"
    assert machine.run(f"systemctl show -P CPUWeight {unit}") == "20"
    assert machine.run(f"systemctl show -P Slice {unit}") == "system.slice"
    assert machine.run(f"{docker} exec {name} cat /proc/self/cgroup", 300) == "0::/"
    if machine.ask(f"test -x {_HOST}/bin/apparmor_parser")[0] == 0:
        label = machine.run(f"{docker} exec {name} cat /proc/1/attr/current /proc/self/attr/current", 300)
        assert label.splitlines() == ["docker-default (enforce)"] * 2, label
    machine.run(f"{docker} update --memory 48m --memory-swap 48m {name}", 300)
    assert machine.run(f"systemctl show -P MemoryMax {unit}") == str(48 << 20)
    machine.run(f"{docker} pause {name} && {docker} unpause {name}", 300)
    code, said = machine.ask(f"{run} --rm box:1 sh -c 'echo here; exit 7'", 300)
    assert (code, said.strip()) == (7, "here")
    machine.run(f"{docker} rm --force {name}", 300)
    machine.until(f"! systemctl list-units --all --plain --no-legend | grep -q {name}")
    machine.run("systemctl stop dockerd", 300)


def _libraries(program: str) -> list[str]:
    said = subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
    found = [line.split("=>")[1].split()[0] for line in said.splitlines() if "=> /" in line]
    return [path for path in found if not Path(path).name.startswith(("libc.so", "ld-linux"))]
