"""What a collection allows, and what holds where nobody has said anything."""

from __future__ import annotations

from celldock.catalog.records import Collection

PUBLISH_METADATA = "celldock-publish"
"""The S3 object metadata (`x-amz-meta-…`) by which a submitter asks for publishing."""


def asks_to_publish(metadata: dict[str, str]) -> bool:
    """Whether the upload itself asks to be published as soon as it is READY."""
    return metadata.get(PUBLISH_METADATA, "").strip().lower() == "auto"


def publishes_by_itself(collection: Collection, requested: bool) -> bool:
    """Whether a READY version goes public without anyone's word: its submitter asked and the collection lets him."""
    return requested and collection.publish_policy == "auto"
