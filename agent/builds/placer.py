"""The process that works inside an image's tree: one order on stdin, one answer on stdout, both JSON.

It has a mount namespace of its own, in which it stacks the image's layers under a new one and makes them its root:
the mounts go when it goes, also when it is killed. Orders: `place`, `mkdir`, `digest`, `pack`.
"""

import json
import os
import sys
from typing import Any

from agent.builds import digesting, packing, placing, sources
from agent.builds.placing import Owner
from agent.builds.sources import CannotPlace, Source
from agent.linux import constants as c
from agent.linux import syscalls
from orch.dockerfile import ignore

Order = dict[str, Any]


def main() -> None:
    """Answers {"problem": …} with a sentence, or whatever the order asks for."""
    syscalls.die_with_parent()
    order: Order = json.load(sys.stdin)
    if os.getppid() != order["parent"]:
        return  # nobody waits for it any more
    os.umask(0)
    try:
        answer = _ORDERS[order["kind"]](order)
    except CannotPlace as problem:
        answer = {"problem": str(problem)}
    except OSError as error:
        answer = {"problem": f"{error.filename or 'the image'}: {error.strerror}"}
    json.dump(answer, sys.stdout)


def _place(order: Order) -> Order:
    how = placing.attributes_of(order)
    _own_mounts()
    source = _source(order)
    _enter_tree(order)
    found = sources.find(source, order["patterns"])
    several = order["several"] or len(found) > 1
    placing.place(source, found, how, several=several)
    for name, content in order["written"]:
        placing.write(name, content.encode(), how, several=several)
    return {}


def _mkdir(order: Order) -> Order:
    _own_mounts()
    _enter_tree(order)
    placing.make_directory(order["path"], Owner(*order["owner"]))
    return {}


def _digest(order: Order) -> Order:
    """Of files of another image."""
    _own_mounts()
    exclude = ignore.read("\n".join(order["exclude"]))
    return {"digest": digesting.of(_source(order), order["patterns"], exclude)}


def _pack(order: Order) -> Order:
    with open(order["blob"], "xb") as blob:
        packed = packing.pack(order["directory"], blob, order["latest"], order["first_id"])
        blob.flush()
        os.fsync(blob.fileno())
    return packed._asdict()


_ORDERS = {"place": _place, "mkdir": _mkdir, "digest": _digest, "pack": _pack}


def _own_mounts() -> None:
    syscalls.unshare(c.CLONE_NEWNS)
    syscalls.mount("", "/", "", c.MS_REC | c.MS_PRIVATE)


def _source(order: Order) -> Source:
    """A directory of the host, or the tree of another image."""
    path = order["context"]
    if layers := order["source_layers"]:
        path = order["source_place"]
        _stack(layers, path, "")
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Source(root, ignore.read("\n".join(order["ignored"])), keeps_owners=bool(layers))


def _enter_tree(order: Order) -> None:
    """From here on "/" is the image."""
    _stack(order["layers"], order["place"], f",upperdir={order['upper']},workdir={order['work']}")
    os.chroot(order["place"])
    os.chdir("/")


def _stack(layers: list[str], place: str, upper: str) -> None:
    """An overlay of these layers, lowest first; they lie beside each other, so short names are enough."""
    if not layers:
        raise CannotPlace("an image without layers has nothing to copy from")
    os.chdir(os.path.dirname(layers[0]))
    lower = ":".join(os.path.basename(layer) for layer in reversed(layers))
    if not upper and len(layers) == 1:
        syscalls.mount(layers[0], place, "", c.MS_BIND)
        return
    syscalls.mount("overlay", place, "overlay", c.MS_NODEV, f"lowerdir={lower}{upper}")
