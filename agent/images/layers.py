"""Unpacks one layer, as the top of overlayfs wants it: whiteouts become devices, opaque directories a mark.

The layer is a stranger's: its paths go through `tree`, its sizes through `limits`, and the directory
becomes visible (in `library`) only after its digests proved right.
"""

import errno
import os
import stat
from typing import NamedTuple

from agent.images import tar
from agent.images.limits import Limits
from agent.images.sparse import Sparse
from agent.images.stream import Ahead, Read, Stream
from agent.images.tree import Tree
from orch.oci.failure import ImageFailure, Reason, bad_image

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE_BYTES = 4096
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
_MODES = {
    tar.Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    tar.Kind.BLOCK_DEVICE: stat.S_IFBLK,
    tar.Kind.FIFO: stat.S_IFIFO,
}
# Overlay's own marks would let a layer rearrange the layers below; labels belong to this host's policy.
_DROPPED_ATTRIBUTES = (
    "trusted.overlay.",
    "user.overlay.",
    "security.selinux",
    "security.evm",
    "security.ima",
)


class Expected(NamedTuple):
    """What was promised of a layer. An empty digest was not promised."""

    size: int
    digest: str = ""
    diff_id: str = ""


class Unpacked(NamedTuple):
    digest: str
    diff_id: str
    size: int
    """Bytes of the archive, uncompressed."""
    entries: int


def unpack(read: Read, root: str, expected: Expected, limits: Limits, ahead: Ahead = iter) -> Unpacked:
    """The layer of `expected.size` bytes that `read` yields, unpacked beneath the empty directory `root`."""
    stream = Stream(read, expected.size, limits, ahead)
    writer = _Writer(Tree(root, limits.depth), stream)
    count = 0
    try:
        for entry in tar.entries(stream, limits):
            count += 1
            writer.put(entry)
        stream.drain()
        writer.set_directory_times()
    except OSError as problem:
        raise _unwritable(problem) from problem
    finally:
        writer.close()
    _verify("a layer", expected.digest, stream.blob_digest)
    _verify("an unpacked layer", expected.diff_id, stream.diff_id)
    return Unpacked(stream.blob_digest, stream.diff_id, stream.length, count)


class _Writer:
    """Puts entries into the tree, one after another."""

    def __init__(self, tree: Tree, stream: Stream) -> None:
        self._tree = tree
        self._stream = stream
        self._directory_times: dict[tuple[str, ...], int] = {}

    def close(self) -> None:
        self._tree.close()

    def put(self, entry: tar.Entry) -> None:
        parts = _parts(entry.name)
        if not parts:
            self._put_root(entry)
            return
        above, name = parts[:-1], parts[-1]
        parent = self._tree.directory(above)
        if name == _OPAQUE:
            os.setxattr(parent, "trusted.overlay.opaque", b"y")
        elif name.startswith(_AUFS):
            return  # aufs' own bookkeeping, found in very old images
        elif name.startswith(_WHITEOUT):
            self._tree.white_out(parent, _hidden(name, entry))
        else:
            self._put_entry(entry, parts, parent, name)

    def _put_root(self, entry: tar.Entry) -> None:
        if entry.kind is not tar.Kind.DIRECTORY:
            raise bad_image(f"the root of a layer is a {entry.kind.value}")
        fd = self._tree.directory(())
        _own(fd, entry)
        self._directory_times[()] = entry.mtime_ns

    def _put_entry(self, entry: tar.Entry, parts: tuple[str, ...], parent: int, name: str) -> None:
        match entry.kind:
            case tar.Kind.DIRECTORY:
                self._tree.make_directory(parent, name)
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
                try:
                    _own(fd, entry)
                finally:
                    os.close(fd)
                self._directory_times[parts] = entry.mtime_ns
            case tar.Kind.FILE:
                self._vacate(parent, name)
                self._write_file(entry, parent, name)
            case tar.Kind.SYMLINK:
                if not entry.target:
                    raise bad_image(f'"{entry.name:.200}" points to nothing')
                self._vacate(parent, name)
                os.symlink(entry.target, name, dir_fd=parent)
                _own_by_name(parent, name, entry)
            case tar.Kind.HARD_LINK:
                self._link(entry, parts, name)
            case tar.Kind.CHARACTER_DEVICE | tar.Kind.BLOCK_DEVICE | tar.Kind.FIFO:
                self._vacate(parent, name)
                os.mknod(name, _MODES[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=parent)
                _own_by_name(parent, name, entry)

    def _vacate(self, parent: int, name: str) -> None:
        self._tree.vacate(parent, name)

    def _write_file(self, entry: tar.Entry, parent: int, name: str) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.holes:
                self._write_parts(fd, entry, entry.holes)
            else:
                self._pour(fd, entry, entry.size)
            _own(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write_parts(self, fd: int, entry: tar.Entry, holes: Sparse) -> None:
        for offset, size in holes.parts:
            os.lseek(fd, offset, os.SEEK_SET)
            self._pour(fd, entry, size)
        os.ftruncate(fd, holes.length)

    def _pour(self, fd: int, entry: tar.Entry, size: int) -> None:
        """What is zeros for long becomes a hole."""
        written, ends_in_hole = 0, False
        for piece in self._stream.pieces(size):
            written += len(piece)
            ends_in_hole = _is_hole(piece)
            if ends_in_hole:
                os.lseek(fd, len(piece), os.SEEK_CUR)
            else:
                _write(fd, piece)
        if written < size:
            raise bad_image(f'a layer\'s tar archive ends in the middle of "{entry.name:.200}"')
        if ends_in_hole:
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))

    def _link(self, entry: tar.Entry, parts: tuple[str, ...], name: str) -> None:
        target = _parts(entry.target)
        if not target:
            raise bad_image(f'"{entry.name:.200}" is a hard link to a directory')
        if target == parts:
            return
        try:
            source = os.dup(self._tree.directory(target[:-1], create=False))
        except FileNotFoundError:
            raise _dangling(entry) from None
        try:
            parent = self._tree.directory(parts[:-1])
            found = os.lstat(target[-1], dir_fd=source)
            if stat.S_ISDIR(found.st_mode):
                raise bad_image(f'"{entry.name:.200}" is a hard link to a directory')
            if _same_file(found, parent, name):
                return
            self._vacate(parent, name)
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise _dangling(entry) from None
        finally:
            os.close(source)

    def set_directory_times(self) -> None:
        """Last of all, for every file written into a directory changes its time."""
        self._tree.forget()
        for parts, mtime_ns in self._directory_times.items():
            try:
                fd = self._tree.directory(parts, create=False)
            except (FileNotFoundError, ImageFailure):
                continue  # a later entry took its place
            os.utime(fd, ns=(mtime_ns, mtime_ns))


