"""The store on disk: nothing half done is ever visible, each layer is there once."""

from pathlib import Path

import pytest

from agent.images import prune
from agent.images.library import Library
from orch.oci import build, reference
from orch.oci.build import Built, Item
from orch.oci.image_config import ImageConfig

BASE = build.layer([Item("base", b"base")])
TOP = build.layer([Item("top", b"top")])


def put(library: Library, name: str, *layers: build.Layer) -> str:
    """An image under `name`, its layers adopted as if unpacked."""
    built = build.image(layers, ImageConfig(labels=(("name", name),)))
    for layer in layers:
        unpacked = library.new_layer()
        (unpacked / "content").write_text(layer.diff_id)
        library.adopt(unpacked, layer.diff_id, 4)
    library.add(built.body, config_of(built, layers), [reference.parse(name)])
    return built.digest


def config_of(built: Built, layers: tuple[build.Layer, ...]) -> bytes:
    shipped = {layer.descriptor.digest for layer in layers}
    return next(content for digest, content in built.blobs.items() if digest not in shipped)


def reopened(library: Library, directory: Path, boot: str = "boot-1") -> Library:
    library.close()
    return Library.open(directory, boot=boot)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.open(tmp_path, boot="boot-1")


def found(library: Library, name: str) -> list[str]:
    image = library.find(reference.parse(name))
    return [(Path(layer) / "content").read_text() for layer in image.layers] if image else []


def test_an_image_outlives_the_agent(library: Library, tmp_path: Path) -> None:
    digest = put(library, "web:1", BASE, TOP)

    again = reopened(library, tmp_path)

    assert found(again, "web:1") == [BASE.diff_id, TOP.diff_id]
    assert again.image(digest, "x").config.labels == (("name", "web:1"),)


def test_a_layer_never_made_durable_is_not_believed_by_a_later_boot(library: Library, tmp_path: Path) -> None:
    put(library, "web:1", BASE)
    library.settle()
    put(library, "web:2", BASE, TOP)

    again = reopened(library, tmp_path, boot="boot-2")

    assert found(again, "web:1") == [BASE.diff_id]
    assert found(again, "web:2") == []
    assert not again.has_layer(TOP.diff_id)
    assert len([path for path in (tmp_path / "layers").iterdir() if path.is_dir()]) == 1


def test_the_record_of_an_image_is_made_durable_with_its_layers(library: Library) -> None:
    put(library, "web:1", BASE)
    assert library.has_unsettled
    library.settle()
    assert not library.has_unsettled

    put(library, "web:2", BASE)
    assert not library.has_unsettled, "with layers that are durable it is so at once"


def test_leftovers_are_cleared_away(library: Library, tmp_path: Path) -> None:
    put(library, "web:1", BASE)
    half = library.new_layer()
    (half / "half").write_text("x")
    (tmp_path / "layers" / ("f" * 24)).mkdir()
    (tmp_path / "images" / ("e" * 64 + ".json")).write_text('{"manifest": "{')
    (tmp_path / "layers" / ("d" * 24 + ".json.new")).write_text("{")

    again = reopened(library, tmp_path)
    again.empty_trash()

    assert found(again, "web:1") == [BASE.diff_id]
    assert not list((tmp_path / "incoming").iterdir())
    assert not list((tmp_path / "trash").iterdir())
    assert len(list((tmp_path / "layers").iterdir())) == 2, "one layer and its marker"
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.parametrize("damaged", ["references.json", "layers/*.json", "images/*.json"])
def test_a_damaged_file_loses_an_image_but_not_the_library(
    damaged: str, library: Library, tmp_path: Path
) -> None:
    put(library, "web:1", BASE)
    for path in tmp_path.glob(damaged):
        path.write_text('{"diff_id": 3')

    again = reopened(library, tmp_path)
    assert found(again, "web:1") == []
    put(again, "web:1", BASE)

    assert found(again, "web:1") == [BASE.diff_id]


def test_a_layer_goes_with_its_last_image(library: Library) -> None:
    one, two = put(library, "web:1", BASE), put(library, "web:2", BASE, TOP)

    library.remove(two)
    assert found(library, "web:1") == [BASE.diff_id]
    assert not library.has_layer(TOP.diff_id)

    library.remove(one)
    assert library.layers == ()


def test_a_layer_somebody_is_about_to_use_stays(library: Library) -> None:
    digest = put(library, "web:1", BASE)

    with library.holding([BASE.diff_id]):
        library.remove(digest)
        assert library.has_layer(BASE.diff_id)

    library.remove_unused_layers()
    assert not library.has_layer(BASE.diff_id)


def test_an_image_goes_with_its_last_tag(library: Library) -> None:
    digest = put(library, "web:1", BASE)
    library.name(digest, [reference.parse("web:latest"), reference.parse(f"web@{digest}")])

    assert library.forget(reference.parse("web:1")) is None
    assert library.forget(reference.parse("web:latest")) == digest
    assert library.forget(reference.parse("web:unknown")) is None


def test_a_repeated_layer_is_stacked_once(library: Library) -> None:
    put(library, "web:1", BASE, TOP, BASE)

    assert found(library, "web:1") == [TOP.diff_id, BASE.diff_id]


def test_two_agents_do_not_share_a_library(library: Library, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in use by another agent"):
        Library.open(tmp_path)
    library.close()


def test_the_directories_are_closed_to_others(library: Library, tmp_path: Path) -> None:
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_only_old_and_idle_images_are_removable() -> None:
    images = [prune.Candidate("old", 10), prune.Candidate("older", 5), prune.Candidate("new", 95)]

    assert prune.removable(images, {}, now=100, older_than=50) == ["older", "old"]
    assert prune.removable(images, {"older"}, now=100, older_than=50) == ["old"]
    assert prune.removable(images, {}, now=100, older_than=1000) == []
