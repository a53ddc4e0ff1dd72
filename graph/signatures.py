"""What kind of file begins with given bytes."""

from __future__ import annotations

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
STARTS = (PNG, JPEG, b"RIFF")
"""How the pictures that are read begin; other files begin with RIFF, too."""
HEAD = 16
"""As many bytes are enough to tell."""

OTHERS = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"II+\0", "a TIFF"),
    (b"MM\0+", "a TIFF"),
    (b"8BPS", "a PSD"),
    (b"%!PS", "an EPS"),
    (b"\xc5\xd0\xd3\xc6", "an EPS"),
    (b"%PDF", "a PDF"),
    (b"BM", "a BMP"),
    (b"SIMPLE", "a FITS"),
    (b"\xff\xfe\0", "a GD"),
    (b"\0\0\1\0", "an ICO"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"v/1\x01", "an OpenEXR"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an XML"),
)


def is_picture(head: bytes) -> bool:
    """Whether a file is PNG, JPEG or WEBP, by its first bytes."""
    return head.startswith((PNG, JPEG)) or is_webp(head)


def is_webp(head: bytes) -> bool:
    """Whether a file is WEBP, by its first bytes."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def what_else(head: bytes) -> str:
    """Say what a file is that is none of the pictures which are read."""
    if not head:
        return "is empty"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"heic", b"mif1"):
        return f"is a file of the kind {head[8:12].decode().upper()}"
    if any(head.startswith(magic[: len(head)]) for magic in STARTS):
        return "is cut short"
    kind = next((kind for magic, kind in OTHERS if head.startswith(magic)), "")
    return f"is {kind} file" if kind else "is not a picture of a known format"
