"""Who is who: names of services and nodes, and the identity of a task."""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, WithJsonSchema

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DEFAULT_NAMESPACE = "default"


def check_name(name: str) -> str:
    """A DNS label: lower case letters, digits and hyphens, at most 63. Raises ValueError."""
    if not _LABEL.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name: use 1 to 63 lower case letters, digits and hyphens, "
            "beginning and ending with a letter or digit"
        )
    return name


Name = Annotated[
    str,
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": _LABEL.pattern, "maxLength": 63}),
]


class ObjectName(NamedTuple):
    """A name within a namespace: the identity of a service, config or secret."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{self.name}"


ServiceName = ObjectName


@dataclass(frozen=True, slots=True, order=True)
class TaskId:
    """One attempt to fill one slot of one life of a service. Never used twice.

    `birth` is the store revision that began this life of the service (a deleted and re-applied service has
    another one), `slot` counts from 1, `attempt` counts from 1 within the life of the service's slot.
    """

    namespace: str
    service: str
    birth: int
    slot: int
    attempt: int

    @property
    def owner(self) -> ServiceName:
        """The service it belongs to."""
        return ServiceName(self.namespace, self.service)

    @property
    def uid(self) -> str:
        """Unique among all tasks, of all times, of the service's name; ends the task's key in the store."""
        return f"{self.birth:x}-{self.slot}-{self.attempt}"

    @property
    def name(self) -> str:
        """For people: `web.2`, the slot."""
        return f"{self.service}.{self.slot}"

    @property
    def full_name(self) -> str:
        """For people: `web.2.7`, the slot and the attempt."""
        return f"{self.service}.{self.slot}.{self.attempt}"

    @property
    def key(self) -> str:
        """Unique in the cluster and fit for cgroups, files and links: 20 hexadecimal digits, never parsed."""
        words = f"{self.namespace}/{self.service}/{self.uid}"
        return hashlib.blake2b(words.encode(), digest_size=10).hexdigest()

    def __str__(self) -> str:
        return self.full_name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{self.full_name}"
