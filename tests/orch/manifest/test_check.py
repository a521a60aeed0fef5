"""Rules that span fields."""

from typing import Any

import pytest

from agent.runtime import capabilities
from orch.manifest import check_security
from orch.manifest.check import check
from orch.model.names import ObjectName
from orch.model.service import ServiceSpec

_WEB = ObjectName("default", "web")


def a_spec(
    container: dict[str, Any] | None = None,
    template: dict[str, Any] | None = None,
    **spec: Any,
) -> ServiceSpec:
    containers = [{"image": "web:1"} | (container or {})]
    return ServiceSpec.model_validate({"template": {"containers": containers} | (template or {})} | spec)


def said(spec: ServiceSpec, replicas: int | None = None) -> list[str]:
    return [str(problem) for problem in check(_WEB, spec, replicas)]


def test_a_plain_service_has_no_problems() -> None:
    assert said(a_spec()) == []


def test_a_problem_names_the_field_as_users_write_it() -> None:
    flat = a_spec({"readiness": {"http": {"port": "htp"}}}, {"ports": [{"name": "http", "target": 80}]})
    two = a_spec(
        template={"containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "b", "workingDir": "x"}]}
    )

    assert said(flat) == [
        'service web: spec.readiness.http.port: the port "htp" is not declared — did you mean "http"?'
    ]
    assert said(two) == ['service web: spec.containers[b].workingDir: "x" is not an absolute path']


_A_TMPFS = {"type": "tmpfs", "target": "/tmp"}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": "Web:1"}, "must be in lower case"),
        ({"image": ""}, "image"),
        ({"environment": {"A=B": "x"}}, "cannot be the name of a variable"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"user": "a:b:c"}, "is not a user"),
        ({"volumes": [_A_TMPFS, _A_TMPFS]}, '"/tmp" is mounted twice'),
        ({"volumes": [_A_TMPFS], "configs": [{"source": "c", "target": "/tmp/"}]}, '"/tmp" is mounted twice'),
        ({"volumes": [{"source": "srv", "target": "/srv"}]}, '"srv" is not an absolute path'),
        ({"volumes": [{"target": "/srv"}]}, 'a bind volume needs "source"'),
        ({"volumes": [{"source": "/srv", "target": "/a/../b"}]}, "is not an absolute path without"),
        ({"volumes": [{"source": "/srv", "target": "/"}]}, "nothing can be mounted over /"),
        ({"volumes": [{"source": "/srv", "target": "/srv", "size": 1}]}, "only a tmpfs has a size"),
        ({"volumes": [_A_TMPFS | {"source": "/x"}]}, "a tmpfs has no source"),
        ({"configs": [{"source": "c", "key": "../x"}]}, "cannot be a file name"),
        (
            {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
            "greater than its limit",
        ),
        ({"resources": {"requests": {"pids": 5}}}, "pids can only be limited"),
        (
            {"security": {"capAdd": ["NET_ADMN"]}},
            '"NET_ADMN" is not a capability — did you mean "NET_ADMIN"?',
        ),
        ({"security": {"sysctls": {"kernel.panic": "1"}}}, "settings of the whole node are set on the node"),
        ({"security": {"sysctls": {"net/../kernel/panic": "1"}}}, "a container can have of its own"),
        ({"security": {"privileged": True, "capDrop": ["KILL"]}}, "has all capabilities"),
        ({"ulimits": {"nofiles": "5"}}, 'did you mean "nofile"?'),
        ({"ulimits": {"nofile": "20:10"}}, "the soft limit is greater than the hard one"),
        ({"ulimits": {"nofile": "many"}}, 'write 1024, "1024:4096" or unlimited'),
        ({"readiness": {"http": {"port": "http"}}}, "add {name: http, target: …} to ports"),
        ({"readiness": {"tcp": {"port": 70000}}}, "70000 is not a port"),
        ({"readiness": {"http": {"port": 80, "path": "healthz"}}}, "must begin with /"),
        ({"liveness": {"tcp": {"port": 80}, "successThreshold": 2}}, "must be 1"),
    ],
)
def test_a_container_that_cannot_be_is_refused(container: dict[str, Any], words: str) -> None:
    (problem,) = said(a_spec(container))

    assert words in problem


