"""What containers mount besides their image: configs, secrets, and the files of name service.

RUN/secrets/               a tmpfs of root's: secrets are never on a disk
    values/NS/NAME/VERSION     one secret as it came
    tasks/KEY/CONTAINER/N      an entry of it, owned by who the container runs as
RUN/files/                 the same for configs, and hosts, resolv.conf, hostname of each task
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.linux import constants as c
from agent.linux import syscalls
from agent.reconciler import naming
from agent.reconciler.accounts import Account
from agent.reconciler.asked import Asked, FileKey, mounts_of
from agent.reconciler.configuration import Mounted
from orch import wire
from orch.model.assignment import File
from orch.model.container import ContainerSpec, FileMount
from orch.model.names import ObjectName
from orch.oci import keyring
from orch.oci.auth import Credentials

CONFIG_MODE = 0o444
SECRET_MODE = 0o400
HOST_RESOLVERS = Path("/etc/resolv.conf")


class FileMissing(Exception):
    """An entry that a container mounts is not there; the sentence says which and what to do."""


class Files:
    """One per run directory. Its methods wait for a disk: call them in a thread where that matters."""

    def __init__(self, run_dir: Path, resolv_conf: Path = HOST_RESOLVERS) -> None:
        """`resolv_conf` is the node's own: its search domains and options are the tasks' too."""
        self._resolv_conf = resolv_conf
        self._secrets = run_dir / "secrets"
        self._files = run_dir / "files"

    def open(self) -> None:
        """Make the directories, and mount the tmpfs unless an agent before us did."""
        for directory in (self._secrets, self._files):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._secrets.is_mount():
            flags = c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC
            syscalls.mount("tmpfs", str(self._secrets), "tmpfs", flags, "mode=0700")

    def have(self) -> frozenset[FileKey]:
        """The configs and secrets that are here."""
        return frozenset(
            (secret, path.parent.parent.name, path.parent.name, int(path.name))
            for secret in (False, True)
            for path in (self._root(secret) / "values").glob("*/*/*")
            if path.name.isdigit()
        )

    def keep(self, files: Iterable[File]) -> frozenset[FileKey]:
        """Exactly these from now on. A secret without data, as in the ledger, is kept where it is here."""
        kept = set()
        for file in files:
            key = (file.secret, file.name.namespace, file.name.name, file.version)
            path = self._value(key)
            if file.data and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(f"{path}.new", wire.encode(file), 0o400)
                path.with_name(path.name + ".new").rename(path)
            if path.exists():
                kept.add(key)
        for key in self.have() - kept:
            self._value(key).unlink(missing_ok=True)
        return frozenset(kept)

    def credentials(self, namespace: str) -> dict[str, Credentials]:
        """Who a namespace's tasks are at which registry. Secrets count in the order of their names."""
        files = [file for file in self._newest(namespace) if file.type == keyring.SECRET_TYPE]
        return keyring.merged(file.data for file in files)

    def secrets_of_type(self, kind: str) -> dict[ObjectName, dict[str, bytes]]:
        """Of all namespaces, in their newest versions that are here."""
        return {file.name: file.data for file in self._newest("*") if file.type == kind}

    def _newest(self, namespaces: str) -> list[File]:
        """Secrets, by name. `namespaces` is one, or * for all."""
        newest: dict[Path, Path] = {}
        for path in (self._root(secret=True) / "values").glob(f"{namespaces}/*/*"):
            known = newest.get(path.parent)
            if path.name.isdigit() and (known is None or int(known.name) < int(path.name)):
                newest[path.parent] = path
        return [wire.decode(newest[folder].read_bytes(), File) for folder in sorted(newest)]

    def prepare(
        self, asked: Asked, task: naming.Naming, accounts: dict[str, Account]
    ) -> dict[str, tuple[Mounted, ...]]:
        """Lay out all files of a task; what each container mounts, by its name. Raises FileMissing."""
        directory = f"{self._files}/tasks/{asked.key}"
        os.makedirs(directory, 0o755, exist_ok=True)  # noqa: PTH103  see _write
        names = tuple(_write_naming(directory, naming.texts(task, self._host_resolving())))
        return {
            spec.name: (*names, *self._entries(asked, spec, accounts[spec.name]))
            for spec in asked.all_containers()
        }

    def remove(self, key: str) -> None:
        """All files of a task; what is gone already is fine."""
        for root in (self._files, self._secrets):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(root / "tasks" / key)

    def tasks(self) -> set[str]:
        """The keys of all tasks that have files here."""
        return {path.name for root in (self._files, self._secrets) for path in (root / "tasks").glob("*")}

    def close_for_good(self) -> None:
        """Remove everything, with the tmpfs."""
        if self._secrets.is_mount():
            syscalls.umount(str(self._secrets), c.MNT_DETACH)
        for directory in (self._secrets, self._files):
            shutil.rmtree(directory, ignore_errors=True)

    def _entries(self, asked: Asked, spec: ContainerSpec, account: Account) -> Iterable[Mounted]:
        for number, (secret, mount) in enumerate(mounts_of(spec)):
            name, data = self._entry((secret, asked.id.namespace, mount.source, mount.version), mount)
            path = self._root(secret) / "tasks" / asked.key / spec.name / str(number)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            mode = mount.mode or (SECRET_MODE if secret else CONFIG_MODE)
            _write(str(path), data, mode, (account.uid, account.gid))
            yield Mounted(str(path), mount.target or (f"/run/secrets/{name}" if secret else f"/{name}"))

    def _entry(self, key: FileKey, mount: FileMount) -> tuple[str, bytes]:
        what = f"{'secret' if key[0] else 'config'} {mount.source}"
        try:
            data = wire.decode(self._value(key).read_bytes(), File).data
        except FileNotFoundError:
            raise FileMissing(
                f"{what}, version {mount.version}, has not come from the control plane"
            ) from None
        if mount.key in data:
            return mount.key, data[mount.key]
        if not mount.key and len(data) == 1:
            return next(iter(data.items()))
        offered = ", ".join(sorted(data)) or "nothing"
        raise FileMissing(f"{what} has no entry {mount.key or '(name one with key)'}; it has {offered}")

    def _value(self, key: FileKey) -> Path:
        secret, namespace, name, version = key
        return self._root(secret) / "values" / namespace / name / str(version)

    def _host_resolving(self) -> naming.HostResolving:
        try:
            return naming.read(self._resolv_conf.read_text(errors="replace"))
        except OSError:
            return naming.HostResolving()

    def _root(self, secret: bool) -> Path:
        return self._secrets if secret else self._files


def _write_naming(directory: str, texts: Mapping[str, str]) -> Iterable[Mounted]:
    for name, text in texts.items():
        _write(f"{directory}/{name}", text.encode(), 0o644)
        yield Mounted(f"{directory}/{name}", f"/etc/{name}")


def _write(path: str, data: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """A file that is there already is replaced whole: a container that runs keeps the one it has mounted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_EXCL, 0o600)
        half = ""
    except FileExistsError:
        half = f"{path}.new"
        fd = os.open(half, flags | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if owner != (0, 0):
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
    if half:
        os.rename(half, path)  # noqa: PTH104  as all of this: paths are strings where tasks start
