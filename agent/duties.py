"""The node's side of the conversation: what it says of itself, and who does what the control plane says."""

from collections.abc import Callable

from agent import clock, facts
from agent.answers.answers import Answers
from agent.answers.reaching.watch import Watch
from agent.assignments import Assignments
from agent.contact import Contact
from agent.housekeeping import Housekeeping
from agent.ledger import Ledger
from agent.network.network import Network
from agent.own_registry import OwnRegistry
from agent.reconciler.loop import Loop
from agent.routing import Routing
from agent.settings import Settings
from orch import wire
from orch.v1 import sessions_pb2


class Duties:
    """As agent.session.conversation wants them."""

    def __init__(
        self,
        settings: Settings,
        incarnation: int,
        *,
        address: Callable[[], str],
        ledger: Ledger,
        assignments: Assignments,
        loop: Loop,
        contact: Contact,
        network: Callable[[], Network | None],
        watch: Watch,
        routing: Routing,
        registry: OwnRegistry,
        housekeeping: Housekeeping,
        answers: Answers,
    ) -> None:
        """`network`: None while the node has no address range."""
        self._settings = settings
        self._incarnation = incarnation
        self._address = address
        self._ledger = ledger
        self._assignments = assignments
        self._loop = loop
        self._contact = contact
        self._network = network
        self._watch = watch
        self._routing = routing
        self.take = assignments.take
        self.happened = housekeeping.happened
        self.traffic = routing.traffic
        self.images_are_at = registry.is_at
        self.answer = answers.answer
        self.hung_up = answers.hung_up

    def hello(self) -> sessions_pb2.Hello:
        """Who and what we are, and all our tasks."""
        settings = self._settings
        accepted = self._assignments.accepted()
        return sessions_pb2.Hello(
            node=settings.name,
            incarnation=self._incarnation,
            facts=wire.to_wire(facts.gather(settings, self._address())),
            labels=settings.labels,
            accepted=wire.to_wire(accepted) if accepted else None,
            statuses=[wire.to_wire(status) for status in self._loop.statuses()],
            problems=self.problems(),
        )

    def problems(self) -> list[str]:
        """What is wrong with this node."""
        own = [self._ledger.problem, self._assignments.problem]
        found = facts.problems(self._settings.state_dir)
        network = self._network()
        there = network.problems() if network is not None else ()
        here = (*self._routing.problems(), *there, *self._watch.problems())
        return [*found, *(each for each in own if each), *here]

    def heard(self) -> None:
        """The control plane is there."""
        self._assignments.heard()
        self._contact.note(clock.now())
