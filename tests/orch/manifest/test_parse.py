"""Documents → values; what is wrong with them, all at once, in the user's words."""

# ruff: noqa: E501  a line of a table is easier to read than its pieces

import pathlib
from typing import Any

import pytest

from orch.manifest.document import NodeDocument, PlainSecret, ServiceDocument
from orch.manifest.parse import parse, parse_all
from orch.model.config import Config, Namespace
from orch.model.names import ObjectName
from orch.model.node import Taint, TaintEffect
from orch.model.policy import CanaryStep, NodeLoss, OnNodeLoss, PortSpec, Toleration
from orch.model.service import Mode, ServiceSpec

_HEAD = "apiVersion: orch/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  image: web:1\n"


def a_spec(body: str) -> ServiceSpec:
    """The spec of a service with this body (indented by nothing)."""
    parsed = parse(_HEAD + "".join(f"  {line}\n" for line in body.splitlines()), "web.yaml")
    assert [str(each) for each in parsed.problems] == []
    (document,) = parsed.documents
    assert isinstance(document.value, ServiceDocument)
    return document.value.spec


def problems(body: str) -> list[str]:
    """Problems of such a service; its body begins on line 6, column 3."""
    text = _HEAD + "".join(f"  {line}\n" for line in body.splitlines())
    return [str(each) for each in parse(text, "web.yaml").problems]


def the_problem(body: str) -> str:
    (only,) = problems(body)
    return only


def main(spec: ServiceSpec) -> Any:
    return spec.template.containers[0]


# --- the example of the design -----------------------------------------------------------------------------------


def test_a_web_service_is_read() -> None:
    spec = a_spec(
        """replicas: 3
entrypoint: ["/web"]
command: ["--port", "8080"]
environment: {LOG_LEVEL: info, VERSION: 1.10, DEBUG: true}
user: 1000
ports:
  - "30080:8080"
  - {name: http, target: 8081, published: 30081, protocol: tcp, mode: host}
volumes: ["/srv/www:/www:ro", {type: tmpfs, target: /tmp, size: 64Mi}]
resources: {requests: {cpu: 250m, memory: 128Mi}, limits: {cpu: 1, memory: 256Mi, pids: 200}}
readiness: {http: {path: /healthz, port: http}, period: 5s}
startup: {exec: ["/ready"], failureThreshold: 30}
restart: {policy: always, attempts: unlimited}
stop: {gracePeriod: 30s, drainDelay: 2s}
rollout: {maxSurge: 25%, maxUnavailable: 0, minReady: 1m30s}"""
    )

    assert spec.replicas == 3
    assert main(spec).environment == {"LOG_LEVEL": "info", "VERSION": "1.10", "DEBUG": "true"}
    assert main(spec).user == "1000"
    assert main(spec).resources.limits.cpu == 1000
    assert main(spec).volumes[0].read_only
    assert main(spec).readiness.http.port == "http"
    assert spec.template.stop.drain_delay == 2.0
    assert spec.rollout.min_ready == 90.0
    assert spec.rollout.max_surge == "25%"


def test_a_flat_body_makes_one_container_called_main() -> None:
    assert [each.name for each in a_spec("replicas: 1").template.containers] == ["main"]


def test_absent_replicas_are_absent() -> None:
    assert a_spec("user: app").replicas is None


def test_several_containers_stand_in_a_list() -> None:
    text = _HEAD.replace("image: web:1", "containers: [{name: a, image: a:1}, {name: b, image: b:1}]")
    text += "  initContainers: [{name: first, image: c:1}]\n"

    (document,) = parse_all(text, "web.yaml")

    assert isinstance(document.value, ServiceDocument)
    template = document.value.spec.template
    assert [each.name for each in template.containers + template.init_containers] == ["a", "b", "first"]


