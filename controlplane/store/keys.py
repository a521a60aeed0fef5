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
NAMESPACES = "/orch/namespaces/"
EVENTS = "/orch/events/"
REQUESTS = "/orch/requests/"


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


def claim_port(words: str) -> str:
    """`words` as in AssignTask.ports: `node/host_ip:port/protocol`."""
    return f"{CLAIMS}port/{words}"


def claim_subnet(index: int) -> str:
    return f"{CLAIMS}subnet/{index:05d}"


def config(name: ObjectName) -> str:
    return f"{CONFIGS}{name.namespace}/{name.name}"


def secret(name: ObjectName) -> str:
    return f"{SECRETS}{name.namespace}/{name.name}"


def namespace(name: str) -> str:
    return f"{NAMESPACES}{name}"


def event(identity: str) -> str:
    return f"{EVENTS}{identity}"


def request(identity: str) -> str:
    """What a request with this id did, so that the same request sent twice happens once; under a lease."""
    return f"{REQUESTS}{identity}"
