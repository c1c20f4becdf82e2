"""What the portal's labels on a file are, computed while it is read; and what takes them off again."""

from celldock.labels.making import make_labels
from celldock.labels.portal import Citation
from celldock.labels.removing import removals

__all__ = ["Citation", "make_labels", "removals"]
