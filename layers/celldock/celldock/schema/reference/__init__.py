"""The ontologies and genes that a schema version refers to: `open_reference("7.1.0").term("CL:0000540").label`."""

from celldock.schema.reference.database import Gene, Reference, Term
from celldock.schema.reference.location import open_reference

__all__ = ["Gene", "Reference", "Term", "open_reference"]
