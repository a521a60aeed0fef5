"""`make test-systemd`: orch as units of systemd, on an emulated machine that boots with it.

Containers must outlive whatever happens to the agent and the control plane, end with orch-tasks.service, and be
there again after a reboot.
"""

import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.vm import debian, installing, steps, supplies
from deploy.vm.machine import Machine

ADDRESS = "192.0.2.10"
TASKS = "/orch.slice/orch-tasks.service"
NETWORK = ("-netdev", "hubport,id=n,hubid=0", "-device", "virtio-net-pci,netdev=n")
_PIDS = "for pid in $(pgrep -x httpd); do echo $pid $(cut -d' ' -f22 /proc/$pid/stat); done | sort -n"
_SHIM = "$(/opt/orch/bin/python -c 'import agent.runtime.shim as shim; print(shim.__file__)')"
_READY = "orchctl wait svc/web --for=ready --timeout 240s"
_NODE_IS_READY = "orchctl get nodes | grep -q ' Ready '"


def main() -> int:
    """0 when all of it is so."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is below cleans up
    supplies.have_qemu()
    disk = debian.disk()
    with tempfile.TemporaryDirectory(dir=supplies.CACHE) as scratch:
        tape = installing.cargo(Path(scratch))
        with Machine("vm-1", disk, Path(scratch), tape, NETWORK) as machine:
            supplies.say(
                "booted: " + machine.run("systemctl is-system-running --wait; uname -r").replace("\n", ", ")
            )
            return 0 if steps.are_so(machine, STEPS, "journalctl -b --no-pager -n 60 -u 'orch-*'") else 1


def orch_is_installed_as_the_page_says(machine: Machine) -> None:
    installing.give_address(machine, ADDRESS)
    installing.install(machine)


def systemd_finds_nothing_wrong_with_the_units(machine: Machine) -> None:
    assert machine.run("systemd-analyze verify /etc/systemd/system/orch-*.service") == ""
    machine.run("systemd-analyze security --no-pager --threshold=25 orch-controlplane")


def a_service_is_deployed_and_healthy(machine: Machine) -> None:
    installing.start_controlplane(machine, ADDRESS)
    installing.start_registry(machine, ADDRESS, "web:1")
    installing.start_agent(machine, ADDRESS, ADDRESS, machine.run("orchctl node join-token 2> /dev/null"))
    machine.until(_NODE_IS_READY)
    image = f"{ADDRESS}:{installing.REGISTRY_PORT}/web:1"
    machine.put("/root/web.yaml", installing.service(image, replicas=2))
    machine.run("orchctl apply -f /root/web.yaml", 300)
    assert len(_containers(machine)) == 2


def containers_live_in_their_own_unit(machine: Machine) -> None:
    for pid, _ in _containers(machine):
        assert machine.run(f"cat /proc/{pid}/cgroup").startswith(f"0::{TASKS}/")
        assert machine.run(f"cat /proc/{pid}/oom_score_adj") == "0"
    assert machine.run("systemctl show -P ControlGroup orch-tasks") == TASKS
    helpers = machine.run(f"wc -l < /sys/fs/cgroup{TASKS}/_helpers/cgroup.procs")
    assert int(helpers) == 3, f"shim, log process and name server, and not {helpers}"
    main = machine.run("systemctl show -P MainPID orch-agent")
    assert machine.run("cat /sys/fs/cgroup/system.slice/orch-agent.service/cgroup.procs") == main
    assert machine.ask("ls -d /sys/fs/cgroup/orch")[0] != 0, "there is a group beside systemd's"


def what_happens_to_the_agent_restarts_nothing(machine: Machine) -> None:
    for what in (
        "systemctl restart orch-agent",
        "systemctl kill -s KILL orch-agent",
        "systemctl stop orch-agent && systemctl start orch-agent",
        "systemctl daemon-reload && systemctl daemon-reexec",
        "systemctl restart orch-controlplane",
    ):
        _unharmed(machine, what)


def a_node_that_has_joined_needs_no_token(machine: Machine) -> None:
    machine.run("rm /etc/orch/join-token")
    _unharmed(machine, "systemctl restart orch-agent")


def an_upgrade_restarts_nothing_and_new_containers_start(machine: Machine) -> None:
    before = _containers(machine)
    installing.upgrade(machine)
    machine.run(f"echo '# another version' >> {_SHIM}")
    _unharmed(machine, "systemctl restart orch-controlplane orch-agent")
    assert "become the code of this agent" in machine.run("journalctl -u orch-agent -o cat --no-pager")
    machine.run("orchctl scale web --replicas 3", 300)
    machine.run(_READY, 300)
    assert set(before) < set(_containers(machine))


def the_journal_can_be_read(machine: Machine) -> None:
    said = machine.run("journalctl -u orch-agent -u orch-controlplane -o cat --no-pager")
    assert "node vm-1 is ready" in said
    assert "Traceback" not in said
    assert "left-over" not in said
    levels = machine.run(
        "journalctl -u orch-controlplane -p warning -o cat --no-pager | grep -c INFO || true"
    )
    assert levels == "0", "what is only for information is not among the warnings"


def stopping_orch_tasks_ends_everything_and_starting_the_agent_brings_it_back(machine: Machine) -> None:
    machine.run("systemctl stop orch-tasks")
    assert _containers(machine) == []
    assert machine.ask("systemctl is-active orch-agent")[1].strip() == "inactive"
    machine.run("systemctl start orch-agent", 300)
    machine.run(_READY, 300)
    machine.until(f"test $({_PIDS} | wc -l) = 3")


def after_a_reboot_containers_are_back(machine: Machine) -> None:
    before = machine.run("cat /proc/sys/kernel/random/boot_id")
    machine.reboot()
    assert machine.run("cat /proc/sys/kernel/random/boot_id") != before
    machine.run("systemctl is-system-running --wait", 300)
    machine.until(_NODE_IS_READY, 300)
    machine.until(f"test $({_PIDS} | wc -l) = 3", 300)
    machine.run(_READY, 300)
    assert "failed" not in machine.run("journalctl -b -1 --no-pager -o cat -u orch-tasks")


STEPS: tuple[steps.Step, ...] = (
    orch_is_installed_as_the_page_says,
    systemd_finds_nothing_wrong_with_the_units,
    a_service_is_deployed_and_healthy,
    containers_live_in_their_own_unit,
    what_happens_to_the_agent_restarts_nothing,
    a_node_that_has_joined_needs_no_token,
    an_upgrade_restarts_nothing_and_new_containers_start,
    the_journal_can_be_read,
    stopping_orch_tasks_ends_everything_and_starting_the_agent_brings_it_back,
    after_a_reboot_containers_are_back,
)


def _containers(machine: Machine) -> list[tuple[str, str]]:
    """Pid and start time of each."""
    return [(line.split()[0], line.split()[1]) for line in machine.run(_PIDS).splitlines()]


def _unharmed(machine: Machine, command: str) -> None:
    before = _containers(machine)
    machine.run(command, 300)
    machine.until("systemctl is-active -q orch-agent", 300)
    machine.until(_NODE_IS_READY)
    machine.run(_READY, 300)
    assert _containers(machine) == before, f"other containers run after: {command}"


if __name__ == "__main__":
    sys.exit(main())
