"""The fragment file of an ATAC dataset as bytes: unpacked, taken apart into rows, sorted, packed and indexed.

What the schema says of it lies in `celldock.schema.fragments`.
"""