def test_a_global_service_goes_before_its_successor_comes() -> None:
    spec = a_spec("mode: global")

    assert (spec.mode, spec.rollout.max_surge, spec.rollout.max_unavailable) == (Mode.GLOBAL, "0", "1")
    assert "maxSurge must be 0" in the_problem("mode: global\nrollout: {maxSurge: 2}")
    assert "remove replicas" in the_problem("mode: global\nreplicas: 3")


# --- short forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ('"8080"', PortSpec(target=8080)),
        ("8080", PortSpec(target=8080)),
        ("30080:8080", PortSpec(target=8080, published=30080)),
        ('"10.0.0.5:80:8080/tcp"', PortSpec(target=8080, published=80, host_ip="10.0.0.5")),
        ('"53:53/udp"', PortSpec(target=53, published=53, protocol="udp")),
        ('"[::1]:80:8080"', PortSpec(target=8080, published=80, host_ip="::1")),
    ],
)
def test_ports_may_be_written_short(short: str, long: PortSpec) -> None:
    assert a_spec(f"ports: [{short}]").template.ports == (long,)


@pytest.mark.parametrize(
    "written", ["command: /web --port 8080 'a b'", 'command: ["/web", "--port", 8080, "a b"]']
)
def test_a_command_is_a_list_or_a_string_split_as_a_shell_does(written: str) -> None:
    assert main(a_spec(written)).command == ("/web", "--port", "8080", "a b")


def test_nothing_in_a_command_is_expanded() -> None:
    assert main(a_spec("command: echo $HOME *")).command == ("echo", "$HOME", "*")


def test_an_environment_may_be_a_list() -> None:
    assert main(a_spec("environment: [A=1, 'B=x=y', C=]")).environment == {"A": "1", "B": "x=y", "C": ""}


def test_extra_hosts_may_be_a_list_as_in_compose() -> None:
    spec = a_spec(
        "extraHosts: ['db:10.0.0.5', 'six:[fd00::5]', other=fd00::6, 'host.docker.internal:host-gateway']"
    )

    assert spec.template.extra_hosts == {
        "db": "10.0.0.5",
        "six": "fd00::5",
        "other": "fd00::6",
        "host.docker.internal": "host-gateway",
    }
    assert "is not NAME:ADDRESS" in the_problem("extraHosts: [db]")


@pytest.mark.parametrize("written", ["0400", '"0400"', "0o400"])
def test_a_file_mode_is_octal_however_it_is_written(written: str) -> None:
    assert main(a_spec(f"secrets: [{{source: db, mode: {written}}}]")).secrets[0].mode == 0o400


def test_a_file_mode_that_could_be_decimal_is_refused() -> None:
    assert "write 0400 for octal" in the_problem("secrets: [{source: db, mode: 400}]")


def test_other_short_forms() -> None:
    spec = a_spec(
        "configs: [web-config]\nplacement: {tolerations: [gpu, zone=a, {key: x}]}\nonNodeLoss: {stopAfter: 60s}\n"
        "rollout: {canary: {steps: [{nodes: {matchLabels: {ring: canary}}, bake: 5m}, {nodes: [vm-3]}, {count: 1}]}}"
    )

    assert main(spec).configs[0].source == "web-config"
    assert spec.template.placement.tolerations == (
        Toleration(key="gpu"), Toleration(key="zone", value="a"), Toleration(key="x"),
    )  # fmt: skip
    assert spec.template.on_node_loss == OnNodeLoss(action=NodeLoss.STOP_AFTER, stop_after=60)
    assert spec.rollout.canary
    assert spec.rollout.canary.steps[0] == CanaryStep(match_labels={"ring": "canary"}, bake=300)


def test_words_that_older_yaml_took_for_booleans_are_text() -> None:
    assert main(a_spec("environment: {A: no, B: 1:30, C: 017}")).environment == {
        "A": "no",
        "B": "1:30",
        "C": "017",
    }


# --- the other kinds ---------------------------------------------------------------------------------------------


