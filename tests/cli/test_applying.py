"""apply, plan and diff: what is sent of files, and what is told of them."""

from pathlib import Path

import pytest

from orch import wire
from orch.model.service import ServiceSpec
from tests.cli import views
from tests.cli.conftest import WEB, Run
from tests.cli.control import Control


def test_apply_sends_the_spec_that_was_written(control: Control, orchctl: Run, web: str) -> None:
    orchctl("apply", "-f", web, "--wait=false")

    (document,) = control.last("Apply").documents
    assert document.source == f"{web}:1"
    assert wire.from_wire(document.service.spec, ServiceSpec).template.containers[0].image == "web:2"
    assert control.last("Apply").request_id


def test_apply_without_waiting_does_not_watch(control: Control, orchctl: Run, web: str) -> None:
    control.answers["Apply"] = views.a_reply("created")

    assert orchctl("apply", "-f", web, "--wait=false").out == "service/web created\n"
    assert "Watch" not in dict(control.requests)


def test_problems_of_all_files_are_told_and_nothing_is_sent(
    control: Control, orchctl: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(WEB.replace("replicas", "replica"))
    (tmp_path / "b.yaml").write_text(WEB.replace("web:2", "Web:2"))

    done = orchctl("apply", "-f", str(tmp_path))

    assert done.code == 2
    assert 'a.yaml:5:3: unknown key "replica" in spec — did you mean "replicas"?' in done.err
    assert "b.yaml:6:10: " in done.err
    assert "nothing was applied: 2 problems to mend" in done.err
    assert control.requests == []


def test_files_that_are_no_manifests_are_told(control: Control, orchctl: Run, tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"x" * 11_000_000)

    assert "a manifest may have 10 MB" in orchctl("apply", "-f", str(big)).err
    assert "cannot read nowhere.yaml" in orchctl("apply", "-f", "nowhere.yaml").err
    assert orchctl("apply").code == 2


def test_another_namespace_than_asked_for_is_told(control: Control, orchctl: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WEB.replace("{name: web}", "{name: web, namespace: shop}"))

    done = orchctl("apply", "-f", str(tmp_path / "a.yaml"), "-n", "other")

    assert done.code == 2
    assert "shop/web is in another namespace than -n other" in done.err


def test_prune_labels_the_set(control: Control, orchctl: Run, web: str) -> None:
    assert orchctl("apply", "-f", web, "--prune").code == 2
    orchctl("apply", "-f", web, "--prune", "--set", "shop", "--wait=false")

    request = control.last("Apply")
    assert request.prune
    assert dict(request.documents[0].service.labels) == {"orch/set": "shop"}


@pytest.mark.parametrize("verb", ["plan", "diff"])
def test_plan_and_diff_exit_with_0_for_no_change_and_1_for_changes(
    control: Control, orchctl: Run, web: str, verb: str
) -> None:
    control.answers["Apply"] = views.a_reply("unchanged")
    same = orchctl(verb, "-f", web)
    control.answers["Apply"] = views.a_reply(decisions=["web.1 on node-2"])
    different = orchctl(verb, "-f", web)

    assert (same.code, same.out) == (0, "no changes\n")
    assert different.code == 1
    assert "service/web would change" in different.out
    assert ("web.1 on node-2" in different.out) == (verb == "plan")
    assert control.last("Apply").dry_run


def test_an_error_of_diff_is_more_than_1(orchctl: Run, home: Path, web: str) -> None:
    assert orchctl("diff", "-f", web).code == 3
    assert orchctl("diff", "-f", "nowhere.yaml").code == 2
