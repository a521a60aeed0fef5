"""The demo's image: busybox serving HTTP, made on the spot and pushed to a real registry.

python deploy/demo/images.py 127.0.0.1:5000 web:1 web:2 web:3-broken
"""

import asyncio
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orch.oci import build, reference
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry

_BUSYBOX = Path("/bin/busybox")
_APPLETS = (
    "sh",
    "httpd",
    "cat",
    "echo",
    "ls",
    "ps",
    "id",
    "hostname",
    "ip",
    "wget",
    "sleep",
    "kill",
    "env",
    "dd",
    "nslookup",
)
_SERVE = "trap 'kill $! 2>/dev/null; exit 0' TERM; httpd -f -p 8080 -h /www & wait $!"
_BREAK = "echo 'orders.db: no such table: carts' >&2; exit 3"


def web(version: str) -> build.Built:
    """Serves /version, /healthz and a page on port 8080; a version with `broken` in it ends at once."""
    base = build.layer(
        [
            build.Item("bin", directory=True, mode=0o755),
            build.Item("etc", directory=True, mode=0o755),
            build.Item("tmp", directory=True, mode=0o1777),
            build.Item("bin/busybox", _BUSYBOX, 0o755),
            *(build.Item(f"bin/{name}", target="busybox") for name in _APPLETS),
            build.Item("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nwww:x:1000:1000:web:/www:/bin/sh\n"),
            build.Item("etc/group", b"root:x:0:\nwww:x:1000:\n"),
        ]
    )
    pages = build.layer(
        [
            build.Item("www/index.html", f"hello from version {version}\n".encode()),
            build.Item("www/version", f"{version}\n".encode()),
            build.Item("www/healthz", b"ok\n"),
        ]
    )
    config = ImageConfig(
        entrypoint=("/bin/sh", "-c", _BREAK if "broken" in version else _SERVE),
        environment=(("PATH", "/bin"), ("VERSION", version)),
        working_dir="/www",
        exposed_ports=("8080/tcp",),
    )
    return build.image([base, pages], config)


def push_web(registry: str, name: str) -> str:
    """Push the web image as `registry/name`, where name is `web:1`; answers the whole reference."""
    return asyncio.run(_push(registry, name))


async def _push(registry: str, name: str) -> str:
    whole = f"{registry}/{name}"
    async with Registry(plain_http=[registry]) as connection:
        await build.push(connection, reference.parse(whole), web(name.rpartition(":")[2]))
    return whole


if __name__ == "__main__":
    if not _BUSYBOX.exists():
        sys.exit("no /bin/busybox; try: apt install busybox-static")
    if subprocess.run([_BUSYBOX, "true"], check=False).returncode:
        sys.exit("/bin/busybox does not run; try: apt install busybox-static")
    for each in sys.argv[2:]:
        print(push_web(sys.argv[1], each))
