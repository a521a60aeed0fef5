"""Where tests build images: a real runtime, a real library, and a base image of busybox."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from agent.builds.builder import Builder
from agent.builds.cache import Cache
from agent.builds.executing import Hands
from agent.builds.order import Order, Progress
from agent.builds.workshop import Workshop
from agent.images.image import Image
from agent.images.images import Images
from agent.network.attachment import Attached
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig

BUSYBOX = "busybox:1"
_LINKS = "sh cat ls echo mkdir rm id env touch stat true false chmod chown ln nslookup"


class NoNetwork:
    """Loopback only."""

    async def attach(self, task: str) -> Attached:
        return Attached(task, "", (), "192.0.2.53")

    async def detach(self, task: str) -> None:
        return None


class Yard:
    """A node's rooms for builds, and short ways to build."""

    def __init__(self, directory: Path, images: Images, hands: Hands) -> None:
        self.context = directory / "context"
        self.context.mkdir()
        self.images = images
        self.workshop = Workshop(directory / "builds")
        self.workshop.open()
        self.cache = Cache(directory / "cache", images._library, self.workshop.blobs)
        self.images.hold(self.cache.open())
        self.hands = hands
        self.said: list[Progress] = []
        self._count = 0

    def file(self, path: str, content: str = "", mode: int = 0o644) -> None:
        target = self.context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)

    async def build(self, dockerfile: str, **options: Any) -> Image:
        self._count += 1
        self.said.clear()
        text = "\n".join(line.removeprefix("    ") for line in dockerfile.splitlines())
        order = Order(self.context, text.strip() + "\n", **options)
        name = f"build-{self._count}"
        return await Builder(order, name, self.images, self.workshop, self.cache, self.hands).build(
            self.said.append
        )

    @property
    def output(self) -> list[str]:
        return [one.text for one in self.said if one.kind == "output"]

    @property
    def cached(self) -> int:
        return len([one for one in self.said if one.kind == "cached"])

    def files(self, image: Image) -> dict[str, Path]:
        """Every path of the image, and where it lies; whiteouts respected."""
        found: dict[str, Path] = {}
        for layer in map(Path, image.layers):
            for path in sorted(layer.rglob("*")):
                name = str(path.relative_to(layer))
                if path.is_char_device() and path.stat().st_rdev == 0:
                    found = {
                        key: at for key, at in found.items() if key != name and not key.startswith(f"{name}/")
                    }
                else:
                    found[name] = path
        return found

    def read(self, image: Image, path: str) -> str:
        return self.files(image)[path].read_text()


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[Images, None]:
    layer = build.layer(
        [
            Item("bin", directory=True, mode=0o755),
            Item("bin/busybox", Path("/bin/busybox"), 0o755),
            *(Item(f"bin/{name}", target="busybox") for name in _LINKS.split()),
            Item("etc", directory=True, mode=0o755),
            Item("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
            Item("etc/group", b"root:x:0:\napp:x:1000:\n"),
            Item("sbin", target="bin"),
        ]
    )
    config = ImageConfig(environment=(("PATH", "/bin"), ("FROM_BASE", "yes")), command=("sh",))
    archive = directory / "busybox.tar"
    build.write_archive(archive, build.image([layer], config), reference.parse(BUSYBOX))
    images = await Images.open(directory / "images")
    await images.import_tar(archive)
    try:
        yield images
    finally:
        await images.close()
