"""Files that point at other files, or at themselves."""

from __future__ import annotations

import h5py
import numpy as np

from tests.hostile.case import Change, edited, replace

ENVIRONMENT = "/proc/self/environ"
CANARY_FILE = "/tmp/celldock-canary.txt"
OTHER_FILE = "../other/secret.h5ad"
ABSOLUTE_FILE = "/tmp/celldock-canary.h5ad"


def _external_storage(element: str, target: str) -> Change:
    def change(file: h5py.File) -> None:
        old = file[element]
        shape, dtype = old.shape, old.dtype
        external = [(target, 0, h5py.h5f.UNLIMITED)]
        replace(file, element, lambda parent, name: parent.create_dataset(name, shape, dtype, external=external))

    return change


def _link(element: str, link: h5py.SoftLink | h5py.ExternalLink) -> Change:
    return lambda file: replace(file, element, lambda parent, name: parent.__setitem__(name, link))


for _name, _element, _target in (
    ("external-storage-environment", "obsm/X_umap", ENVIRONMENT),
    ("external-storage-canary", "obsm/X_umap", CANARY_FILE),
    ("external-storage-as-x", "X/data", ENVIRONMENT),
    ("external-storage-as-column", "obs/is_primary_data", ENVIRONMENT),
):
    edited(_name, "file.external_storage")(_external_storage(_element, _target))

for _name, _element, _file, _path in (
    ("external-link-absolute", "obsm/X_umap", ABSOLUTE_FILE, "/obsm/X_umap"),
    ("external-link-relative", "obsm/X_umap", OTHER_FILE, "/obsm/X_umap"),
    ("external-link-dangling", "obsm/X_umap", "nowhere.h5", "/nothing"),
    ("external-link-as-x", "X", ABSOLUTE_FILE, "/X"),
    ("external-link-intermediate", "obsm", ABSOLUTE_FILE, "/obsm"),
    ("external-link-to-itself", "obsm/X_umap", "external-link-to-itself.h5ad", "/obsm/X_umap"),
):
    edited(_name, "file.external_link")(_link(_element, h5py.ExternalLink(_file, _path)))

for _name, _element, _path in (
    ("soft-link", "obsm/X_umap", "/X/data"),
    ("soft-link-to-itself", "obsm/X_umap", "/obsm/X_umap"),
    ("soft-link-to-root", "obsm/X_umap", "/"),
    ("soft-link-dangling", "obsm/X_umap", "/nothing"),
    ("soft-link-as-group", "uns", "/obs"),
):
    edited(_name, "file.soft_link")(_link(_element, h5py.SoftLink(_path)))


def _virtual(target: str) -> Change:
    def change(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((20, 2), "f4")
        layout[:] = h5py.VirtualSource(target, "obsm/X_umap", (20, 2))
        replace(file, "obsm/X_umap", lambda parent, name: parent.create_virtual_dataset(name, layout))

    return change


edited("virtual-dataset", "file.virtual_dataset")(_virtual(ABSOLUTE_FILE))
edited("virtual-dataset-of-itself", "file.virtual_dataset")(_virtual("."))


@edited("hard-link-cycle", "file.hard_link")
def hard_link_cycle(file: h5py.File) -> None:
    group = file["uns"].create_group("a").create_group("b")
    group["a"] = file["uns/a"]


@edited("hard-link-to-root", "file.hard_link")
def hard_link_to_root(file: h5py.File) -> None:
    file["uns/again"] = file["/"]


@edited("group-linked-twice", "file.hard_link")
def group_linked_twice(file: h5py.File) -> None:
    file["layers/counts"] = file["raw/X"]


@edited("dataset-linked-twice", "file.hard_link")
def dataset_linked_twice(file: h5py.File) -> None:
    file["obsm/X_again"] = file["obsm/X_umap"]


@edited("object-reference", "file.reference")
def object_reference(file: h5py.File) -> None:
    file["uns"].create_dataset("secret", data=file["X"].ref, dtype=h5py.ref_dtype)


@edited("region-reference", "file.reference")
def region_reference(file: h5py.File) -> None:
    file["uns"].create_dataset("secret", data=file["obsm/X_umap"].regionref[:2], dtype=h5py.regionref_dtype)


@edited("reference-in-a-record", "file.reference")
def reference_in_a_record(file: h5py.File) -> None:
    file["uns"].create_dataset("secret", (1,), np.dtype([("a", "f4"), ("b", h5py.ref_dtype)]))


@edited("reference-as-attribute", "file.reference")
def reference_as_attribute(file: h5py.File) -> None:
    file["obs"].attrs["secret"] = file["uns"].ref


@edited("categories-of-a-group", "file.reference")
def categories_of_a_group(file: h5py.File) -> None:
    file["obs"].attrs["categories"] = file["uns"].ref


def _old_categorical(file: h5py.File, *, foreign: bool) -> None:
    del file["obs/donor_id"]
    codes = file["obs"].create_dataset("donor_id", data=np.zeros(20, dtype="int8"))
    file["obs"].create_group("__categories")["donor_id"] = ["donor_1"]
    file["obs"].attrs["encoding-version"] = "0.1.0"
    codes.attrs["categories"] = file["uns/title" if foreign else "obs/__categories/donor_id"].ref


@edited("old-categorical", stage="processed")
def old_categorical(file: h5py.File) -> None:
    _old_categorical(file, foreign=False)


@edited("old-categorical-foreign", "file.foreign_reference")
def old_categorical_foreign(file: h5py.File) -> None:
    _old_categorical(file, foreign=True)


@edited("old-categorical-without-categories", "file.reference")
def old_categorical_without_categories(file: h5py.File) -> None:
    _old_categorical(file, foreign=True)
    del file["obs/__categories/donor_id"]
