"""celldock's verdicts beside those of cellxgene-schema: on files that others made, and on mutations of valid ones.

`make parity` runs both; see `docs/schema-parity.md` for where they differ and which sentence of the schema decides.
"""
