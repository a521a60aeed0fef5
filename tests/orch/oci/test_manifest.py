"""Manifests and configurations: good ones are read, bad ones refused with a reason."""

import json

import pytest

from orch.oci import image_config, manifest
from orch.oci.failure import ImageFailure
from orch.oci.manifest import Descriptor, Index, IndexEntry, Manifest, Platform

DIGEST = "sha256:" + "a" * 64


def described(media_type: str = "m", size: object = 1, digest: str = DIGEST) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def an_index(*platforms: Platform | None) -> Index:
    return Index(
        tuple(IndexEntry(Descriptor("m", f"sha256:{i:064x}", 1), one) for i, one in enumerate(platforms))
    )


def chosen(index: Index, wanted: Platform) -> int:
    return int(manifest.choose(index, wanted).digest.removeprefix("sha256:"), 16)


@pytest.mark.parametrize("media_type", manifest.MANIFESTS)
def test_both_families_of_manifests_are_read(media_type: str) -> None:
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "config": described(), "layers": [described()]}
    )

    assert manifest.parse(body.encode()) == Manifest(
        Descriptor("m", DIGEST, 1), (Descriptor("m", DIGEST, 1),)
    )


def test_the_nearest_variant_is_chosen() -> None:
    amd, v8, v7, v6 = (
        Platform("linux", "amd64"),
        Platform("linux", "arm64", "v8"),
        Platform("linux", "arm", "v7"),
        Platform("linux", "arm", "v6"),
    )
    index = an_index(v6, v7, v8, amd)

    assert chosen(index, Platform("linux", "amd64")) == 3
    assert chosen(index, Platform("linux", "arm64")) == 2
    assert chosen(index, v7) == 1
    assert chosen(index, v6) == 0
    assert chosen(an_index(v6, amd), v7) == 0


def test_an_exact_variant_wins_and_a_newer_one_never_runs() -> None:
    newer, plain = Platform("linux", "amd64", "v3"), Platform("linux", "amd64")

    assert chosen(an_index(newer, plain), plain) == 1
    with pytest.raises(ImageFailure, match="not made for linux/amd64; it is made for linux/amd64/v3"):
        manifest.choose(an_index(newer), plain)


def test_a_lonely_entry_without_a_platform_is_taken() -> None:
    assert chosen(an_index(None), Platform("linux", "amd64")) == 0


def test_a_configuration_becomes_values() -> None:
    body = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "config": {
            "Entrypoint": ["/web"],
            "Cmd": None,
            "Env": ["A=1=2", "EMPTY="],
            "User": "1000:1000",
            "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGINT",
            "Labels": {"b": "2", "a": "1"},
        },
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    }

    assert image_config.read(json.dumps(body).encode()) == image_config.ImageConfig(
        entrypoint=("/web",),
        environment=(("A", "1=2"), ("EMPTY", "")),
        user="1000:1000",
        working_dir="/srv",
        exposed_ports=("53/udp", "80/tcp"),
        volumes=("/data",),
        stop_signal="SIGINT",
        labels=(("a", "1"), ("b", "2")),
        architecture="arm64",
        os="linux",
        variant="v8",
        diff_ids=(DIGEST,),
    )


def with_layers(layers: object, **more: object) -> dict[str, object]:
    return {"schemaVersion": 2, "config": described(), "layers": layers} | more


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "not a JSON object"),
        ({}, "neither layers nor manifests"),
        ({"schemaVersion": 1, "fsLayers": []}, "schema 1"),
        (with_layers([], manifests=[]), "at once"),
        (with_layers({}), "layers is not a list"),
        (with_layers([described(size=-1)]), r"layers\[0\].size"),
        (with_layers([described(size="1")]), r"layers\[0\].size"),
        (with_layers([described(digest="sha256:../../etc")]), "not a sha256 digest"),
        (with_layers([described() | {"urls": ["http://elsewhere"]}]), "foreign"),
        (with_layers([described()] * 128), "128 layers"),
        ({"schemaVersion": 2, "layers": []}, "no configuration"),
    ],
)
def test_a_bad_manifest_is_refused_with_a_reason(document: object, why: str) -> None:
    body = document if isinstance(document, str) else json.dumps(document)

    with pytest.raises(ImageFailure, match=why):
        manifest.parse(body.encode())


@pytest.mark.parametrize(
    "document",
    [
        {"config": []},
        {"config": {"Env": "A=1"}},
        {"config": {"Env": [1]}},
        {"config": {"User": ["root"]}},
        {"config": {"Labels": {"a": {}}}},
        {"config": {"Cmd": ["a\0b"]}},
        {"rootfs": {"diff_ids": ["x"]}},
    ],
)
def test_a_bad_configuration_is_refused(document: object) -> None:
    with pytest.raises(ImageFailure):
        image_config.read(json.dumps(document).encode())


def test_four_mebibytes_are_the_end() -> None:
    with pytest.raises(ImageFailure, match="larger than 4 MiB"):
        manifest.parse(b" " * (manifest.LARGEST_MANIFEST + 1))


@pytest.mark.parametrize(
    ("said", "told"),
    [(manifest.OCI_INDEX, manifest.OCI_MANIFEST), (manifest.DOCKER_MANIFEST, manifest.OCI_INDEX)],
)
def test_a_document_that_two_programs_would_read_differently_is_refused(said: str, told: str) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": said, "config": described(), "layers": []})

    with pytest.raises(ImageFailure, match="and the registry that it is"):
        manifest.parse(body.encode(), told)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("linux/arm64", Platform("linux", "arm64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("arm64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("Linux/x86_64", Platform("linux", "amd64")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("armel", Platform("linux", "arm", "v6")),
    ],
)
def test_a_platform_is_written_as_docker_has_it(text: str, means: Platform) -> None:
    assert manifest.platform(text) == means


@pytest.mark.parametrize("text", ["", "linux/", "/arm64", "a/b/c/d", "linux/amd64,linux/arm64"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ImageFailure, match="write OS/ARCH"):
        manifest.platform(text)
