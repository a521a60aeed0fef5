"""How far a service may stray from its wanted number while tasks are exchanged.

Worked numbers, for 10 wanted:

    maxSurge 25%, maxUnavailable 25%   → 3 more (rounded up), 2 missing (rounded down), floor 8
    maxSurge 1,   maxUnavailable 0     → 1 more, none missing, floor 10
    maxSurge 0,   maxUnavailable 5%    → nothing could ever move; 1 may be missing, floor 9
"""

from dataclasses import dataclass

from orch.model.policy import NodeLoss
from orch.model.quantity import amount_of
from orch.model.service import Mode, Service, ServiceSpec


@dataclass(frozen=True, slots=True)
class Bounds:
    """Numbers of slots."""

    wanted: int
    surge: int
    """Most successors at a time."""
    unavailable: int
    """Most wanted slots without an available task, as far as our own doing goes."""

    @property
    def floor(self) -> int:
        """We never make the number of available slots smaller than this."""
        return max(0, self.wanted - self.unavailable)

    @property
    def in_flight(self) -> int:
        """Most slots that are on the way to another revision at a time."""
        return max(1, self.surge + self.unavailable)


def bounds_of(service: Service, wanted: int) -> Bounds:
    """The policy in numbers. Both zero would stop everything for ever; then one may be missing."""
    surge, unavailable = amounts(service.spec, wanted)
    if is_exclusive(service.spec):
        return Bounds(wanted, 0, max(1, unavailable))
    if surge == 0 and unavailable == 0:
        return Bounds(wanted, 0, 1)
    return Bounds(wanted, surge, unavailable)


def amounts(spec: ServiceSpec, wanted: int) -> tuple[int, int]:
    """Surge and unavailable. A global service that says nothing of them has 0 and 1: its slots are nodes."""
    policy = spec.rollout
    if spec.mode is Mode.GLOBAL and (policy.max_surge, policy.max_unavailable) == ("1", "0"):
        return 0, 1
    surge = amount_of(policy.max_surge, wanted, round_up=True)
    return surge, amount_of(policy.max_unavailable, wanted, round_up=False)


def is_exclusive(spec: ServiceSpec) -> bool:
    """It may exist only once: nothing is started beside it, and nothing before it has provably stopped."""
    return spec.template.on_node_loss.action is NodeLoss.STOP_AFTER
