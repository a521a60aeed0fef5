"""Importing from a file, with archives of our own making and of skopeo's."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.images.images import Images, PullFailed
from orch.oci import build, reference
from orch.oci.failure import Reason
from tests.support import archives
from tests.support import images as pictures

pytestmark = pytest.mark.root


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    opened = await Images.open(tmp_path / "images")
    yield opened
    await opened.close()


async def test_an_oci_layout_is_imported_under_its_name(images: Images, tmp_path: Path) -> None:
    built = pictures.web("1")
    build.write_archive(tmp_path / "web.tar", built, reference.parse("shop/web:1"))

    (image,) = await images.import_tar(tmp_path / "web.tar")

    assert image.reference == "docker.io/shop/web:1"
    assert image.digest == built.digest
    assert images.find("shop/web:1") == image
    assert images.find(built.digest).layers == image.layers
    assert (Path(image.layers[1]) / "www/version").read_text() == "1\n"
    assert await images.pull("shop/web:1") == image, "no registry is asked"


async def test_this_platforms_image_is_taken_from_an_index(images: Images, tmp_path: Path) -> None:
    build.write_archive(tmp_path / "multi.tar", pictures.multi_platform(), reference.parse("multi:1"))

    (image,) = await images.import_tar(tmp_path / "multi.tar")

    assert (Path(image.layers[1]) / "marker").read_text() == "amd64"


def copy(source: str, target: str) -> None:
    subprocess.run(["skopeo", "copy", "-q", source, target], check=True)


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
async def test_skopeos_archives_are_imported(form: str, images: Images, tmp_path: Path) -> None:
    build.write_archive(tmp_path / "ours.tar", pictures.web("2"), reference.parse("web:2"))
    target = f"{form}:{tmp_path}/theirs.tar:docker.io/library/web:2"
    copy(f"oci-archive:{tmp_path}/ours.tar", target)

    (image,) = await images.import_tar(tmp_path / "theirs.tar")

    assert images.find("web:2") == image
    assert image.config.exposed_ports == ("8080/tcp",)
    assert (Path(image.layers[1]) / "www/version").read_text() == "2\n"


async def test_names_can_be_taken_away(images: Images, tmp_path: Path) -> None:
    build.write_archive(tmp_path / "web.tar", pictures.web("1"), reference.parse("web:1"))
    await images.import_tar(tmp_path / "web.tar")
    assert "docker.io/library/web:1" in {image.reference for image in images.list()}

    await images.remove("web:1")

    assert images.find("web:1") is None
    assert list(images.list()) == []
    assert not list((tmp_path / "images/layers").iterdir())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither"),
        (b"\x1f\x8b rest", "gunzip"),
        (
            archives.archive([archives.member("index.json", b'{"manifests": []}')]),
            "holds no image for linux/",
        ),
        (archives.archive([archives.member("manifest.json", b'{"a": 1}')]), "docker save"),
        (
            archives.archive(
                [
                    archives.member(
                        "manifest.json", b'[{"Config": "../../etc/passwd", "Layers": [], "RepoTags": []}]'
                    )
                ]
            ),
            'lacks "../../etc/passwd"',
        ),
    ],
)
async def test_a_bad_archive_is_refused(content: bytes, why: str, images: Images, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(content)

    with pytest.raises(PullFailed, match=why) as caught:
        await images.import_tar(tmp_path / "bad.tar")

    assert caught.value.reason is Reason.BAD_IMAGE
