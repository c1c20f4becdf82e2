"""`fragments`: the fragment file of an ATAC dataset, for readers that jump to a place of the genome.

`fragments.tsv.bgz` has the submitted fragments sorted by position, in bgzip; `fragments.tsv.bgz.tbi` is its tabix
index. The names are the same for every dataset, as those of other formats are: paths are made by formats, never taken
from an upload.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from celldock.errors import NotFeasible, ServiceFault
from celldock.formats.protocol import Assembled, FormatPlan, Part, Partition, Prediction, Sink, Subject
from celldock.h5ad.headers import Header

COMPANION = "fragments"
"""The kind of companion that it is made of."""

FILE = "fragments.tsv.bgz"
INDEX = f"{FILE}.tbi"

MAX_BYTES = 5 << 30
"""Bytes of the file: what S3 copies in one request, as publishing does."""

# What a worker takes, measured on files of 20 bytes a fragment.
_BASE_SECONDS = 1.0
_BYTE_SECONDS = 1.2e-7
_MEMORY_MB = 480
_SCRATCH_SHARE = 1.5
_MB = 1 << 20


class Fragments:
    """The format `fragments`; see the module."""

    name: str = "fragments"
    version: str = "1"
    companion: str = COMPANION

    def plan(self, header: Header, size: int) -> FormatPlan:
        """All cells in one partition: the file is one, and in the order of positions, not of cells."""
        if size > MAX_BYTES:
            reason = f"the fragment file has {size:,} bytes, more than the {MAX_BYTES:,} of one that can be published"
            return FormatPlan(self.name, self.version, False, reason, ())
        return FormatPlan(self.name, self.version, True, "", (Partition(0, 0, header.n_obs),))

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """The file that is made is about as large as the submitted one; sorting it takes as much again for a while."""
        convert = Prediction(
            step=f"convert/{self.name}",
            seconds=round(_BASE_SECONDS + size * _BYTE_SECONDS, 1),
            memory_mb=_MEMORY_MB,
            scratch_mb=int(size * _SCRATCH_SHARE) // _MB,
            basis=f"{size:,} bytes of fragments",
        )
        return convert, Prediction(f"assemble/{self.name}", _BASE_SECONDS, _MEMORY_MB, 0, "one part, taken as it is")

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Writes both files. Raises NotFeasible for what cannot be sorted or indexed, or becomes too large."""
        # Of no use to whoever only plans.
        from celldock.fragments.writing import write_fragments

        with TemporaryDirectory(dir=sink.scratch, prefix="fragments-") as folder:
            file, index = Path(folder) / FILE, Path(folder) / INDEX
            write_fragments(subject.source, file, index, Path(folder))
            if file.stat().st_size > MAX_BYTES:
                raise NotFeasible(
                    f"The sorted fragments take more than the {MAX_BYTES:,} bytes of a file that can be published.",
                    code="fragments.too_large",
                    where=self.name,
                )
            return Part(partition, (sink.put(FILE, file), sink.put(INDEX, index)))

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """The files of the one part. Raises ServiceFault if there is another number of parts."""
        if len(parts) != 1:
            raise ServiceFault(f"{len(parts)} parts of a format that has one", code="fragments.parts", where=self.name)
        return Assembled(parts[0].files)
