"""A bundle: the directory of a config.json, read and checked as far as only a caller's files are concerned."""

import os

from agent.orchrun import jsontext
from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]


class Bundle:
    """The directory, its configuration, and the absolute path of the root file system."""

    __slots__ = ("config", "path", "rootfs")

    def __init__(self, path: str, config: "Config") -> None:
        self.path = path
        self.config = config
        root = config.get("root")
        if not isinstance(root, dict) or not root.get("path"):
            raise Failed("config.json: root.path is missing; it names the root file system, usually rootfs")
        self.rootfs = os.path.realpath(os.path.join(path, root["path"]))
        if not os.path.isdir(self.rootfs):
            raise Failed(f"root.path {self.rootfs}: no such file or directory")


def load(directory: str, name: str = "") -> Bundle:
    """The bundle in a directory; its configuration has another name where the caller says so."""
    path = os.path.abspath(directory or ".")
    if not os.path.isdir(path):
        raise Failed(f"chdir {path}: no such file or directory")
    config = jsontext.load(os.path.join(path, name or "config.json"))
    if not isinstance(config, dict):
        raise Failed("config.json: holds no object")
    version = config.get("ociVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise Failed(f"config.json: ociVersion {version!r} is not supported; this runtime knows 1.x")
    return Bundle(path, config)
