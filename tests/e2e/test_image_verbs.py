"""orchctl image ls, tag, rm, push, pull, import, save: on a cluster, with a registry of others beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster


@pytest.fixture
def built(cluster: Dev, tmp_path: Path) -> str:
    """An image of the cluster's registry, whose name no other test has."""
    shutil.copy("/bin/busybox", tmp_path / "busybox")
    (tmp_path / "Dockerfile").write_text(
        f"FROM scratch\nCOPY busybox /bin/busybox\nLABEL test={tmp_path.name}\n"
    )
    name = f"verbs/{tmp_path.name.replace('_', '-')}"
    cluster.orchctl("image", "build", "-q", "-t", f"{name}:1", str(tmp_path))
    return name


def listed(cluster: Dev, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(cluster.orchctl("image", "ls", "-o", "json", *arguments, errors=False))["items"]
    assert isinstance(found, list)
    return found


def test_names_come_and_go(cluster: Dev, built: str) -> None:
    cluster.orchctl("image", "tag", f"{built}:1", f"{built}:stable", f"{built}/copy:2")
    tags = {each["tag"]: each for each in listed(cluster, built)}
    assert set(tags) == {"1", "stable"}
    assert tags["1"]["digest"] == tags["stable"]["digest"]
    assert tags["1"]["size"] > 100_000

    assert f"{built}:1 removed" in cluster.orchctl("image", "rm", f"{built}:1")
    assert [each["tag"] for each in listed(cluster, built)] == ["stable"]
    assert "has no" in cluster.orchctl("image", "rm", f"{built}:1", expect=1)
    assert [each["tag"] for each in listed(cluster, f"{built}/copy")] == ["2"]


def test_nodes_say_what_they_hold_and_share(cluster: Dev, built: str, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("more" * 1000)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/busybox\nCOPY more /more\n")
    node = next(each["node"] for each in listed(cluster, "--nodes") if each["name"] == f"{built}:1")
    cluster.orchctl("image", "build", "-q", "-t", f"{built}-more:1", "--node", node, str(tmp_path))

    found = {each["name"]: each for each in listed(cluster, "--nodes", node)}
    one, more = found[f"{built}:1"], found[f"{built}-more:1"]
    assert one["shared"] == one["size"] == more["shared"] < more["size"]


def test_to_another_registry_and_back_it_is_the_same_image(cluster: Dev, built: str) -> None:
    there = cluster.cluster.registry_address
    plain = ("--plain-http", there)
    digest = cluster.orchctl("image", "push", "-q", *plain, f"{built}:1", f"{there}/{built}:9", errors=False)
    assert cluster.orchctl("image", "pull", "-q", *plain, f"{there}/{built}:9", errors=False) == digest
    assert {each["tag"]: each["digest"] for each in listed(cluster, built)} == dict.fromkeys(
        "19", digest.strip()
    )

    refused = cluster.orchctl("image", "push", f"{built}:1", f"{there}/{built}:9", expect=1)
    assert "--plain-http" in refused


def test_a_saved_image_is_imported_under_its_name_or_another(
    cluster: Dev, built: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "saved.tar")
    digest = cluster.orchctl("image", "save", f"{built}:1", "-o", file).split()[-1]
    cluster.orchctl("image", "rm", f"{built}:1")

    cluster.orchctl("image", "import", file)
    cluster.orchctl("image", "import", file, "-t", f"{built}:again")
    assert {each["tag"]: each["digest"] for each in listed(cluster, built)} == dict.fromkeys(
        ("1", "again"), digest
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tag", "nothing:1", "x:1"], "nothing:1 not found in the cluster's own registry"),
        (["tag", "Upper:1", "x:1"], "must be in lower case"),
        (["rm", "ghcr.io/x/y:1"], "leave the host out"),
        (["push", "x:1", "registry.orch/y:1"], "orchctl image tag"),
        (["push", "x:1", f"ghcr.io/y@sha256:{'0' * 64}"], "a digest cannot be given"),
        (["save", "nothing:1", "-o", "/tmp/none/x.tar"], "cannot be written"),
        (["import", "/bin/busybox"], "not a plain tar"),
    ],
)
def test_what_cannot_be_done_is_said(cluster: Dev, arguments: list[str], said: str) -> None:
    assert said in cluster.orchctl("image", *arguments, expect=None)
