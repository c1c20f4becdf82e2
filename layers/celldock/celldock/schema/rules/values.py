"""Rules about the values of X, raw.X and the layers, decided from what the scan found in its one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from celldock.h5ad.headers import MatrixHeader
from celldock.report import Finding
from celldock.scan import DefectKind, MatrixScan
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.words import ROWS

_NOT_FINITE = {
    DefectKind.NAN: "NaN",
    DefectKind.POSITIVE_INFINITY: "infinite",
    DefectKind.NEGATIVE_INFINITY: "negative infinite",
}


@rule("matrices.damaged")
def matrices_damaged(context: Context) -> Iterator[Finding]:
    """The values of every matrix can be read; what keeps them from it has a code of its own (`file.damaged` …).

    One finding for each thing that is wrong at one place, however many blocks of rows have it.
    """
    told: set[tuple[str, str]] = set()
    for refusal in context.scanned().refusals:
        if (refusal.code, refusal.where) not in told:
            told.add((refusal.code, refusal.where))
            yield Finding.refusal(refusal.error, schema_url=context.schema_url)


@rule("{matrix}.not_finite")
def not_finite(context: Context, *, matrix: str) -> Iterator[Finding]:
    """No value is NaN or infinite."""
    for _, scan in scans_of(context, matrix):
        yield from not_finite_in(context, scan)


@rule("{matrix}.not_csr")
def not_csr(context: Context, *, matrix: str, zeros: float, refused: Sequence[str] = ()) -> Iterator[Finding]:
    """A matrix of which `zeros` or more of the values (a share) are zeros is stored as CSR.

    `refused` are encodings that are not accepted whatever the values.
    """
    for header in headers_of(context, matrix):
        if header.encoding in refused:
            yield _as_csr(context, header, "no sparse matrix but CSR is accepted")
    for header, scan in scans_of(context, matrix):
        if header.encoding not in ("csr", *refused) and zero_share(header, scan) >= zeros:
            yield _as_csr(context, header, f"{_percent(zero_share(header, scan))} of its values are zeros")


@rule("{matrix}.explicit_zeros")
def explicit_zeros(context: Context, *, matrix: str, zeros: float) -> Iterator[Finding]:
    """A sparse matrix of which `zeros` or more of the values (a share) are zeros stores none of them."""
    for header, scan in scans_of(context, matrix):
        if header.encoding != "dense" and scan.explicit_zeros and zero_share(header, scan) >= zeros:
            yield context.finding(
                header.path,
                f"{header.path} stores {scan.explicit_zeros:,} zeros of its {scan.stored:,} elements, but in a sparse "
                "matrix zeros are what is not stored.",
                count=scan.explicit_zeros,
                suggestion=f"Call eliminate_zeros() on {in_memory(header.path)} before you write the file.",
            )


@rule("{matrix}.repeated_entries")
def repeated_entries(context: Context, *, matrix: str) -> Iterator[Finding]:
    """A sparse matrix holds at most one value for a cell and a gene."""
    for header, scan in scans_of(context, matrix):
        found = scan.defects[DefectKind.REPEATED_INDEX]
        if found.values:
            yield context.finding(
                header.path,
                f"{header.path} has more than one value for the same gene in {ROWS['obs'].of(found.rows)}: programs "
                "differ in which one they take.",
                count=found.values,
                examples=context.names("obs", found.first),
                suggestion=f"Call sum_duplicates() on {in_memory(header.path)}, if the values are to be added, or make "
                "the matrix anew.",
            )


def not_finite_in(context: Context, scan: MatrixScan) -> Iterator[Finding]:
    """The finding about a matrix that has values which are no finite numbers."""
    found = {word: scan.defects[kind] for kind, word in _NOT_FINITE.items() if scan.defects[kind].values}
    if not found:
        return
    kinds = " and ".join(f"{defect.values:,} {word} in {ROWS['obs'].of(defect.rows)}" for word, defect in found.items())
    yield context.finding(
        scan.path,
        f"{scan.path} has values that are no finite numbers: {kinds}.",
        count=sum(defect.values for defect in found.values()),
        examples=context.names("obs", {row for defect in found.values() for row in defect.first}),
        suggestion="They come from a division by zero or the logarithm of a negative number, such as in cells "
        "without counts: leave those cells out, or compute the matrix anew.",
    )


def headers_of(context: Context, matrix: str) -> list[MatrixHeader]:
    """The headers of `x`, of `raw`, or of all `layers`; raises Skip if the file has none of them."""
    header = context.header
    found = {"x": [header.x], "raw": [header.raw_x], "layers": header.layers}[matrix]
    headers = [each for each in found if each is not None]
    if not headers:
        raise Skip
    return headers


def scans_of(context: Context, matrix: str) -> Iterator[tuple[MatrixHeader, MatrixScan]]:
    """What the scan found in `x`, in `raw`, or in each of the `layers`.

    Raises Skip after the last one if there are others that could not be read wholly, or none at all.
    """
    scans = [(header, context.scanned().matrix(header.path)) for header in headers_of(context, matrix)]
    for header, scan in scans:
        if scan is not None:
            yield header, scan
    if any(scan is None for _, scan in scans):
        raise Skip


def zero_share(header: MatrixHeader, scan: MatrixScan) -> float:
    """The share of a matrix's values that are zeros, from 0 to 1; raises Skip for a matrix without values."""
    size = header.shape[0] * header.shape[1]
    if not size:
        raise Skip
    return 1 - scan.nonzeros / size


def in_memory(path: str) -> str:
    """The matrix at a path of the file, as Python code has it: `adata.layers['spliced']`."""
    folder, _, name = path.partition("/")
    return f"adata.layers[{name!r}]" if folder == "layers" else f"adata.{path.replace('/', '.')}"


def _as_csr(context: Context, header: MatrixHeader, why: str) -> Finding:
    stored = "as a dense matrix" if header.encoding == "dense" else "by columns (CSC)"
    must = "must" if context.severity == "error" else "should"
    name = in_memory(header.path)
    return context.finding(
        header.path,
        f"{header.path} is stored {stored}, but {why}: it {must} be stored by rows (CSR).",
        suggestion="Set adata.raw anew from an AnnData whose X is scipy.sparse.csr_matrix(counts)."
        if header.path.startswith("raw")
        else f"Set {name} = scipy.sparse.csr_matrix({name}).",
    )


def _percent(share: float) -> str:
    """A share, rounded down so that it never reads as 100 % where it is less."""
    return f"{int(share * 1000) / 10:g} %"
