"""The layers as they would be deployed: complete, lean, of the lock, for Lambda's machine, and the same each time."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
import zlib
from importlib.machinery import SourcelessFileLoader
from pathlib import Path

import pytest

from scripts.layer_sizes import ROOT, Built

LAYERS = ROOT / "layers"
THIRD_PARTY = {"RuntimeLayer": "runtime", "CoreLayer": "core", "ColumnsLayer": "columns"}
# Lambda's python3.13 runs on Amazon Linux 2023.
GLIBC = (2, 34)
ELF_X86_64 = 62
UNCHECKED_HASH = 0b01

# One use of each layer that goes down to its shared objects; run with that layer and the standard library alone.
USES = {
    "RuntimeLayer": """
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser import BaseModel, parse
class Event(BaseModel):
    n: int
assert parse(event={"n": 1}, model=Event).n == 1
Logger(service="celldock").info("hello")
""",
    "CoreLayer": """
import io, h5py, numpy as np
written = np.arange(10_000.0).reshape(100, 100)
buffer = io.BytesIO()
with h5py.File(buffer, "w") as file:
    file.create_dataset("x", data=written, chunks=(10, 10), compression="gzip", shuffle=True)
with h5py.File(buffer) as file:
    assert np.array_equal(file["x"][:], written)
assert np.allclose(np.linalg.inv(np.eye(3)), np.eye(3))
""",
    "ColumnsLayer": """
import duckdb, os, tempfile
path = os.path.join(tempfile.mkdtemp(), "cells.parquet")
duckdb.sql(f"copy (select range as cell from range(1000)) to '{path}' (format parquet, compression zstd)")
assert duckdb.sql(f"select sum(cell) from '{path}'").fetchall() == [(499500,)]
""",
    "ReferenceLayer": """
import pathlib, sqlite3
for path in (pathlib.Path(sys.path[0]).parent / "reference").iterdir():
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert database.execute("pragma integrity_check").fetchall() == [("ok",)], path
    assert path.stem == database.execute("select value from meta where kind = 'schema'").fetchone()[0]
