"""When something that failed is tried again (pure)."""

from agent.reconciler.observed import Trouble
from orch.model.policy import RestartPolicy

_MOST_DOUBLINGS = 32
"""Beyond it every wait is the longest one; keeps the power small."""


def retry_at(policy: RestartPolicy, trouble: Trouble) -> float:
    """A crash: at once, then after 1 s, 2 s, 4 s. What never ran is never tried again at once: 1 s, 2 s."""
    earlier = trouble.count - 2 if trouble.crash else trouble.count - 1
    if earlier < 0:
        return trouble.at
    wait = policy.backoff * 2.0 ** min(earlier, _MOST_DOUBLINGS)
    return trouble.at + min(wait, policy.max_backoff)


def is_spent(policy: RestartPolicy, trouble: Trouble) -> bool:
    """The restarts that the service allows are used up."""
    return policy.most_attempts is not None and trouble.count > policy.most_attempts
