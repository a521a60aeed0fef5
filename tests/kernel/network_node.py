"""A node for tests: opens a Network in a given network namespace and obeys calls that arrive as JSON lines.

A process of its own, so that a test can kill it anywhere, and so that the test itself enters no namespace.
"""

import asyncio
import base64
import dataclasses
import json
import os
import sys
from pathlib import Path

from agent.answers.reaching import watch
from agent.linux import constants, syscalls
from agent.network import attachment
from agent.network.network import Network
from agent.network.peering import Mode, Underlay
from agent.network.services.reserved import RoutePorts
from orch import wire
from orch.model.assignment import EndpointSection, PeerNode
from orch.model.names import ServiceName

VALUES = {"publish": attachment.Published, "set_peers": attachment.Peer}


owners: dict[str, ServiceName] = {}
watches: list[watch.Watch] = []


async def obey(network: Network, call: str, arguments: list) -> object:
    if call == "attached":
        return {task: dataclasses.asdict(each) for task, each in network.attached().items()}
    if call == "attach_many":
        return [dataclasses.asdict(each) for each in await asyncio.gather(*map(network.attach, arguments[0]))]
    if call == "detach_many":
        await asyncio.gather(*map(network.detach, arguments[0]))
        return None
    if call in {"set_services", "set_policy"}:
        await getattr(network, call)(section_of(arguments[0]))
        return None
    if call == "set_owner":
        task, namespace, name = arguments
        owners[task] = ServiceName(namespace, name)
        network.set_owners(owners)
        return None
    if call == "verify_policy":
        return await network.verify_policy()
    if call == "look":
        return await look(network, *arguments)
    if call == "problems":
        return list(network.problems())
    if call in VALUES:
        arguments[-1] = [VALUES[call](**each) for each in arguments[-1]]
    result = await getattr(network, call)(*arguments)
    return dataclasses.asdict(result) if result is not None else None


async def look(network: Network, address: str, gateway: str, peers: list) -> list:
    """The problems that the agent's watch finds; it remembers what it saw before."""
    others = [PeerNode(each["node"], each["address"], tuple(each["subnets"])) for each in peers]
    here = watch.Surroundings("me", address, gateway, others, network)
    if not watches:
        watches.append(watch.Watch(lambda: here))
    await watches[0].look()
    return list(watches[0].problems())


def section_of(text: str) -> EndpointSection:
    return wire.decode(base64.b64decode(text), EndpointSection)


def say(reply: dict) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


async def main(settings: dict) -> None:
    settings |= {name: Path(settings[name]) for name in ("run_dir", "state_dir", "resolv_conf")}
    underlay = settings["underlay"]
    settings["underlay"] = Underlay(**underlay | {"mode": Mode(underlay.get("mode", "auto"))})
    settings["route_ports"] = RoutePorts(*settings["route_ports"])
    try:
        network = await Network.open(**settings)
    except attachment.NetworkError as error:
        say({"error": str(error)})
        return
    say({"result": "open"})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        call, *arguments = json.loads(line)
        try:
            say({"result": await obey(network, call, arguments)})
        except (attachment.NetworkError, OSError) as error:
            say({"error": str(error)})
        if call in {"close", "cleanup"}:
            return


if __name__ == "__main__":
    namespace = os.open(sys.argv[1], os.O_RDONLY)
    syscalls.setns(namespace, constants.CLONE_NEWNET)
    os.close(namespace)
    asyncio.run(main(json.loads(sys.argv[2])))
