"""The forms of picture files: which are read, and how a file's first bytes tell its form."""

import struct
from pathlib import Path

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp"),
    *(".avif", ".heic", ".heif", ".hif"),
}
READ = "PNG, JPEG, TIFF, WebP, BMP, AVIF and HEIC"
# Suffixes of pictures that are not read: raw files of cameras, and other forms of pictures.
OTHER_SUFFIXES = {
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".raw", ".rwl", ".3fr", ".iiq", ".x3f", ".kdc", ".dcr", ".mrw", ".erf"),
    *(".gif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jpe", ".jif", ".dib", ".psd", ".psb", ".xcf", ".kra", ".svg"),
    *(".ico", ".icns", ".cur", ".dds", ".pcx", ".sgi", ".rgb", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
    *(".exr", ".hdr", ".eps", ".ps", ".wmf", ".emf", ".mpo", ".apng", ".heics", ".avifs", ".fits", ".xpm", ".xbm"),
}
STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
# What is not read, so that an error can say what the file is.
OTHER_STARTS = {
    b"GIF8": "GIF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"\0\0\1\0": "ICO",
    b"FUJIFILM": "a camera's raw form",
    b"qoif": "QOI",
    b"icns": "ICNS",
    b"gimp xcf": "GIMP's XCF",
    b"II\xbc": "JPEG XR",
    b"<svg": "SVG",
    b"P5\n": "PGM",
    b"P6\n": "PPM",
    b"PF\n": "PFM",
    b"Pf\n": "PFM",
}
HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


def form_of(data: bytes) -> str | None:
    """The form of a picture that is read ("PNG", "JPEG", …), by the file's first bytes; None for all else."""
    if form := next((form for start, form in STARTS.items() if data.startswith(start)), None):
        return form
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        length = min(struct.unpack(">I", data[:4])[0], 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & HEIC_BRANDS:
            return "HEIF"
    return None


def other_form_of(data: bytes) -> str | None:
    """What a file is whose form is not read, if its first bytes tell."""
    if data[4:12] == b"ftypcrx ":
        return "a camera's raw form (CR3)"
    return next((form for start, form in OTHER_STARTS.items() if data.startswith(start)), None)


def looks_like_a_picture(path: Path) -> bool:
    """Whether a file is a picture by its name or its first bytes, of a form that is read or not."""
    if path.suffix.lower() in SUFFIXES | OTHER_SUFFIXES:
        return True
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:
        return False
    # The first two bytes of BMP and JPEG XL are too few to go by, and PDF and PostScript are documents.
    form = form_of(start) or other_form_of(start)
    return form is not None and form not in ("BMP", "PDF", "PostScript", "JPEG XL")
