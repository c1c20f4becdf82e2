"""celldock: the domain of a serverless ingestion service for single-cell data."""

__version__ = "0.1.0"