def test_the_other_kinds_are_read() -> None:
    text = """
apiVersion: orch/v1
kind: Config
metadata: {name: c, namespace: shop, labels: {a: b}}
data: {x: 1.10}
binaryData: {y: AAEC}
---
apiVersion: orch/v1
kind: Secret
metadata: {name: s}
type: tls
data: {key: word}
---
apiVersion: orch/v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: orch/v1
kind: Node
metadata: {name: node-3, labels: {ring: canary}}
spec: {taints: ["gpu=yes:NoExecute", {key: slow}]}
"""
    assert [each.value for each in parse_all(text, "all.yaml", "mine")] == [
        Config(ObjectName("shop", "c"), {"x": b"1.10", "y": b"\0\1\2"}, labels={"a": "b"}),
        PlainSecret(ObjectName("mine", "s"), "tls", {"key": b"word"}),
        Namespace("shop"),
        NodeDocument(
            "node-3", {"ring": "canary"}, (Taint("gpu", "yes", TaintEffect.NO_EXECUTE), Taint("slow"))
        ),
    ]


def test_a_secret_does_not_show_its_words() -> None:
    assert "hunter2" not in repr(PlainSecret(ObjectName("default", "s"), data={"password": b"hunter2"}))


def test_each_document_knows_where_it_began() -> None:
    text = "# first\n" + _HEAD + "---\n" + _HEAD.replace("name: web", "name: other")

    assert [each.source for each in parse_all(text, "two.yaml")] == ["two.yaml:2", "two.yaml:8"]


