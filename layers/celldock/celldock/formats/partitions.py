"""What partitions have in common, whichever the format."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from celldock.errors import ServiceFault
from celldock.formats.protocol import Partition


def check_whole(name: str, partitions: Sequence[Partition], n_obs: int) -> None:
    """Raises ServiceFault unless the partitions, in their order, are all rows of obs once. `name`: the format's."""
    whole = bool(partitions) and partitions[0].start == 0 and partitions[-1].stop == n_obs
    if not whole or any(left.stop != right.start for left, right in pairwise(partitions)):
        raise ServiceFault(
            f"{len(partitions)} parts do not cover {n_obs:,} cells once", code=f"{name}.parts", where=name
        )
