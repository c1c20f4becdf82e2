# Rscript check_seurat.R FOLDER: checks that the Seurat object in FOLDER/*/seurat.rds is valid and that Seurat works on it,
# where SeuratObject is newer once more after an update; writes what it holds to seurat.json beside it.
suppressMessages({
  library(Matrix)
  library(Seurat)
})
arguments <- commandArgs()
source(file.path(dirname(sub("^--file=", "", grep("^--file=", arguments, value = TRUE))), "facts.R"))

newer <- packageVersion("SeuratObject") >= "5"

# SeuratObject 5 calls the slots layers.
get_matrix <- function(object, name) {
  if (newer) GetAssayData(object, layer = name) else GetAssayData(object, slot = name)
}

has_counts <- function(object) length(object[["RNA"]]@counts) > 0

# A slot that holds no value of its class fails here, however deep it lies.
check_slots <- function(object) {
  stopifnot(validObject(object, complete = TRUE))
  if (isS4(object)) {
    for (name in slotNames(object)) check_slots(slot(object, name))
  } else if (is.list(object)) {
    for (item in object) check_slots(item)
  }
}

check <- function(object) {
  matrices <- if (has_counts(object)) c("data", "counts") else "data"
  for (name in matrices) {
    matrix <- get_matrix(object, name)
    stopifnot(is(matrix, "dgCMatrix"), identical(dimnames(matrix), list(rownames(object), colnames(object))))
  }
  stopifnot(
    identical(rownames(object@meta.data), colnames(object)),
    identical(rownames(object[["RNA"]]@meta.features), rownames(object)),
    identical(names(Idents(object)), colnames(object))
  )
  for (name in Reductions(object)) {
    embedding <- Embeddings(object, name)
    stopifnot(
      identical(rownames(embedding), colnames(object)),
      all(startsWith(colnames(embedding), Key(object[[name]])))
    )
  }
  part <- subset(object, cells = colnames(object)[1])
  stopifnot(ncol(part) == 1, identical(rownames(part), rownames(object)))
}

# What an analysis begins with, against its definition.
analyse <- function(object) {
  normal <- get_matrix(NormalizeData(object, verbose = FALSE), "data")
  counts <- as.matrix(get_matrix(object, "counts"))
  stopifnot(all.equal(as.matrix(normal), log1p(sweep(counts, 2, colSums(counts), "/") * 1e4)))
  halves <- setNames(rep(c("left", "right"), length.out = ncol(object)), colnames(object))
  object <- SetIdent(object, value = halves)
  markers <- FindMarkers(object,
    ident.1 = "left", ident.2 = "right", logfc.threshold = 0, min.pct = 0, verbose = FALSE
  )
  expressed <- as.matrix(get_matrix(object, "data"))[rownames(markers), halves == "left", drop = FALSE] > 0
  stopifnot(nrow(markers) > 0, all.equal(markers$pct.1, round(unname(rowMeans(expressed)), 3)))
}

facts <- function(object) {
  matrices <- if (has_counts(object)) c("counts", "data") else "data"
  list(
    cells = colnames(object),
    genes = rownames(object),
    matrices = sapply(matrices, function(name) matrix_facts(get_matrix(object, name)), simplify = FALSE),
    obs = frame_facts(object@meta.data),
    var = frame_facts(object[["RNA"]]@meta.features),
    reductions = sapply(Reductions(object), function(name) matrix_facts(Embeddings(object, name)), simplify = FALSE),
    title = Misc(object, "title"),
    omitted = Tool(object, "celldock")$omitted$where
  )
}

for (file in Sys.glob(file.path(tail(arguments, 1), "*", "seurat.rds"))) {
  cat(file, "\n")
  object <- readRDS(file)
  if (newer) object <- suppressMessages(UpdateSeuratObject(object))
  check_slots(object)
  check(object)
  if (has_counts(object) && ncol(object) >= 20 && sum(get_matrix(object, "counts")) > 0) analyse(object)
  write_facts(facts(object), sub("rds$", "json", file))
}
