"""QR codes, for telephones that look at a screen."""

from __future__ import annotations

import attrs
import segno


@attrs.frozen
class QRCode:
    """A picture of `size` by `size` units; `path` is what an SVG draws in it: its dark modules."""

    size: int
    path: str


def qr_code(text: str) -> QRCode:
    """The picture of `text`, with the quiet zone that readers need around it. Source: ISO/IEC 18004."""
    rows = [bytes(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=4)]
    dark = [(x, y) for y, row in enumerate(rows) for x, module in enumerate(row) if module]
    return QRCode(len(rows), "".join(f"M{x} {y}h1v1h-1z" for x, y in dark))
