"""Curation: what a config says is done to a file before it is validated."""

from celldock.curation.config import Config, Curation
from celldock.curation.ledger import Change, CurationRefused, Ledger
from celldock.curation.reading import MAX_BYTES as MAX_CONFIG_BYTES
from celldock.curation.reading import read_curation

__all__ = ["MAX_CONFIG_BYTES", "Change", "Config", "Curation", "CurationRefused", "Ledger", "read_curation"]
