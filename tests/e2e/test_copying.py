"""`orchctl cp`: files in and out, of containers that have neither tar nor a shell, and that may be hostile."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: box}
spec:
  image: REGISTRY/web:1
  init: true
  entrypoint: [/bin/sleep]
  command: ["1000"]
  stop: {drainDelay: 0s, gracePeriod: 1s}
  rollout: {minReady: 0s}
"""


def piped(cluster: Dev, *arguments: str, stdin: bytes = b"", expect: int = 0) -> bytes:
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    done = subprocess.run(
        [dev.ORCHCTL, *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == expect, done.stderr.decode()
    return done.stdout


def inside(cluster: Dev, script: str) -> str:
    return cluster.orchctl("exec", "box", "--", "sh", "-c", script)


def test_files_and_directories_go_in_and_come_out_unchanged(cluster: Dev, tmp_path: Path) -> None:
    cluster.apply(SERVICE)
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "data").write_bytes(os.urandom(3_000_000))
    (tree / "tool").write_text("#!/bin/sh\necho works\n")
    (tree / "tool").chmod(0o755)

    cluster.orchctl("cp", str(tree), "box:/tmp")
    assert inside(cluster, "/tmp/tree/tool; ls -ln /tmp/tree/tool").split()[:4] == [
        "works",
        "-rwxr-xr-x",
        "1",
        "0",
    ]
    cluster.orchctl("cp", f"{tree}/.", "task/box.1:/tmp/flat")
    assert "tool" in inside(cluster, "ls /tmp/flat")

    cluster.orchctl("cp", "box:/tmp/tree", str(tmp_path / "back"))
    assert (tmp_path / "back" / "sub" / "data").read_bytes() == (tree / "sub" / "data").read_bytes()
    assert (tmp_path / "back" / "tool").stat().st_mode & 0o777 == 0o755
    cluster.orchctl("cp", "svc/box:/etc/hostname", str(tmp_path))
    assert (tmp_path / "hostname").read_text() == "box.1\n"


def test_a_tar_stream_goes_both_ways(cluster: Dev, tmp_path: Path) -> None:
    cluster.apply(SERVICE)
    with tarfile.open(fileobj=io.BytesIO(piped(cluster, "cp", "box:/etc/hostname", "-"))) as archive:
        assert archive.getnames() == ["hostname"]
    (tmp_path / "f").write_text("from a tar")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(tmp_path / "f", "a/b/f")

    piped(cluster, "cp", "-", "box:/tmp", stdin=made.getvalue())

    assert inside(cluster, "cat /tmp/a/b/f") == "from a tar"


def test_links_in_the_container_lead_nowhere_but_into_the_container(cluster: Dev, tmp_path: Path) -> None:
    cluster.apply(SERVICE)
    name = f"orch-test-{os.getpid()}"
    inside(
        cluster, "mkdir -p /tmp/w; ln -s ../../../../../../../../tmp /tmp/up; ln -s /proc/1/root /tmp/root"
    )
    (tmp_path / "f").write_text("f")

    cluster.orchctl("cp", str(tmp_path / "f"), f"box:/tmp/up/{name}")
    assert inside(cluster, f"cat /tmp/{name}") == "f"
    assert not Path(f"/tmp/{name}").exists()
    assert "too many levels" in cluster.orchctl("cp", str(tmp_path / "f"), "box:/tmp/root/x", expect=1)

    inside(cluster, "mkdir /tmp/bad; ln -s / /tmp/bad/way")
    cluster.orchctl("cp", "box:/tmp/bad", str(tmp_path))
    (tmp_path / "way").mkdir()
    (tmp_path / "way" / "passwd").write_text("mine")
    said = cluster.orchctl("cp", f"{tmp_path}/way", "box:/tmp/bad", expect=1)
    assert "way is a symbolic link, which is not followed" in said


def test_what_cannot_be_copied_is_told(cluster: Dev, tmp_path: Path) -> None:
    cluster.apply(SERVICE)
    (tmp_path / "f").write_text("f")
    file = str(tmp_path / "f")

    assert "/nope: no such file or directory" in cluster.orchctl("cp", "box:/nope", str(tmp_path), expect=1)
    assert "make the directory first" in cluster.orchctl("cp", file, "box:/nope/x", expect=1)
    assert "read-only file system" in cluster.orchctl("cp", file, "box:/etc/hosts", expect=1)
    assert "box.1" in inside(cluster, "cat /etc/hosts"), "the mount over it is gone"
    assert "no container other; it has main" in " ".join(
        cluster.orchctl("cp", file, "box:/tmp", "-c", "other", expect=4).split()
    )
    assert "one of SOURCE and TARGET" in cluster.orchctl("cp", file, str(tmp_path), expect=2)
    assert "neither a file nor a directory" in cluster.orchctl("cp", "box:/dev/null", str(tmp_path), expect=1)
