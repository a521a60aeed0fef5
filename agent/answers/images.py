"""Which images the node holds, how large they are, and how much of that they share."""

from collections import Counter

from agent.images.library import Library
from orch.oci import reference
from orch.oci.failure import ImageFailure
from orch.v1 import control_pb2


def held(library: Library) -> control_pb2.NodeImages:
    """It looks at the disk for when each was last used: call it in a thread."""
    sizes = {layer.diff_id: layer.size for layer in library.layers}
    images = library.images
    uses = Counter(diff_id for image in images for diff_id in set(image.config.diff_ids))
    found = []
    for image in images:
        layers = set(image.config.diff_ids)
        try:
            used_at = library.used_at(image.digest)
        except FileNotFoundError:
            continue  # it went just now
        found.append(
            control_pb2.NodeImage(
                names=sorted({_familiar(name) for name in library.references_of(image.digest)}),
                digest=image.digest,
                size=sum(sizes.get(layer, 0) for layer in layers),
                shared=sum(sizes.get(layer, 0) for layer in layers if uses[layer] > 1),
                used_at=used_at,
            )
        )
    return control_pb2.NodeImages(images=found)


def _familiar(name: str) -> str:
    try:
        return reference.parse(name).familiar
    except ImageFailure:
        return name