""",
}


@pytest.mark.skipif((platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="built for Linux x86_64")
@pytest.mark.parametrize("layer", USES)
def test_a_layer_works_with_nothing_but_the_standard_library(deployment: Built, layer: str) -> None:
    assert deployment.layers[layer].is_dir()
    program = f"import sys; sys.path.insert(0, {str(deployment.layers[layer] / 'python')!r})\n{USES[layer]}"
    # -I -S: no site-packages, no environment variables, no current folder.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_third_party_layers_hold_exactly_what_the_lock_lists(deployment: Built) -> None:
    for layer, folder in THIRD_PARTY.items():
        pinned = re.findall(r"^([\w.-]+)==(\S+)", (LAYERS / folder / "requirements.txt").read_text(), re.MULTILINE)
        held = [path.name.removesuffix(".dist-info") for path in deployment.layers[layer].glob("python/*.dist-info")]
        assert sorted(held) == sorted(f"{name.replace('-', '_')}-{version}" for name, version in pinned)


def test_layers_hold_nothing_that_lambda_brings_itself(deployment: Built) -> None:
    brought = {"boto3", "botocore", "s3transfer", "awslambdaric"}
    assert [path for path in _paths(deployment) if brought & set(path.parts)] == []


def test_layers_hold_no_tests_stubs_headers_or_commands(deployment: Built) -> None:
    folders = {"test", "tests", "bin"}
    suffixes = {".pyi", ".h", ".hpp", ".c", ".cpp", ".pyx", ".pxd", ".a"}
    assert [path for path in _paths(deployment) if folders & set(path.parts) or path.suffix in suffixes] == []


def test_layers_keep_the_licences_of_what_they_hold(deployment: Built) -> None:
    for layer in THIRD_PARTY:
        for info in deployment.layers[layer].glob("python/*.dist-info"):
            licences = [path for path in info.rglob("*") if re.match(r"(?i)licen[cs]e|copying|notice", path.name)]
            stated = re.search(r"^(License|Classifier: License)", (info / "METADATA").read_text(), re.MULTILINE)
            assert licences or stated, info.name


def test_every_module_is_compiled_for_where_lambda_mounts_it(deployment: Built) -> None:
    sources = [(root, path) for root in deployment.layers.values() for path in root.rglob("*.py")]
    assert sources
    for root, source in sources:
        compiled = importlib.util.cache_from_source(str(source))
        content = Path(compiled).read_bytes()
        assert content[:4] == importlib.util.MAGIC_NUMBER, source
        assert int.from_bytes(content[4:8], "little") == UNCHECKED_HASH, source
        assert content[8:16] == importlib.util.source_hash(source.read_bytes()), source
        code = SourcelessFileLoader(source.stem, compiled).get_code(source.stem)
        assert code is not None
        assert code.co_filename == f"/opt/{source.relative_to(root).as_posix()}"


def test_shared_objects_are_for_lambdas_machine(deployment: Built) -> None:
    objects = [path for root in deployment.layers.values() for path in root.rglob("*.so*")]
    assert objects
    for path in objects:
        content = path.read_bytes()
        assert content[:4] == b"\x7fELF", path
        assert int.from_bytes(content[18:20], "little") == ELF_X86_64, path
        needed = [(int(major), int(minor)) for major, minor in re.findall(rb"\x00GLIBC_(\d+)\.(\d+)", content)]
        assert [version for version in needed if version > GLIBC] == [], path


def test_the_reference_layer_holds_all_schema_versions_in_25_megabytes(deployment: Built, figures: list[str]) -> None:
    files = sorted(path for path in deployment.layers["ReferenceLayer"].rglob("*") if path.is_file())
    assert sorted(path.name for path in files) == ["2.0.0.sqlite", "7.1.0.sqlite"]
    packed = sum(len(zlib.compress(path.read_bytes())) for path in files)
    unpacked = sum(path.stat().st_size for path in files)
    figures.append(f"reference layer: {packed / 1e6:.1f} MB packed, {unpacked / 1e6:.1f} MB unpacked")
    assert packed <= 25e6


@pytest.mark.skipif((platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="built for Linux x86_64")
def test_the_package_finds_the_reference_data_in_the_layer_beside_it(deployment: Built, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    for layer in ("CelldockLayer", "RuntimeLayer", "CoreLayer"):
        for entry in (deployment.layers[layer] / "python").iterdir():
            (tmp_path / "python" / entry.name).symlink_to(entry)
    (tmp_path / "reference").symlink_to(deployment.layers["ReferenceLayer"] / "reference")
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'python')!r})\n" + (
        "from celldock.schema.reference import open_reference\n"
        "print(*(open_reference(version).term('CL:0000540').label for version in ('2.0.0', '7.1.0')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "neuron neuron\n", done.stderr


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("layer", ["celldock", "runtime", pytest.param("reference", marks=pytest.mark.long)])
def test_a_layer_comes_out_the_same_each_time(deployment: Built, tmp_path: Path, layer: str) -> None:
    find_uv = subprocess.run([ROOT / "scripts" / "find-uv"], capture_output=True, text=True, check=True)
    environment = {key: value for key, value in os.environ.items() if key != "CELLDOCK_LAYER_CACHE"}
    command = [sys.executable, "-I", LAYERS / "build_layer.py", tmp_path, layer]
    subprocess.run(command, env=environment | {"CELLDOCK_UV": find_uv.stdout.strip()}, check=True)
    before = deployment.layers[f"{layer.capitalize()}Layer"]
    assert _hashes(tmp_path) == _hashes(before)


def _paths(deployment: Built) -> list[Path]:
    """All files of all layers, each below its layer's folder."""
    layers = deployment.layers.values()
    return [path.relative_to(root) for root in layers for path in root.rglob("*") if path.is_file()]


def _hashes(tree: Path) -> dict[str, str]:
    files = [path for path in tree.rglob("*") if path.is_file()]
    return {str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