def test_capabilities_are_those_that_the_runtime_knows_and_may_be_written_with_their_prefix() -> None:
    found = a_spec({"security": {"capAdd": ["cap_net_raw", "ALL"], "capDrop": ["CAP_KILL"]}})

    assert frozenset(capabilities.NAMES) == check_security.CAPABILITIES
    assert said(found) == []
    assert found.template.containers[0].security.cap_add == ("NET_RAW", "ALL")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            {"ports": [{"target": 80, "published": 80}, {"target": 81, "published": 80}]},
            "port 80/tcp is published twice",
        ),
        (
            {"ports": [{"name": "a", "target": 80}, {"name": "a", "target": 81}]},
            'the port name "a" is used twice',
        ),
        ({"ports": [{"target": 80}, {"target": 80}]}, "port 80/tcp is listed twice"),
        ({"ports": [{"target": 80, "published": 80, "hostIp": "10.0.0.300"}]}, "is not an IP address"),
        ({"ports": [{"target": 80, "hostIp": "10.0.0.3"}]}, "hostIp without a published port"),
        ({"initContainers": [{"name": "main", "image": "a"}]}, 'the container name "main" is used twice'),
        (
            {"initContainers": [{"name": "i", "image": "a", "liveness": {"exec": ["x"]}}]},
            "an init container has no probes",
        ),
        ({"placement": {"constraints": ["node.zone == a"]}}, "is not an attribute of a node"),
        ({"placement": {"spread": ["zone", "zone"]}}, '"zone" is listed twice'),
        ({"placement": {"nodeSelector": {"a b": "c"}}}, "is not a label key"),
        ({"restart": {"backoff": "60s", "maxBackoff": "1s"}}, "maxBackoff is shorter than backoff"),
        ({"restart": {"attempts": -1}}, "must not be negative"),
        ({"stop": {"signal": "SIGNOPE"}}, "is not a signal"),
        ({"hostname": "a_b"}, '"a_b" is not a host name'),
        ({"extraHosts": {"a b": "10.0.0.5"}}, '"a b" is not a host name'),
        ({"extraHosts": {"db": "nowhere"}}, '"nowhere" is not an address'),
        ({"dns": {"search": ["a.example\nnameserver"]}}, "cannot stand in a resolv.conf"),
        ({"onNodeLoss": {"action": "stopAfter"}}, "must be longer than 0s"),
    ],
)
def test_a_template_that_cannot_be_is_refused(template: dict[str, Any], words: str) -> None:
    (problem,) = said(a_spec(template=template))

    assert words in problem


def test_a_port_may_be_published_on_two_addresses_but_not_on_one_and_all() -> None:
    two = [{"target": 80, "published": 80, "hostIp": ip} for ip in ("10.0.0.1", "10.0.0.2")]

    assert said(a_spec(template={"ports": two})) == []
    assert len(said(a_spec(template={"ports": [*two, {"target": 81, "published": 80}]}))) == 1


@pytest.mark.parametrize(
    ("rollout", "words"),
    [
        ({"maxSurge": 0, "maxUnavailable": 0}, "no instance could ever be replaced"),
        ({"maxSurge": 0, "maxUnavailable": "10%"}, "10% of 4 is less than one instance"),
        ({"minReady": "10m"}, "progressDeadline must be longer than minReady"),
        (
            {"canary": {"steps": [{"percent": 10}]}},
            "10% of 4 instances rounds to none — choose more, or count: 1",
        ),
        ({"canary": {"steps": [{"percent": 100}]}}, "100% of 4 instances is no canary"),
        ({"canary": {"steps": [{"count": 4}]}}, "4 of 4 instances is no canary"),
        ({"canary": {"steps": [{"nodes": ["a", "a"]}]}}, "a node is named twice"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(rollout: dict[str, Any], words: str) -> None:
    (problem,) = said(a_spec(rollout=rollout, replicas=4))
    (live,) = said(a_spec(rollout=rollout), replicas=4)

    assert words in problem
    assert live == problem


def test_a_canary_of_an_unknown_number_is_left_to_the_control_plane() -> None:
    assert said(a_spec(rollout={"canary": {"steps": [{"percent": 10}]}})) == []
