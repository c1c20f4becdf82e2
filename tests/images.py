"""Images of tissue, nearly: smooth enough for JPEG to keep them, and different at every place."""

from __future__ import annotations

import numpy as np

NAMESPACE = "{http://schemas.microsoft.com/deepzoom/2008}"
"""Of the elements of a .dzi document, as `xml.etree` has it."""


def make_image(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Waves of shape (height, width, channels), uint8."""
    y, x, channel = np.ogrid[:height, :width, :channels]
    return (128 + 100 * np.sin(x / 41 + channel / 3) * np.cos(y / 37 + x / 500)).astype(np.uint8)
