"""What orch builds, skopeo copies, umoci unpacks, and crun and podman run: each as it was meant."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from agent.builds import shipping
from orch.oci import reference
from orch.oci.registry import Registry
from tests.kernel import orchrun_bench, orchrun_callers
from tests.support.our_registry import our_registry
from tests.support.yard import BUSYBOX, Yard

pytestmark = pytest.mark.root

DOCKERFILE = f"""
FROM {BUSYBOX} AS tools
RUN mkdir /out && echo made > /out/tool && chmod 751 /out/tool
FROM {BUSYBOX}
ENV GREETING=hello
COPY --from=tools --chown=1000:1000 /out /opt/out
RUN rm /bin/nslookup && ln -s /opt/out/tool /tool
VOLUME /data
EXPOSE 8080
WORKDIR /srv/app
USER app
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $GREETING; id -u; pwd; cat /tool; [ -e /bin/nslookup ] || echo gone"]
"""

SAID = ["hello", "1000", "/srv/app", "made", "gone"]


@contextlib.asynccontextmanager
async def served(yard: Yard) -> AsyncIterator[str]:
    """host/name of what was built, in a registry on the loopback."""
    image = await yard.build(DOCKERFILE)
    async with our_registry(MemoryStore()) as host, Registry(plain_http={host}) as registry:
        name = reference.parse(f"{host}/built:1")
        await shipping.push(image, name, yard.images, registry, yard.workshop.blobs, {})
        yield f"{host}/built:1"


async def run(*command: str) -> str:
    """What it printed; the registry is served meanwhile."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, input=""
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return str(done.stdout)


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


async def test_skopeo_umoci_and_crun_run_it(yard: Yard, tmp_path: Path) -> None:
    needs("skopeo", "umoci", "crun")
    layout, bundle = f"{tmp_path}/layout:x", tmp_path / "bundle"
    async with served(yard) as name:
        await run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}")
    await run("umoci", "unpack", "--image", layout, str(bundle))
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"][:2] == ["/bin/sh", "-c"]
    assert config["process"]["cwd"] == "/srv/app"
    config["process"]["terminal"] = False
    config["mounts"] = [each for each in config["mounts"] if each["type"] != "cgroup"]
    (bundle / "config.json").write_text(json.dumps(config))

    crun = ["unshare", "-m", "sh", "-c", orchrun_bench._CRUN, "crun", f"--root={tmp_path}/crun"]
    said = await run(*crun, "run", "--bundle", str(bundle), f"orch-{uuid.uuid4().hex[:8]}")

    assert said.split() == SAID


async def test_podman_runs_it_as_its_words_say(yard: Yard, tmp_path: Path) -> None:
    needs("podman", "conmon", "runc")
    place = tmp_path / "podman"
    place.mkdir()
    archive = tmp_path / "built.tar"
    async with served(yard) as name:
        target = f"oci-archive:{archive}:localhost/built:1"
        await run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", target)
    with orchrun_callers.podman(place) as podman:
        podman.command[podman.command.index("--runtime") + 1] = "runc"
        await asyncio.to_thread(lambda: podman("load", "--quiet", "--input", str(archive), check=True))
        (found,) = json.loads(podman("image", "inspect", "localhost/built:1", check=True).out)
        assert found["Config"]["StopSignal"] == "SIGINT"
        assert found["Config"]["ExposedPorts"] == {"8080/tcp": {}}
        assert found["Config"]["Volumes"] == {"/data": {}}
        done = await asyncio.to_thread(lambda: podman.run("--rm", "--network", "none", "localhost/built:1"))
        assert done.out.split() == SAID, done
