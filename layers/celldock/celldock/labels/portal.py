"""What labels say of the portal rather than of the cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Citation:
    """How a version of a dataset is to be cited: permanent addresses of it, its collection and, if any, its paper.

    >>> Citation("https://example.org/cells.h5ad", "https://example.org/collection").text
    'Dataset Version: https://example.org/cells.h5ad curated and distributed by CZ CELLxGENE Discover in Collection: \
https://example.org/collection'
    """

    version_url: str
    collection_url: str
    publication_url: str = ""

    @property
    def text(self) -> str:
        """In the words of the schema's template."""
        publication = f"Publication: {self.publication_url} " if self.publication_url else ""
        return (
            f"{publication}Dataset Version: {self.version_url} curated and distributed by CZ CELLxGENE Discover in "
            f"Collection: {self.collection_url}"
        )
