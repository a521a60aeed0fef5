"""`orch-agent --cleanup`: ends every container of this node and removes all that the agent ever made."""

import logging

from agent import routing
from agent.ledger import Ledger
from agent.linux import removal
from agent.network import names, sweep
from agent.network.network import Network
from agent.reconciler.files import Files
from agent.routes import process
from agent.runtime.client import Runtime
from agent.settings import Settings
from orch.model.assignment import PeerSection

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Idempotent. The node's name stays known to the control plane until an administrator removes it."""
    runtime = await Runtime.open(
        run_dir=settings.run_dir / "runtime",
        state_dir=settings.state_dir / "runtime",
        cgroup_root=settings.cgroup_root,
        on_exit=lambda _: None,
    )
    process.end(routing.places(settings.run_dir, 0, 0))
    await names.dismiss(settings.run_dir / "dns")  # it lives in the runtime's cgroup, which goes now
    await runtime.shutdown()
    await _remove_network(settings)
    Files(settings.run_dir).close_for_good()
    for directory in (settings.run_dir, settings.state_dir):
        removal.tree(directory, ignore_errors=True)
        if directory.exists():
            _log.warning("%s could not be removed wholly", directory)


async def _remove_network(settings: Settings) -> None:
    ledger = Ledger.open(settings.state_dir)
    peers: PeerSection | None = ledger.section("peers")
    await ledger.close()
    if peers is None or not peers.subnets:
        if sweep.is_left(settings.run_dir):
            sweep.clear()
        sweep.sweep(settings.run_dir, settings.state_dir)
        return
    network = await Network.open(
        run_dir=settings.run_dir,
        state_dir=settings.state_dir,
        subnets=peers.subnets,
        cluster_range=peers.task_range,
        service_range=peers.service_range,
        node_address=settings.address,
        pool_size=0,
        resolv_conf=settings.resolv_conf,
        underlay=settings.underlay,
    )
    await network.cleanup()
