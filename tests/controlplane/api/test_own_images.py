"""Short names mean the cluster's own images where there are such."""

import pytest

from controlplane.api import own_images
from controlplane.cluster import editing, snapshot
from orch.manifest import document
from orch.model.container import ContainerSpec
from orch.model.names import ObjectName
from orch.model.service import Revision, ServiceSpec, TaskTemplate
from orch.oci import reference

DIGEST = "sha256:" + "a" * 64


async def digest_of(repository: str, tag: str) -> str:
    return DIGEST if (repository, tag) in {("web", "1"), ("shop/web", "latest")} else ""


def service(image: str) -> document.Written:
    template = TaskTemplate(
        containers=(ContainerSpec(name="web", image=image),),
        init_containers=(ContainerSpec(name="init", image="web:1"),),
    )
    named = document.ServiceDocument(ObjectName("default", "web"), ServiceSpec(template=template))
    return document.Written("web.yaml:1", named)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("web:1", f"registry.orch/web:1@{DIGEST}"),
        ("shop/web", f"registry.orch/shop/web:latest@{DIGEST}"),
        ("registry.orch/web:1", f"registry.orch/web:1@{DIGEST}"),
        ("web:2", "web:2"),
        ("busybox", "busybox"),
        ("docker.io/library/web:1", "docker.io/library/web:1"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        (f"web:1@sha256:{'b' * 64}", f"web:1@sha256:{'b' * 64}"),
        ("Not A Name", "Not A Name"),
    ],
)
async def test_a_short_name_is_looked_for_at_home_first(text: str, written: str) -> None:
    (found,) = await own_images.pinned([service(text)], digest_of)

    assert isinstance(found.value, document.ServiceDocument)
    assert found.value.spec.template.containers[0].image == written
    assert found.value.spec.template.init_containers[0].image == f"registry.orch/web:1@{DIGEST}"
    assert found.source == "web.yaml:1"


def test_what_revisions_run_of_the_clusters_own_images_is_known_by_its_digest() -> None:
    web = ObjectName("default", "web")
    images = [f"{reference.CLUSTER}/shop/web:1@{DIGEST}", f"{reference.CLUSTER}/late:1", "nginx:1"]
    cluster = snapshot.Cluster()
    for number, image in enumerate(images, 1):
        template = TaskTemplate(containers=(ContainerSpec(name="main", image=image),))
        cluster = editing.with_revision(cluster, Revision(web, number, template, created_at=0.0))

    assert own_images.run_by(cluster) == {("shop/web", DIGEST)}
