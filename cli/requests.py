"""Documents → the request that applies them."""

import dataclasses
from collections.abc import Sequence
from typing import assert_never

from cli import connection
from orch import wire
from orch.manifest.document import NodeDocument, PlainSecret, ServiceDocument, Written
from orch.model.config import Config, Namespace
from orch.v1 import control_pb2 as pb

SET_LABEL = "orch/set"
"""Objects that are applied together carry its value, so that `--prune` knows what is no longer named."""


def apply(documents: Sequence[Written], *, dry_run: bool = False, prune: bool = False) -> pb.ApplyRequest:
    """All of them or nothing."""
    return pb.ApplyRequest(
        documents=[_document(each) for each in documents],
        dry_run=dry_run,
        prune=prune,
        request_id=connection.new_request_id(),
    )


def in_set(written: Written, name: str) -> Written:
    """The same document, labelled as one of a set. A node is in no set."""
    if isinstance(written.value, NodeDocument):
        return written
    labels = written.value.labels | {SET_LABEL: name}
    return dataclasses.replace(written, value=dataclasses.replace(written.value, labels=labels))


def _document(written: Written) -> pb.Document:
    message = wire.to_wire(written.value)
    match written.value:
        case ServiceDocument():
            return pb.Document(source=written.source, service=message)
        case Config():
            return pb.Document(source=written.source, config=message)
        case PlainSecret():
            return pb.Document(source=written.source, secret=message)
        case Namespace():
            return pb.Document(source=written.source, namespace=message)
        case NodeDocument():
            return pb.Document(source=written.source, node=message)
        case _:
            assert_never(written.value)
