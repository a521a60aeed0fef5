"""Documentation and schema, from the definitions."""

import json

import pytest

from orch.manifest import explain, kinds, schema, shape
from orch.manifest.parse import parse


def test_a_key_tells_type_default_and_its_keys() -> None:
    text = explain.explain("service.rollout.canary")

    assert "KEY      rollout.canary <object>" in text
    assert "steps                <list of objects> required" in text
    assert "promote              <auto | manual> = auto" in text


def test_short_kinds_and_spec_in_the_path_are_understood() -> None:
    assert explain.explain("svc.spec.ports") == explain.explain("service.ports")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("servce", 'there is no kind "servce" — did you mean "service"?'),
        ("service.rolout", 'service has no key "rolout" — did you mean "rollout"?'),
        ("service.replicas.x", 'service.replicas has no key "x" — it has no keys of its own'),
    ],
)
def test_what_is_not_known_is_said_with_the_nearest(path: str, said: str) -> None:
    with pytest.raises(explain.NothingKnown, match=r"has no key|there is no kind") as error:
        explain.explain(path)

    assert str(error.value) == said


@pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=lambda kind: kind.name)
def test_every_key_can_be_explained_and_says_what_it_is_for(kind: kinds.Kind) -> None:
    for path in explain.paths(kind):
        text = explain.explain(path)
        assert len(text.splitlines()) > 3, path


def test_every_key_that_cannot_be_done_yet_is_no_key() -> None:
    for model, names in shape.UNSUPPORTED.items():
        assert not names & set(shape.keys_of(model))


def test_the_schema_is_json_and_knows_every_key_of_a_service() -> None:
    found = json.loads(json.dumps(schema.schema()))
    service = next(each for each in found["oneOf"] if each["properties"]["kind"]["const"] == "Service")

    assert set(service["properties"]["spec"]["properties"]) == set(shape.service_keys())
    assert service["properties"]["spec"]["additionalProperties"] is False


def test_the_schema_and_the_reader_agree_on_what_is_required() -> None:
    problems = parse(
        "apiVersion: orch/v1\nkind: Service\nmetadata: {name: a}\nspec: {replicas: 1}", "f"
    ).problems

    assert [str(each) for each in problems] == ['f:4:7: "image" is missing']