# --- what is wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("replica: 3", 'web.yaml:6:3: unknown key "replica" in spec — did you mean "replicas"?'),
        ("replicas: many", 'web.yaml:6:13: "replicas" must be a whole number, not "many"'),
        ("replicas: -1", 'web.yaml:6:13: "replicas" must be at least 0, not "-1"'),
        ("replicas: [1]", 'web.yaml:6:13: "replicas" must be an integer, not a list'),
        ("replicas:", 'web.yaml:6:3: "replicas" has no value — give it one, or remove it for the default'),
        ("env: {A: b}", 'web.yaml:6:3: unknown key "env" in spec — did you mean "environment"?'),
        ("mode: globl", 'web.yaml:6:9: "mode" must be one of replicated, global, not "globl" — did you mean "global"?'),
        ("restart: {attempts: lots}", '"attempts" must be a whole number or unlimited, not "lots"'),
        ("environment: [A]", 'web.yaml:6:17: "A" is not KEY=VALUE'),
        ("environment: {A: }", '"A" has no value — write A: "" for an empty one'),
        ("environment: {A: [1]}", '"A" must be text, not a list'),
        ("environment: {A: 1, A: 2}", 'the key "A" is already on line 6'),
        ("command: \"it's\"", 'cannot split "it\'s": No closing quotation'),
        ("readiness: {http: {path: /}}", 'web.yaml:6:21: "port" is missing'),
        ("readiness: {http: {port: 80}, tcp: {port: 80}}", "exactly one of http, tcp and exec; this one has http and tcp"),
        ("readiness: {period: 5s}", "exactly one of http, tcp and exec; this one has none"),
        ("readiness: /healthz", '"readiness" must be a map, not "/healthz"'),
        ("readiness: {tcp: {port: 80}, periodSeconds: 3}", 'unknown key "periodSeconds" — did you mean "period"?'),
        ("ports: 8080", '"ports" must be a list, not "8080"'),
        ('ports: ["3000-3005"]', "port ranges are not supported yet"),
        ('ports: ["web"]', '"web" is not a port — write "30080:8080"'),
        ("ports: [99999]", '"target" must be at most 65535, not "99999"'),
        ("stop: {gracePeriod: 5x}", "gracePeriod: '5x' is not a duration"),
        ("stop: {gracePeriod: -1}", "gracePeriod: -1 is not a duration"),
        ("resources: {limits: {cpu: 0.0001}}", "is finer than 1m"),
        ("nodeSelector: {disk: ssd}", 'unknown key "nodeSelector" in spec — write placement: {nodeSelector: …}'),
        ("selector: {app: web}", "leave it out: a service owns its tasks"),
        ("onNodeLoss: shrug", "write replace, wait or {stopAfter: 60s}"),
        ("rollout: {canary: {steps: []}}", '"steps" must be a list of at least 1, not a list'),
        ("rollout: {canary: {steps: [{bake: 5s}]}}", "a canary step needs exactly one of nodes, count and percent"),
        ("placement: {constraints: ['node.labels.zone ~ a']}", "web.yaml:6:29: 'node.labels.zone ~ a' is not a constraint"),
        ("secrets: [{source: db, version: 3}]", 'unknown key "version"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(body: str, said: str) -> None:
    assert said in the_problem(body)


@pytest.mark.parametrize(
    "body",
    [
        "dependsOn: {db: healthy}", "placement: {affinity: {avoid: [batch]}}",
        "rollout: {canary: {steps: [{count: 1}], analysis: {maxRestarts: 0}}}", "readiness: {grpc: {port: 9000}}",
        'volumes: ["data:/var/lib/web"]', "volumes: [{type: volume, source: data, target: /d}]", 'volumes: ["/cache"]',
    ],
)  # fmt: skip
def test_what_cannot_be_done_yet_is_said_and_never_ignored(body: str) -> None:
    assert "supported yet" in the_problem(body)


@pytest.mark.parametrize("kind", ["Job", "CronJob", "Volume"])
def test_kinds_that_come_later_are_named(kind: str) -> None:
    (problem,) = parse(_HEAD.replace("kind: Service", f"kind: {kind}"), "web.yaml").problems

    assert str(problem) == f"web.yaml:2:7: kind {kind} is not supported yet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Service", '"apiVersion" is missing — write apiVersion: orch/v1'),
        ("apiVersion: apps/v1\nkind: Service", 'web.yaml:1:13: apiVersion "apps/v1" is not supported'),
        (
            "apiVersion: orch/v1\nkind: Sevice\nmetadata: {name: a}",
            'unknown kind "Sevice" — did you mean "Service"?',
        ),
        ("services: {web: {image: x}}", "Compose files are not supported yet"),
        ("just text", 'a document must be a map with apiVersion and kind, not "just text"'),
        ("apiVersion: orch/v1\nkind: Namespace", '"metadata" is missing'),
        ("apiVersion: orch/v1\nkind: Namespace\nmetadata: {labels: {a: b}}", '"metadata.name" is missing'),
        ("apiVersion: orch/v1\nkind: Namespace\nmetadata: {name: A}", "web.yaml:3:18: 'A' is not a name"),
        ("apiVersion: orch/v1\nkind: Config\nmetadata: {name: a}", '"data" is missing'),
        (
            "apiVersion: orch/v1\nkind: Config\nmetadata: {name: a}\ndata: {a/b: c}",
            '"a/b" cannot be a file name',
        ),
        (
            "apiVersion: orch/v1\nkind: Config\nmetadata: {name: a}\nbinaryData: {a: '%'}",
            "this is not base64",
        ),
        (
            "apiVersion: orch/v1\nkind: Node\nmetadata: {name: a}\nspec: {taints: ['x:NoSchedul']}",
            'did you mean "NoSchedule"?',
        ),
    ],
)
def test_an_envelope_that_is_wrong_is_said(text: str, said: str) -> None:
    (problem,) = parse(text, "web.yaml").problems

    assert said in str(problem)


def test_an_entry_too_large_for_the_store_is_said() -> None:
    text = "apiVersion: orch/v1\nkind: Config\nmetadata: {name: a}\ndata: {a: " + "x" * 1_000_001 + "}"

    assert "a config or secret may hold 1000000" in str(parse(text, "c.yaml").problems[0])


def test_all_problems_of_all_documents_are_said_at_once_in_order() -> None:
    text = (
        _HEAD
        + "  replica: 1\n  ports: [x]\n  readiness: {http: {port: htp}, period: 5x}\n---\n"
        + _HEAD
        + "  mode: x\n"
    )

    places = [str(each.where) for each in parse(text, "web.yaml").problems]

    assert places == ["web.yaml:6:3", "web.yaml:7:11", "web.yaml:8:42", "web.yaml:15:9"]


