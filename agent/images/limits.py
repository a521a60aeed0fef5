"""How much a layer may cost before it is taken for a bomb.

Named tuples here and in the files an unpacker loads: importing dataclasses would double its start.
"""

from typing import NamedTuple


class Limits(NamedTuple):
    """Bounds of one layer. The largest honest ones seen: 300,000 files, 20 GB (CUDA images)."""

    entries: int = 1_000_000
    bytes: int = 64 << 30
    ratio: int = 200
    ratio_from: int = 256 << 20
    """Bytes unpacked before the ratio is judged: small layers of zeros are honest."""
    depth: int = 200
    name: int = 4096
    header: int = 1 << 20
    """Bytes of extended header (long names, attributes) of one entry."""
