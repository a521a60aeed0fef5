"""Files that a build copies, and what it must not reach."""

# ruff: noqa: ASYNC240  small files do not block

import io
import tarfile
from pathlib import Path

import pytest

from tests.support.yard import BUSYBOX, Yard

pytestmark = pytest.mark.root


async def test_files_come_with_owners_modes_and_without_what_is_ignored(yard: Yard) -> None:
    yard.file("src/main.py", "print()", 0o600)
    yard.file("src/tests/big", "x")
    yard.file("src/notes.md")
    (yard.context / "src" / "link").symlink_to("main.py")
    image = await yard.build(
        f"""
        FROM {BUSYBOX}
        WORKDIR /srv/app
        COPY --chown=app src .
        COPY --chmod=755 src/main.py /bin/run
        COPY src/*.py src/link /many/
        """.replace("    " * 2, ""),
        ignored="**/*.md\nsrc/tests\n",
    )

    files = yard.files(image)
    main = files["srv/app/main.py"].stat()
    assert (main.st_uid, main.st_gid, main.st_mode & 0o777) == (1000, 1000, 0o600)
    assert files["srv/app/link"].is_symlink()
    assert files["bin/run"].stat().st_mode & 0o777 == 0o755
    assert files["many/link"].is_file()
    assert not [name for name in files if name.endswith((".md", "tests"))]


async def test_links_of_the_image_are_followed_inside_it(yard: Yard) -> None:
    yard.file("tool", "#!/bin/sh\n", 0o755)
    image = await yard.build(
        f"FROM {BUSYBOX}\nRUN ln -s /etc /abroad\nCOPY tool /sbin/tool\nCOPY tool /abroad/x\n"
    )

    files = yard.files(image)
    assert files["sbin"].is_symlink()
    assert files["bin/tool"].read_text() == "#!/bin/sh\n"
    assert files["etc/x"].is_file()
    assert not Path("/etc/x").exists()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
async def test_an_archive_is_unpacked_by_add(yard: Yard, compression: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=f"w:{compression}") as tar:
        entry = tarfile.TarInfo("dir/file")
        entry.size, entry.uid, entry.mode = 2, 7, 0o640
        tar.addfile(entry, io.BytesIO(b"hi"))
    (yard.context / "a.tgz").write_bytes(archive.getvalue())
    image = await yard.build(f"FROM {BUSYBOX}\nADD a.tgz /there/\nCOPY a.tgz /here/\n")

    files = yard.files(image)
    assert (files["there/dir/file"].read_text(), files["there/dir/file"].stat().st_uid) == ("hi", 7)
    assert files["here/a.tgz"].is_file()


async def test_a_context_cannot_lead_to_the_host(yard: Yard) -> None:
    (yard.context / "out").symlink_to("/etc/hostname")
    (yard.context / "up").symlink_to("../../../../../../etc")
    (yard.context / "etc").mkdir()
    yard.file("etc/hostname", "inside")
    image = await yard.build(f"FROM {BUSYBOX}\nCOPY out /a\nCOPY up/hostname /b\n")

    assert [yard.read(image, name) for name in ("a", "b")] == ["inside", "inside"]


async def test_a_link_in_a_context_shows_a_command_nothing_of_the_host(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("of the host")
    (yard.context / "src").mkdir()
    (yard.context / "src" / "src").symlink_to(tmp_path / "theirs")
    await yard.build(f"""
    FROM {BUSYBOX}
    RUN --mount=type=bind,source=src,target=/src cat /src /src/src; true
    """)

    assert "of the host" not in yard.output
