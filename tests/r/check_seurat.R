# Rscript check_seurat.R FILE: reads a Seurat object and prints one line of facts a matrix, after checking that it is valid
# and that Seurat works on it.
suppressMessages({
  library(Matrix)
  library(Seurat)
})

# A slot that holds no value of its class fails here, however deep it lies.
check <- function(object) {
  stopifnot(validObject(object, complete = TRUE))
  if (isS4(object)) {
    for (name in slotNames(object)) check(slot(object, name))
  } else if (is.list(object)) {
    for (item in object) check(item)
  }
}

facts <- function(name, matrix) {
  cat(sprintf("%s %d %d %.6f %.6f\n", name, nrow(matrix), ncol(matrix), sum(matrix), sum(matrix * matrix)))
}

object <- readRDS(commandArgs(trailingOnly = TRUE)[1])
check(object)
counts <- GetAssayData(object, slot = "counts")
data <- GetAssayData(object, slot = "data")
stopifnot(
  is(data, "dgCMatrix"),
  identical(rownames(object@meta.data), colnames(data)),
  identical(rownames(object[["RNA"]]@meta.features), rownames(data)),
  identical(names(Idents(object)), colnames(object))
)
facts("data", data)
if (length(counts)) {
  stopifnot(is(counts, "dgCMatrix"), identical(dimnames(counts), dimnames(data)))
  facts("counts", counts)
}
for (name in Reductions(object)) {
  embedding <- Embeddings(object, name)
  stopifnot(
    identical(rownames(embedding), colnames(object)),
    all(startsWith(colnames(embedding), Key(object[[name]])))
  )
  facts(name, embedding)
}

if (length(counts) && ncol(object) >= 6) {
  normal <- NormalizeData(object, verbose = FALSE)
  stopifnot(all(is.finite(GetAssayData(normal, slot = "data")@x)))
  halves <- setNames(rep(c("left", "right"), length.out = ncol(object)), colnames(object))
  markers <- FindMarkers(SetIdent(object, value = halves),
    ident.1 = "left", ident.2 = "right", logfc.threshold = 0, min.pct = 0, verbose = FALSE
  )
  stopifnot(nrow(markers) > 0)
}
part <- subset(object, cells = colnames(object)[1])
stopifnot(ncol(part) == 1, identical(rownames(part), rownames(object)))
