"""Small real images, made on the spot."""

import subprocess
from functools import cache
from pathlib import Path

from orch.oci import build
from orch.oci.build import Built, Item, Layer
from orch.oci.image_config import ImageConfig

BUSYBOX = Path("/bin/busybox")
PATH = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


@cache
def busybox_layer() -> Layer:
    """busybox under all of its names."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    folders = [
        Item(name, mode=0o755, directory=True) for name in ("bin", "etc", "home", "root", "var", "www")
    ]
    return build.layer(
        [
            *folders,
            Item("tmp", mode=0o1777, directory=True),
            Item("bin/busybox", BUSYBOX, 0o755),
            *(Item(f"bin/{name}", target="busybox") for name in applets if name != "busybox"),
            Item("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nwww:x:1000:1000:web:/www:/bin/sh\n"),
            Item("etc/group", b"root:x:0:\nwww:x:1000:\n"),
        ]
    )


def busybox(architecture: str = "amd64", variant: str = "", marker: str = "") -> Built:
    """A shell and everything around it; `marker` makes another image of the same base."""
    layers = [busybox_layer()]
    if marker:
        layers.append(build.layer([Item("marker", marker.encode())]))
    config = ImageConfig(command=("sh",), environment=(PATH,), architecture=architecture, variant=variant)
    return build.image(layers, config)


def web(version: str) -> Built:
    """busybox httpd on port 8080: /version says which one, /healthz that it is well."""
    pages = build.layer(
        [
            Item("www/index.html", f"hello from {version}\n".encode()),
            Item("www/version", f"{version}\n".encode()),
            Item("www/healthz", b"ok\n"),
        ]
    )
    config = ImageConfig(
        entrypoint=("/bin/busybox", "httpd"),
        command=("-f", "-p", "8080", "-h", "/www"),
        environment=(PATH, ("VERSION", version)),
        working_dir="/www",
        exposed_ports=("8080/tcp",),
    )
    return build.image([busybox_layer(), pages], config)


def multi_platform() -> Built:
    """An index of three; each says in /marker which one it is."""
    kinds = [("amd64", ""), ("arm64", "v8"), ("arm", "v7")]
    return build.index(
        [busybox(architecture, variant, f"{architecture}{variant}") for architecture, variant in kinds]
    )
