# Rscript check_sce.R FOLDER: checks that the SingleCellExperiment in FOLDER/*/sce.rds is valid and that its accessors work
# on it; writes what it holds to sce.json beside it.
suppressMessages({
  library(Matrix)
  library(SingleCellExperiment)
})
arguments <- commandArgs()
source(file.path(dirname(sub("^--file=", "", grep("^--file=", arguments, value = TRUE))), "facts.R"))

check <- function(object) {
  stopifnot(
    validObject(object, complete = TRUE),
    identical(rownames(colData(object)), colnames(object)),
    identical(rownames(rowData(object)), rownames(object)),
    all(lengths(rowRanges(object)) == 0)
  )
  for (name in assayNames(object)) {
    stopifnot(is(assay(object, name), "dgCMatrix"), identical(dimnames(assay(object, name)), dimnames(object)))
  }
  for (name in reducedDimNames(object)) {
    stopifnot(identical(rownames(reducedDim(object, name)), colnames(object)))
  }
  part <- cbind(object[, 1], object[, ncol(object)])
  stopifnot(ncol(part) == 2, validObject(part, complete = TRUE), validObject(updateObject(object), complete = TRUE))
}

facts <- function(object) {
  list(
    cells = colnames(object),
    genes = rownames(object),
    matrices = sapply(assayNames(object), function(name) matrix_facts(assay(object, name)), simplify = FALSE),
    obs = frame_facts(colData(object)),
    var = frame_facts(rowData(object)),
    reductions = sapply(reducedDimNames(object), function(name) matrix_facts(reducedDim(object, name)), simplify = FALSE),
    title = metadata(object)$uns$title,
    omitted = metadata(object)$celldock$omitted$where
  )
}

for (file in Sys.glob(file.path(tail(arguments, 1), "*", "sce.rds"))) {
  cat(file, "\n")
  object <- readRDS(file)
  check(object)
  write_facts(facts(object), sub("rds$", "json", file))
}
