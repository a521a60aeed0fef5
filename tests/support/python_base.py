"""An image of this machine's own Python with a shell and pip, and an index of packages for it."""

import functools
import importlib.metadata
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pip

_LEFT_OUT = {
    *("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"),
    *("site-packages", "dist-packages", "EXTERNALLY-MANAGED"),
}
_PIP = "#!/usr/local/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


def rootfs(path: Path) -> None:
    """Into a tar: what `FROM scratch` and ADD make an image of."""
    program = os.path.realpath(sys.executable)
    standard = Path(os.path.realpath(sysconfig.get_path("stdlib")))
    with tarfile.open(path, "w", dereference=True) as tar:
        made: set[str] = set()

        def add(source: Path, name: str) -> None:
            if name not in made and source.exists():
                made.add(name)
                tar.add(source, name, filter=_filtered)

        add(Path(program), program.lstrip("/"))
        add(standard, str(standard).lstrip("/"))
        add(Path(pip.__file__).parent, f"{standard}/pip".lstrip("/"))
        natives = [program, *(str(path) for path in (standard / "lib-dynload").glob("*.so"))]
        for library in sorted({each for native in natives for each in _libraries(native)}):
            add(Path(library), library.lstrip("/"))
        _link(tar, "usr/local/bin/python3", program)
        _text(tar, "usr/local/bin/pip", _PIP)


def index(directory: Path, name: str) -> None:
    """A package of this environment as a wheel, in the form that pip asks of an index."""
    found = importlib.metadata.distribution(name)
    place = directory / "simple" / name
    place.mkdir(parents=True)
    wheel = f"{name}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(place / wheel, "w") as archive:
        for each in found.files or ():
            if (
                each.suffix != ".pyc"
                and ".." not in each.parts
                and each.name not in {"INSTALLER", "REQUESTED"}
            ):
                archive.write(str(found.locate_file(each)), str(each))
    (place / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')


def _filtered(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    info.uid = info.gid = 0
    name = info.name.rpartition("/")[2]
    return None if name in _LEFT_OUT or name.startswith(("config-", "_tkinter", "_test")) else info


@functools.cache
def _libraries(program: str) -> tuple[str, ...]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return tuple(word for word in said.split() if word.startswith("/"))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)


def _text(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o755, len(text)
    tar.addfile(info, io.BytesIO(text.encode()))
