"""Building: the same input gives the same bytes, and what is built can be read."""

from pathlib import Path

from orch.oci import build, image_config, manifest
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig


def test_the_same_input_gives_the_same_digest(tmp_path: Path) -> None:
    def built(folder: str) -> str:
        directory = tmp_path / folder
        (directory / "b").mkdir(parents=True)
        (directory / "b/f").write_text("x")
        (directory / "a").symlink_to("b/f")
        return build.image(
            [build.layer(build.directory_items(directory, "srv"))], ImageConfig(user="1")
        ).digest

    assert built("one") == built("two")


def test_a_configuration_survives_being_written_and_read() -> None:
    config = ImageConfig(
        entrypoint=("/a",),
        command=("b",),
        environment=(("A", "1"),),
        user="1:2",
        working_dir="/w",
        exposed_ports=("80/tcp",),
        volumes=("/v",),
        stop_signal="SIGINT",
        labels=(("l", "1"),),
        architecture="arm64",
        os="linux",
        variant="v8",
    )
    layer = build.layer([Item("f", b"x")])
    built = build.image([layer], config)
    parsed = manifest.parse(built.body)

    assert isinstance(parsed, manifest.Manifest)
    read = image_config.read(built.blobs[parsed.config.digest])
    assert read.diff_ids == (layer.diff_id,)
    assert (read.entrypoint, read.environment, read.platform) == (
        config.entrypoint,
        config.environment,
        config.platform,
    )
