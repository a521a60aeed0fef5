"""The key of everything, on one screen."""

from orch.model.names import ObjectName, ServiceName, TaskId

ROOT = "/orch/"
CLUSTER = "/orch/cluster"
LEADER = "/orch/leader"
SERVICES = "/orch/services/"
REVISIONS = "/orch/revisions/"
ROLLOUTS = "/orch/rollouts/"
TASKS = "/orch/tasks/"
NODES = "/orch/nodes/"
CLAIMS = "/orch/claims/"
CONFIGS = "/orch/configs/"
SECRETS = "/orch/secrets/"
VERSIONS = "/orch/versions/"
NAMESPACES = "/orch/namespaces/"
EVENTS = "/orch/events/"
REQUESTS = "/orch/requests/"
TOKENS = "/orch/tokens/"


def service(name: ServiceName) -> str:
    return f"{SERVICES}{name.namespace}/{name.name}"


def revision(name: ServiceName, number: int) -> str:
    return f"{REVISIONS}{name.namespace}/{name.name}/{number:08d}"


def rollout(name: ServiceName) -> str:
    return f"{ROLLOUTS}{name.namespace}/{name.name}"


def task_desired(task: TaskId) -> str:
    return f"{TASKS}{task.namespace}/{task.service}/{task.uid}/desired"


def task_observed(task: TaskId) -> str:
    return f"{TASKS}{task.namespace}/{task.service}/{task.uid}/observed"


def node_spec(name: str) -> str:
    return f"{NODES}{name}/spec"


def node_status(name: str) -> str:
    return f"{NODES}{name}/status"


def node_identity(name: str) -> str:
    """Which keys the node of this name has proved to hold."""
    return f"{NODES}{name}/identity"


def claim_port(words: str) -> str:
    """`words` as in AssignTask.ports: `node/host_ip:port/protocol`."""
    return f"{CLAIMS}port/{words}"


def claim_virtual_address(address: str) -> str:
    """Where a service is reached, whatever its tasks do; held from its first look until it is forgotten."""
    return f"{CLAIMS}address/{address}"


OUTSIDE = f"{CLAIMS}outside"
"""Written with every change of published ports or routes, so that two such changes at once see each other."""


def claim_subnet(index: int) -> str:
    return f"{CLAIMS}subnet/{index:05d}"


def config(name: ObjectName) -> str:
    return f"{CONFIGS}{name.namespace}/{name.name}"


def secret(name: ObjectName) -> str:
    return f"{SECRETS}{name.namespace}/{name.name}"


def version(is_secret: bool, name: ObjectName, number: int) -> str:
    """One version of a config or secret, kept while a revision mounts it."""
    return f"{VERSIONS}{'secrets' if is_secret else 'configs'}/{name.namespace}/{name.name}/{number:08d}"


def namespace(name: str) -> str:
    return f"{NAMESPACES}{name}"


def event(identity: str) -> str:
    return f"{EVENTS}{identity}"


def request(identity: str) -> str:
    """What a request with this id did, so that the same request sent twice happens once; under a lease."""
    return f"{REQUESTS}{identity}"


def token(identity: str) -> str:
    """What is kept of a join token."""
    return f"{TOKENS}{identity}"