def test_rules_that_span_fields_are_asked_even_where_a_field_is_wrong() -> None:
    found = problems("ports: [{name: http, target: 80}]\nreadiness: {http: {port: htp}, period: 5x}")

    assert [each.split(": ", 1)[1] for each in found] == [
        'the port "htp" is not declared — did you mean "http"?',
        "period: '5x' is not a duration: write seconds, or 5s, 1m30s, 250ms, 2h",
    ]


def test_one_mistake_is_not_told_twice() -> None:
    assert len(problems("readiness: {htp: {port: 80}}")) == 1
    assert len(problems("volumes: [{typ: tmpfs, targt: /tmp}]")) == 2
    assert len(problems("rollout: {canary: {steps: [{node: [a]}]}}")) == 1


def test_the_same_object_twice_is_said() -> None:
    (problem,) = parse(_HEAD + "---\n" + _HEAD, "web.yaml").problems

    assert str(problem) == 'web.yaml:7:1: Service "web" is already at web.yaml:1 — keep one of them'


def test_a_flat_key_beside_containers_is_refused() -> None:
    text = _HEAD.replace("image: web:1", "containers: [{name: a, image: a:1}]\n  user: app")

    (problem,) = parse(text, "web.yaml").problems

    assert (
        str(problem) == 'web.yaml:6:3: "user" stands beside "containers" — move it into one of the containers'
    )


def test_status_is_what_get_adds_and_is_not_read() -> None:
    text = "apiVersion: orch/v1\nkind: Namespace\nmetadata: {name: a}\nstatus: {x: y}"

    assert parse_all(text, "f")[0].value == Namespace("a")


@pytest.mark.parametrize("path", sorted(pathlib.Path("manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_right(path: pathlib.Path) -> None:
    parsed = parse(path.read_bytes(), str(path))

    assert [str(each) for each in parsed.problems] == []
    assert parsed.documents


def test_what_is_missing_beside_a_mistake_does_not_hide_the_rules_that_span_fields() -> None:
    found = problems("ports: [{target: 99999}]\nrollout: {canary: {promote: soon}}\nstop: {signal: SIGFOO}")

    assert [each.split(" — ")[0] for each in found] == [
        'web.yaml:6:20: "target" must be at most 65535, not "99999"',
        'web.yaml:7:21: "steps" is missing',
        'web.yaml:7:31: "promote" must be one of auto, manual, not "soon"',
        'web.yaml:8:18: "SIGFOO" is not a signal',
    ]


def test_who_may_reach_a_service_is_read_in_words() -> None:
    spec = a_spec("network: {allowFrom: [svc/front, ns/shop], egress: [10.0.0.0/8]}")
    assert spec.network.allow_from == ("svc/front", "ns/shop")
    assert spec.network.egress == ("10.0.0.0/8",)


def test_a_word_that_names_nobody_is_refused_where_it_stands() -> None:
    found = problems("network: {allowFrom: [svc/a, web], egress: [10.0.0.1/8]}")
    assert [each.partition(": ")[0] for each in found] == ["web.yaml:6:32", "web.yaml:6:47"]
    assert "'web' names nobody: write svc/web" in found[0]
    assert "write 10.0.0.0/8" in found[1]


def test_a_namespace_is_open_or_isolated() -> None:
    head = "apiVersion: orch/v1\nkind: Namespace\nmetadata: {name: shop}\n"

    def read(body: str) -> Any:
        return parse(head + body, "ns.yaml")

    assert read("").documents[0].value == Namespace("shop")
    assert read("spec: {network: isolated}").documents[0].value == Namespace("shop", network="isolated")
    assert [str(each) for each in read("spec: {network: shut}").problems] == [
        'ns.yaml:4:17: "network" must be open or isolated, not "shut"'
    ]
