"""TIFF files of every header that tifffile writes: never other pixels than tifffile reads from them."""

import io

import numpy as np
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mperceiver import images

HEADERS = {
    "dtype": st.sampled_from(["u1", "u2"]),
    "photometric": st.sampled_from(["rgb", "minisblack", "miniswhite"]),
    "planarconfig": st.sampled_from([None, "contig", "separate"]),
    "compression": st.sampled_from([None, "zlib", "lzw", "packbits", "lzma", "zstd", "deflate"]),
    "extra": st.sampled_from([(), ("unspecified",), ("unassalpha",)]),
    "byteorder": st.sampled_from("<>"),
    "predictor": st.booleans(),
    "tile": st.sampled_from([None, (16, 16), (32, 16)]),
    "rowsperstrip": st.sampled_from([None, 1, 7]),
    "bigtiff": st.booleans(),
    "pages": st.sampled_from([1, 2]),
}


def expected(data: bytes, photometric: str) -> np.ndarray:
    """float64 (H, W, 3): the first page as tifffile reads it, its colours alone, in 0 to 255."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        values = page.asarray().astype(float) * 255 / (2**page.bitspersample - 1)
        if values.ndim == 3 and page.planarconfig == 2:
            values = values.transpose(1, 2, 0)
    values = values[..., None] if values.ndim == 2 else values
    values = 255 - values if photometric == "miniswhite" else values
    return values[..., :3] if photometric == "rgb" else np.repeat(values[..., :1], 3, axis=2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.fixed_dictionaries(HEADERS), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**16))
def test_headers_that_tifffile_writes(header, height, width, seed):
    channels = (3 if header["photometric"] == "rgb" else 1) + len(header["extra"])
    planar = header["planarconfig"] if channels > 1 else None
    assume(not (header["tile"] and header["rowsperstrip"]))
    kind = np.dtype(header["byteorder"] + header["dtype"])
    values = np.random.default_rng(seed).integers(0, 2 ** (8 * kind.itemsize), (height, width, channels)).astype(kind)
    values = values.transpose(2, 0, 1) if planar == "separate" else values
    values = values[..., 0] if channels == 1 else values
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=header["byteorder"], bigtiff=header["bigtiff"]) as writer:
        for _ in range(header["pages"]):
            writer.write(
                np.ascontiguousarray(values), photometric=header["photometric"], planarconfig=planar, compression=header["compression"],
                predictor=header["predictor"] and header["compression"] in ("zlib", "lzw", "deflate"), tile=header["tile"],
                rowsperstrip=header["rowsperstrip"], extrasamples=header["extra"] or None, metadata=None,
            )  # fmt: skip
    data = buffer.getvalue()
    picture = images.decode(data, "a.tif")
    right = expected(data, header["photometric"])
    assert picture.shape == right.shape and (abs(picture - right) <= 0.5 + 1e-6).all()
