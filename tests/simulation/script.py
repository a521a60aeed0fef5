"""The words of a play: one instruction a line, performed on a world. `README.md` beside this file has them all."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from controlplane.api import errors
from controlplane.controllers import slots
from controlplane.store import memory, port
from orch.model.names import ServiceName
from orch.model.rollout import Phase
from tests.simulation import behaviour, users
from tests.simulation.behaviour import Behaviour
from tests.simulation.story import Story
from tests.simulation.world import ControlPlane, World

MOST_WAIT_SECONDS = 900.0
LOOK_SECONDS = 0.05
QUIET_SECONDS = 8.0
"""Longer than a node's timeout and the leader's lease."""


class NotNow(Exception):
    """What an instruction needs is not there: nobody leads, the task does not run."""


@dataclass
class Stage:
    """Performs instructions, one after the other."""

    world: World
    story: Story
    _asked: int = 0

    async def play(self, text: str) -> None:
        """All of it."""
        for line in text.splitlines():
            instruction = line.partition("#")[0].strip()
            if instruction:
                self.story.tell(">", instruction)
                try:
                    await self.perform(instruction)
                except NotNow as why:
                    self.story.tell("not now", str(why))

    async def perform(self, instruction: str) -> None:
        """One line."""
        words = instruction.split()
        match words:
            case ["after", time]:
                await asyncio.sleep(behaviour.seconds(time))
            case ["until", *claim]:
                await self._until(" ".join(claim))
            case ["image", image, *script]:
                known = self.world.behaviours.get(image, Behaviour())
                self.world.behaviours[image] = behaviour.parse(" ".join(script), known)
            case ["nodes", *names]:
                for each in names:
                    await self._join(each)
                await self._until("nodes are ready")
            case ["node", name, "joins"]:
                await self._join(name)
            case [verb, *_] if verb in users.USERS_VERBS:
                await self._ask(words)
            case [_, "node" | "agent" | "task", _]:
                self._to_node(words)
            case _:
                self._to_control_plane(words)

    # ── users ────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, words: list[str]) -> None:
        verb, request = users.request(words)
        if verb != "change_node":
            self._asked += 1
            request.request_id = f"play-{self._asked}"
        try:
            await self.world.ask(verb, request)
        except Exception as error:
            code, sentence = errors.status_of(error)
            if code is grpc.StatusCode.INTERNAL:
                raise
            self.story.tell("refused", " ".join(sentence.split()))

    # ── nodes ────────────────────────────────────────────────────────────────────────────────────────────

    async def _join(self, words: str) -> None:
        """`n1`, `n1[ring=canary]`, `n1(cpu=1000)`."""
        name, labels, size = re.fullmatch(r"([\w-]+)(?:\[(.*)\])?(?:\((.*)\))?", words).groups()  # type: ignore[union-attr]
        pairs = dict(each.split("=") for each in labels.split(",")) if labels else {}
        amounts = (
            {key: int(value) for key, value in (each.split("=") for each in size.split(","))} if size else {}
        )
        await self.world.join(name, pairs, **amounts)

    def _to_node(self, words: list[str]) -> None:
        match words:
            case ["kill", "node", name]:
                self.world.nodes[name].lose_power()
            case ["cut", "node", name]:
                self.world.nodes[name].line.cut()
            case ["return", "node", name]:
                self.world.nodes[name].come_back()
            case ["empty", "node", name] if self.world.nodes[name].is_up:
                raise NotNow(f"{name} has power")
            case ["empty", "node", name]:
                self.world.nodes[name].lose_memory()
            case ["restart", "agent", name]:
                self.world.nodes[name].restart_agent()
            case ["crash", "task", name]:
                self._crash(name)
            case _:
                raise ValueError("no such instruction")

    def _crash(self, words: str) -> None:
        """`web.2`: the newest task of the slot that runs."""
        found = [
            (run.id.attempt, node, run.id)
            for node in self.world.nodes.values()
            for run in node.runs.values()
            if run.id.name == words and run.may_run
        ]
        if not found:
            raise NotNow(f"{words} does not run")
        _, node, task = max(found, key=lambda each: each[0])
        node.crash(task)

    # ── control planes and their store ───────────────────────────────────────────────────────────────────

    def _to_control_plane(self, words: list[str]) -> None:
        match words:
            case ["start", "control", "plane"]:
                self.world.start_control_plane()
            case ["kill", "control", "plane"]:
                self.world.kill_control_plane(self._leader())
            case ["kill", "control", "plane", "after", number, "commits"]:
                self.world.crash_after_commits = int(number)
            case ["store", "goes", "away"]:
                for one in self.world.control_planes:
                    one.store.near.cut()
            case ["store", "comes", "back"]:
                for one in self.world.control_planes:
                    one.store.near.heal()
            case ["store", "is", "well"]:
                for one in self.world.control_planes:
                    one.store.near.faults = memory.Faults()
                    one.store.near.heal()
            case ["next", "commit", "lands", time, "late"]:
                self._leader().store.late.append(behaviour.seconds(time))
            case ["nobody", "dies"]:
                self.world.crash_after_commits = None
            case ["leader", "loses", "the", "store"]:
                self._leader().store.near.cut()
            case ["store", "loses", "next", what]:
                faults = self._leader().store.faults
                faults.lose_answers += what == "answer"
                faults.lose_requests += what == "request"
            case ["store", "refuses", number, "commits"]:
                self._leader().store.faults.refuse_commits += int(number)
            case ["drop", "next", "event", "of", kind]:
                self._drop_next(self._leader(), kind)
            case ["users", "talk", "to", name]:
                self.world.asked = self._control_plane(name)
            case ["watch", "of", name, "stands", "still"]:
                self._control_plane(name).store.watching.clear()
            case ["watch", "stands", "still"]:
                self._leader().store.watching.clear()
            case ["watch", "goes", "on"]:
                for one in self.world.control_planes:
                    one.store.watching.set()
            case ["compact", "store"]:
                self.world.data.compact()
            case _:
                raise ValueError("no such instruction")

    def _leader(self) -> ControlPlane:
        leader = self.world.leader()
        if leader is None:
            raise NotNow("nobody leads")
        return leader

    def _control_plane(self, name: str) -> ControlPlane:
        for one in self.world.control_planes:
            if one.name == name:
                return one
        raise NotNow(f"there is no control plane {name}")

    def _drop_next(self, one: ControlPlane, kind: str) -> None:
        """Once: the next change of a key of this kind never reaches the watch."""

        def drops(event: port.Event) -> bool:
            if not event.key.startswith(f"/orch/{kind}/"):
                return False
            one.store.faults.drop_event = None
            return True

        one.store.faults.drop_event = drops

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────

    async def _until(self, claim: str) -> None:
        if claim == "quiet":
            await self._until_quiet()
            return
        holds = self._claim(claim)
        deadline = asyncio.get_running_loop().time() + MOST_WAIT_SECONDS
        while not holds():
            if asyncio.get_running_loop().time() > deadline:
                self.story.tell("NEVER", claim)
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _until_quiet(self) -> None:
        deadline = asyncio.get_running_loop().time() + MOST_WAIT_SECONDS
        seen = -1
        while seen != (seen := self.world.data.revision):
            if asyncio.get_running_loop().time() > deadline:
                self.story.tell("NEVER", "quiet")
                return
            await asyncio.sleep(QUIET_SECONDS)

    def _claim(self, words: str) -> Callable[[], bool]:
        world = self.world
        match words.split():
            case ["nodes", "are", "ready"]:
                return lambda: (
                    all(n.is_ready for n in map(world.truth.cluster.node, world.nodes) if n)
                    and set(world.nodes) <= set(world.truth.cluster.nodes)
                )
            case ["node", name, "is", condition]:
                return lambda: (
                    (n := world.truth.cluster.node(name)) is not None and n.status.condition == condition
                )
            case ["somebody", "leads"]:
                return lambda: world.leader() is not None
            case [name, "is", "gone"]:
                return lambda: users.named(name) not in world.truth.cluster.services
            case [name, "is", phase]:
                return lambda: (
                    (r := world.truth.cluster.rollout(users.named(name))) is not None
                    and r.phase is Phase(phase)
                )
            case [name, "runs", number]:
                return lambda: self._running(users.named(name)) >= int(number)
            case [name, "says", *verdict]:
                return lambda: (
                    (r := world.truth.cluster.rollout(users.named(name))) is not None
                    and " ".join(verdict) in r.verdict
                )
        raise ValueError(f"nothing like this can be waited for: {words}")

    def _running(self, name: ServiceName) -> int:
        cluster = self.world.truth.cluster
        service = cluster.service(name)
        if service is None:
            return 0
        return sum(any(cluster.is_ready(task) for task in slot.live) for slot in slots.read(cluster, service))
