# Rscript check_sce.R FILE: reads a SingleCellExperiment and prints one line of facts a matrix, after checking that it is
# valid and that its accessors work on it.
suppressMessages({
  library(Matrix)
  library(SingleCellExperiment)
})

facts <- function(name, matrix) {
  cat(sprintf("%s %d %d %.6f %.6f\n", name, nrow(matrix), ncol(matrix), sum(matrix), sum(matrix * matrix)))
}

object <- readRDS(commandArgs(trailingOnly = TRUE)[1])
stopifnot(
  validObject(object, complete = TRUE),
  identical(rownames(colData(object)), colnames(object)),
  identical(rownames(rowData(object)), rownames(object)),
  all(lengths(rowRanges(object)) == 0)
)
for (name in assayNames(object)) {
  matrix <- assay(object, name)
  stopifnot(is(matrix, "dgCMatrix"), identical(dimnames(matrix), dimnames(object)))
  facts(name, matrix)
}
for (name in reducedDimNames(object)) {
  stopifnot(identical(rownames(reducedDim(object, name)), colnames(object)))
  facts(name, reducedDim(object, name))
}

part <- cbind(object[, 1], object[, ncol(object)])
stopifnot(ncol(part) == 2, validObject(part, complete = TRUE), validObject(updateObject(object), complete = TRUE))