def _parts(name: str) -> tuple[str, ...]:
    """The components of a path, which is always beneath the layer's root; `..` has no business there."""
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise bad_image(f'a layer has a path that climbs out: "{name:.200}"')
    return parts


def _hidden(name: str, entry: tar.Entry) -> str:
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in {"", ".", ".."}:
        raise bad_image(f'"{entry.name:.200}" hides nothing that has a name')
    return hidden


def _own(fd: int, entry: tar.Entry) -> None:
    """Owner first: changing it clears setuid and capabilities."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for attribute, value in entry.xattrs.items():
        if not attribute.startswith(_DROPPED_ATTRIBUTES):
            _set_attribute(fd, attribute, value, entry)


def _own_by_name(parent: int, name: str, entry: tar.Entry) -> None:
    """For what cannot be opened: links have no mode, devices must not be touched."""
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    if entry.kind is not tar.Kind.SYMLINK:
        os.chmod(name, entry.mode, dir_fd=parent)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)


def _set_attribute(fd: int, attribute: str, value: bytes, entry: tar.Entry) -> None:
    try:
        os.setxattr(fd, attribute, value)
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise
        if attribute == "security.capability":
            raise bad_image(
                f'the file capabilities of "{entry.name:.200}" cannot be stored: {problem.strerror}'
            ) from None
        # Other attributes (user.*, ACLs) are advice that not every file system can keep.


def _is_hole(piece: memoryview) -> bool:
    """The ends are looked at first: a piece of something else costs nothing."""
    return len(piece) >= _HOLE_BYTES and not piece[0] and not piece[-1] and not piece.tobytes().strip(b"\0")


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _same_file(found: os.stat_result, parent: int, name: str) -> bool:
    try:
        there = os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)


def _verify(what: str, wanted: str, found: str) -> None:
    if wanted and wanted != found:
        raise ImageFailure(Reason.DIGEST_MISMATCH, f"{what} has digest {found}, but {wanted} was promised")


def _dangling(entry: tar.Entry) -> ImageFailure:
    return bad_image(
        f'"{entry.name:.200}" is a hard link to "{entry.target:.200}", which is not in its layer'
    )


def _unwritable(problem: OSError) -> ImageFailure:
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ImageFailure(Reason.DISK_FULL, "the disk is full: free some space, or remove images")
    return bad_image(f"a layer cannot be written: {problem}")
