"""The one lawful reference between objects: AnnData 0.7's from the codes of a categorical to its categories."""

from __future__ import annotations

import h5py

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.faults import damaged, hostile


def old_categories(frame: h5py.Group, name: str, codes: h5py.Dataset, reference: object) -> h5py.Dataset | None:
    """The categories of the column `name`, None if the frame keeps none for it.

    Only the place where AnnData itself puts them, `__categories/<name>` of the same frame, is looked at; raises
    HostileFile if `reference`, the attribute `categories` of `codes`, names any other.
    """
    where = nodes.path_of(codes)
    categories = nodes.find_dataset(frame, f"__categories/{name}")
    if categories is None:
        return None
    with damaged(where):
        target = frame[reference] if isinstance(reference, h5py.Reference) and reference else None
    if target != categories:
        hostile("file.foreign_reference", where, "takes its categories from where AnnData does not put them")
    return categories
