"""What is written for a value is read back as the same value."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orch.manifest import load, parse, validate, write
from orch.manifest.document import NodeDocument, PlainSecret, ServiceDocument
from orch.manifest.spell import Speller
from orch.manifest.tree import Mapping
from orch.model.config import Config, Namespace
from orch.model.container import ContainerSpec
from orch.model.names import ObjectName
from orch.model.node import Taint, TaintEffect
from orch.model.policy import NodeLoss, RolloutPolicy
from orch.model.service import Mode, ServiceSpec
from tests.orch import strategies

_ENTRY = st.text("abc.-_09", min_size=1, max_size=8).filter(lambda key: key not in {".", ".."})
_LABELS = st.dictionaries(
    st.just("team") | st.just("example.com/zone"), st.sampled_from(["", "a", "1.10", "no", "0o17"])
)


@settings(max_examples=150, deadline=None)
@given(
    strategies.values(ServiceSpec).map(lambda spec: _as_users_write(spec))  # noqa: PLW0108  it is defined below
)
def test_any_spec_that_is_written_is_read_back_the_same(spec: ServiceSpec) -> None:
    text = load.dump({"spec": write.spec(spec)})

    (tree,), problems = load.load(text, "written.yaml")
    assert isinstance(tree, Mapping)
    body = tree.entries["spec"].node
    assert isinstance(body, Mapping)
    speller = Speller()
    nested = speller.service(body)
    found, more = validate.validate(nested, ServiceSpec)

    assert [*problems, *speller.problems, *more] == []
    if found and found.mode is Mode.GLOBAL:
        found = found.model_copy(update={"rollout": found.rollout.model_copy(update=_surge(spec))})
    assert found == spec


def test_a_whole_service_is_read_back_the_same() -> None:
    spec = ServiceSpec.model_validate(
        {
            "mode": "global",
            "template": {
                "containers": [{"image": "web:1", "environment": {"A": "no", "B": "1:30", "C": "x\ny\n"}}]
            },
            "rollout": {"maxSurge": 0, "maxUnavailable": 1},
        }
    )
    _same(ServiceDocument(ObjectName("shop", "web"), spec, {"team": "shop"}))


def test_a_service_with_only_an_image_is_written_in_two_lines() -> None:
    spec = ServiceSpec.model_validate({"replicas": 2, "template": {"containers": [{"image": "web:1"}]}})

    assert write.spec(spec) == {"replicas": 2, "image": "web:1"}


def test_a_container_with_another_name_is_written_in_the_list() -> None:
    spec = ServiceSpec.model_validate({"template": {"containers": [{"name": "web", "image": "web:1"}]}})

    assert write.spec(spec) == {"containers": [{"name": "web", "image": "web:1"}]}


@given(
    st.dictionaries(_ENTRY, st.binary(max_size=20) | st.text(max_size=20).map(str.encode), min_size=1),
    _LABELS,
)
def test_configs_and_secrets_are_read_back_byte_by_byte(
    data: dict[str, bytes], labels: dict[str, str]
) -> None:
    _same(Config(ObjectName("default", "c"), data, labels=labels))
    _same(PlainSecret(ObjectName("default", "s"), "opaque", data, labels))


@given(
    _LABELS,
    st.lists(st.builds(Taint, st.just("gpu"), st.sampled_from(["", "yes"]), st.sampled_from(TaintEffect))),
)
def test_namespaces_and_nodes_are_read_back(labels: dict[str, str], taints: list[Taint]) -> None:
    _same(Namespace("shop", labels))
    _same(NodeDocument("node-1", labels, tuple(taints)))


def _same(value: Any) -> None:
    (read,) = parse.parse_all(load.dump(write.document(value)), "written.yaml")
    assert read.value == value


def _as_users_write(spec: ServiceSpec) -> ServiceSpec:
    """Without what users cannot write: the version of a mount, a stopAfter for another action."""

    def unpinned(containers: tuple[ContainerSpec, ...]) -> tuple[ContainerSpec, ...]:
        return tuple(
            each.model_copy(
                update={
                    field: tuple(mount.model_copy(update={"version": 0}) for mount in getattr(each, field))
                    for field in ("configs", "secrets")
                }
            )
            for each in containers
        )

    loss = spec.template.on_node_loss
    template = spec.template.model_copy(
        update={
            "containers": unpinned(spec.template.containers),
            "init_containers": unpinned(spec.template.init_containers),
            "on_node_loss": loss
            if loss.action is NodeLoss.STOP_AFTER
            else loss.model_copy(update={"stop_after": 0.0}),
        }
    )
    return spec.model_copy(update={"template": template})


def _surge(spec: ServiceSpec) -> dict[str, str]:
    """Defaults of a global service are put in by the reader of documents, not of specs."""
    defaults = RolloutPolicy(max_surge="0", max_unavailable="1")
    return {
        name: getattr(spec.rollout, name)
        for name in ("max_surge", "max_unavailable")
        if getattr(spec.rollout, name) == getattr(defaults, name)
    }
