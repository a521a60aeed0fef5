"""The proxy's files: they always say what it is now, so that a process which begins is right from the first request."""

import contextlib
import os
from pathlib import Path

from agent.routes import config, process
from agent.routes.wanted import Wanted


def write(places: config.Places, wanted: Wanted) -> None:
    """All of them. Keys lie in a tmpfs of root's. Waits for the disk."""
    jail, keys = Path(places.jail), Path(places.certificates)
    jail.mkdir(mode=0o755, parents=True, exist_ok=True)
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, entries in config.maps(wanted).items():
        _put(Path(places.map(name)), config.map_text(entries))
    certificates = {Path(places.certificate(each.name)): each for each in wanted.certificates}
    for path, each in certificates.items():
        _put(path, each.pem, 0o400)
    for path in set(keys.glob("*.pem")) - certificates.keys():
        path.unlink(missing_ok=True)
    lines = [config.certificate_line(places, each) for each in wanted.certificates]
    _put(Path(places.certificate_list), "".join(f"{line}\n" for line in lines))
    _put(Path(places.config), config.text(wanted, places))
    process.tidy_log(places)


def _put(path: Path, text: str, mode: int = 0o600) -> None:
    """Whole or not at all; left alone where it is so already."""
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    half = path.with_name(path.name + ".new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as file:
        file.write(text)
    half.replace(path)
