"""Which secrets of a namespace say who is asking at which registry."""

from collections.abc import Callable, Mapping

from controlplane.api import assignments
from controlplane.store import keys
from orch.model.config import Secret
from orch.model.names import ObjectName
from orch.oci import keyring
from orch.oci.auth import Credentials

Opened = Callable[[Secret], Mapping[str, bytes]]


def concerns(key: str) -> bool:
    """Whether a change of this key may change who is asking."""
    return key.startswith(keys.SECRETS)


class RegistrySecrets:
    """Remembers what it found for the secrets it saw last: pictures share what did not change."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._seen: Mapping[ObjectName, Secret] | None = None
        self._by_place: dict[tuple[str, str], tuple[assignments.FileKey, ...]] = {}

    def at(self, secrets: Mapping[ObjectName, Secret]) -> assignments.Credentials:
        """As the secrets are now."""
        if secrets is not self._seen:
            self._seen, self._by_place = secrets, self._looked_through(secrets)
        return lambda namespace, registry: self._by_place.get((namespace, registry), ())

    def _looked_through(
        self, secrets: Mapping[ObjectName, Secret]
    ) -> dict[tuple[str, str], tuple[assignments.FileKey, ...]]:
        found: dict[tuple[str, str], tuple[assignments.FileKey, ...]] = {}
        for secret in of_registries(secrets):
            for registry in keyring.merged([self._opened(secret)]):
                place = (secret.name.namespace, registry)
                found[place] = (*found.get(place, ()), (True, secret.name, secret.version))
        return found


def of_registries(secrets: Mapping[ObjectName, Secret]) -> list[Secret]:
    """Those of type registry, in the order in which they count."""
    return sorted((each for each in secrets.values() if each.type == keyring.SECRET_TYPE), key=_in_order)


def known_in(secrets: Mapping[ObjectName, Secret], namespace: str, opened: Opened) -> dict[str, Credentials]:
    """Who we are at which registry, for one namespace."""
    return keyring.merged(opened(each) for each in of_registries(secrets) if each.name.namespace == namespace)


def _in_order(secret: Secret) -> ObjectName:
    return secret.name
