"""What deploy/three-vms.md tells a reader to do on each machine, done on emulated ones."""

import tarfile
import tempfile
from pathlib import Path

from deploy.vm import debian, supplies
from deploy.vm.machine import Machine

STATE = "/var/lib/orch/controlplane"
REGISTRY_PORT = 5000
_PATIENCE = "--node-timeout 90 --leader-ttl 60"
"""Emulated machines start an agent in a quarter of a minute, not in a second."""

_REGISTRY = f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
http: {{addr: "0.0.0.0:{REGISTRY_PORT}"}}
"""

_SERVICE = """\
apiVersion: orch/v1
kind: Service
metadata: {{name: web}}
spec:
  replicas: {replicas}
  image: {image}
  ports: [{{name: http, target: 8080}}]
  readiness: {{http: {{path: /healthz, port: http}}, period: 1s, timeout: 5s, failureThreshold: 10}}
  stop: {{gracePeriod: 2s}}
  rollout: {{minReady: 1s, progressDeadline: 180s{canary}}}
"""


def cargo(to: Path) -> Path:
    """Today's orch, its units and what makes the images, as a tape that each machine can read."""
    tape = to / "cargo.tar"
    with tempfile.TemporaryDirectory(dir=to) as scratch, tarfile.open(tape, "w") as archive:
        archive.add(debian.wheel(Path(scratch)), "orch-0.1.0-py3-none-any.whl")
        for unit in sorted((supplies.ROOT / "deploy" / "systemd").iterdir()):
            archive.add(unit, f"systemd/{unit.name}")
        archive.add(supplies.ROOT / "deploy" / "demo" / "images.py", "images.py")
    return tape


def give_address(machine: Machine, address: str) -> None:
    """For good: it has it after a reboot too."""
    machine.put("/etc/hostname", machine.name)
    machine.put(
        "/etc/systemd/network/10-cluster.network",
        f"[Match]\nName=e*\n[Network]\nAddress={address}/24\nGateway=192.0.2.1\n",
    )
    machine.run("systemctl enable -q --now systemd-networkd systemd-networkd-wait-online")
    machine.until(f"ip -4 -br address | grep -q {address}/24")


def install(machine: Machine) -> None:
    """Step 1."""
    machine.run("mkdir -p /root/cargo && tar -C /root/cargo -xf /dev/vdb")
    upgrade(machine)
    machine.run("cp /root/cargo/systemd/*.service /etc/systemd/system/ && systemctl daemon-reload")
    machine.run("mkdir -p /etc/orch && ln -sf /opt/orch/bin/orchctl /usr/local/bin/orchctl")


def upgrade(machine: Machine) -> None:
    """The same version again, as far as pip knows: all its files are written anew."""
    pip = "/opt/orch/bin/pip install --quiet --no-deps --no-index --force-reinstall"
    machine.run(f"{pip} --root-user-action=ignore /root/cargo/*.whl", 300)


def start_controlplane(machine: Machine, address: str) -> None:
    """Step 2."""
    machine.put("/etc/orch/controlplane.env", f"ADVERTISE={address}:7420\nOPTIONS={_PATIENCE}")
    machine.run("systemctl enable -q --now orch-controlplane", 240)
    machine.run(
        f"orchctl context add home --address {address}:7420 --ca {STATE}/ca.crt "
        f"--cert {STATE}/admin.crt --key {STATE}/admin.key"
    )


def start_agent(machine: Machine, address: str, controlplane: str, token: str) -> None:
    """Step 3."""
    plain = f"--plain-http {controlplane}:{REGISTRY_PORT}"
    words = f"NAME={machine.name}\nADDRESS={address}\nJOIN={controlplane}:7421\nOPTIONS={plain}"
    machine.put("/etc/orch/agent.env", words)
    machine.put("/etc/orch/join-token", token, "0600")
    machine.run("systemctl enable -q --now orch-agent", 240)


def start_registry(machine: Machine, address: str, *names: str) -> None:
    """Debian's, with the demo's images in it."""
    machine.put("/root/registry.yml", _REGISTRY)
    machine.put(
        "/etc/systemd/system/registry.service",
        "[Service]\nExecStart=docker-registry serve /root/registry.yml\n[Install]\nWantedBy=multi-user.target",
    )
    machine.run("systemctl enable -q --now registry")
    machine.until(f"bash -c '< /dev/tcp/127.0.0.1/{REGISTRY_PORT}'")
    machine.run(f"/opt/orch/bin/python /root/cargo/images.py {address}:{REGISTRY_PORT} {' '.join(names)}")


def service(image: str, replicas: int, canary: str = "") -> str:
    """A manifest."""
    more = f", canary: {{steps: [{{nodes: {{matchLabels: {canary}}}, bake: 1s}}], promote: manual}}"
    return _SERVICE.format(image=image, replicas=replicas, canary=more if canary else "")
