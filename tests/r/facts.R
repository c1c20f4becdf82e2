# What an object holds, as JSON: each number as text of 17 digits, from which a double comes back as it was; a missing value
# is null, and a value that is no number is "NaN".
numbers <- function(values) {
  text <- sprintf("%.17g", as.double(values))
  text[is.na(values) & !is.nan(values)] <- NA
  text
}

column_facts <- function(values) {
  facts <- list(type = jsonlite::unbox(class(values)[1]))
  if (is.factor(values)) {
    c(facts, list(levels = levels(values), values = as.character(values)))
  } else if (is.double(values)) {
    c(facts, list(values = numbers(values)))
  } else {
    c(facts, list(values = values))
  }
}

frame_facts <- function(frame) {
  list(rows = rownames(frame), names = colnames(frame), columns = lapply(seq_along(frame), function(i) column_facts(frame[[i]])))
}

# All elements, down the columns.
matrix_facts <- function(matrix) {
  list(shape = dim(matrix), values = numbers(as.vector(as.matrix(matrix))))
}

write_facts <- function(facts, file) {
  jsonlite::write_json(facts, file, na = "null", null = "null")
}
