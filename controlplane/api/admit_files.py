"""Configs and secrets: versioned, each version kept while a revision mounts it; secrets sealed. Pure."""

from typing import Protocol

from controlplane.api import assignments
from controlplane.api.draft import Draft
from controlplane.store import codec, keys
from orch.identity import pair
from orch.manifest import check, document
from orch.model.config import MOST_BYTES, TLS_TYPE, Config, Secret
from orch.model.names import ObjectName
from orch.model.service import Revision
from orch.oci import keyring


class Vault(Protocol):
    """What encrypts and decrypts; each envelope is bound to its place."""

    def seal(self, plain: bytes, place: str) -> bytes:
        """The envelope."""

    def open(self, envelope: bytes, place: str) -> bytes:
        """What was sealed. Raises sealing.Unsealable."""


def config(draft: Draft, wanted: Config) -> None:
    """A new version when the data changed."""
    if not _is_sound(draft, "config", wanted.data):
        return
    known = draft.cluster.configs.get(wanted.name)
    same = known is not None and known.data == wanted.data
    new = Config(
        wanted.name,
        wanted.data,
        version=_next_version(known, same=same),
        labels=wanted.labels,
        created_at=known.created_at if known else draft.now,
        updated_at=known.updated_at if known and same and known.labels == wanted.labels else draft.now,
    )
    draft.save_object("config", *wanted.name, known, new)
    if not same:
        draft.write(codec.Save(new, keys.version(False, wanted.name, new.version)))


def secret(draft: Draft, wanted: document.PlainSecret, vault: Vault) -> None:
    """Sealed; a new version when the data changed."""
    if not _is_sound(draft, "secret", wanted.data):
        return
    if wanted.type == keyring.SECRET_TYPE and (fault := _credentials_fault(wanted)):
        draft.refuse(fault)
        return
    if wanted.type == TLS_TYPE and not _is_pair(draft, wanted):
        return
    known = draft.cluster.secrets.get(wanted.name)
    same = known is not None and opened(known, vault) == wanted.data
    if same and known is not None:
        sealed = known.sealed
    else:
        sealed = {
            name: vault.seal(content, _place(wanted.name, name)) for name, content in wanted.data.items()
        }
    new = Secret(
        wanted.name,
        sealed,
        type=wanted.type or "opaque",
        version=_next_version(known, same=same),
        labels=wanted.labels,
        created_at=known.created_at if known else draft.now,
        updated_at=known.updated_at if known and same and known.labels == wanted.labels else draft.now,
    )
    draft.save_object("secret", *wanted.name, known, new)
    if not same:
        draft.write(codec.Save(new, keys.version(True, wanted.name, new.version)))


def opened(known: Secret, vault: Vault) -> dict[str, bytes]:
    """The content. Raises sealing.Unsealable."""
    return {name: vault.open(envelope, _place(known.name, name)) for name, envelope in known.sealed.items()}


def entries(draft: Draft, *, is_secret: bool, name: ObjectName) -> tuple[int, frozenset[str]] | None:
    """Version and entries of a config or secret as it will be after this change; None when there is none."""
    key = keys.secret(name) if is_secret else keys.config(name)
    edit = draft.edits.get(key)
    found: Config | Secret | None
    if isinstance(edit, codec.Drop):
        return None
    if isinstance(edit, codec.Save) and isinstance(edit.value, Config | Secret):
        found = edit.value
    else:
        found = draft.cluster.secrets.get(name) if is_secret else draft.cluster.configs.get(name)
    if found is None:
        return None
    names = found.sealed if isinstance(found, Secret) else found.data
    draft.look_at(key)
    return found.version, frozenset(names)


def forget_versions(draft: Draft) -> None:
    """Older versions of what is written here that no revision mounts."""
    written = [edit.value for edit in draft.edits.values() if isinstance(edit, codec.Save)]
    changed = {(isinstance(each, Secret), each.name) for each in written if isinstance(each, Config | Secret)}
    if not changed:
        return
    templates = [each for each in written if isinstance(each, Revision)]
    templates += [each for known in draft.cluster.revisions.values() for each in known.values()]
    used = {
        keys.version(*file)
        for each in templates
        for file in assignments.mounted(each.template, each.service.namespace)
    }
    for is_secret, name in changed:
        prefix = keys.version(is_secret, name, 0)[: -len("00000000")]
        for key in draft.versions:
            if key.startswith(prefix) and key not in used and key not in draft.edits:
                draft.write(codec.Drop(key))


def _is_pair(draft: Draft, wanted: document.PlainSecret) -> bool:
    try:
        warning = pair.read(wanted.data).warning(draft.now)
    except pair.NoPair as fault:
        draft.refuse(str(fault))
        return False
    if warning:
        draft.warnings.append(f"secret {wanted.name}: {warning}")
    return True


def _credentials_fault(wanted: document.PlainSecret) -> str:
    """What is wrong with the credentials in it; empty when nothing is."""
    try:
        keyring.of(wanted.data)
    except keyring.NotCredentials as error:
        return str(error)
    return ""


def _place(name: ObjectName, entry: str) -> str:
    return f"{keys.secret(name)}/{entry}"


def _next_version(known: Config | Secret | None, *, same: bool) -> int:
    if known is None:
        return 1
    return known.version if same else known.version + 1


def _is_sound(draft: Draft, kind: str, data: dict[str, bytes]) -> bool:
    faults = [fault for key in data if (fault := check.entry_fault(key))]
    size = sum(len(key) + len(content) for key, content in data.items())
    if size > MOST_BYTES:
        faults.append(f"the {kind} holds {size:,} bytes, and at most {MOST_BYTES:,} fit")
    if not data:
        faults.append(f"the {kind} is empty: give it at least one entry")
    for fault in faults:
        draft.refuse(fault)
    return not faults
