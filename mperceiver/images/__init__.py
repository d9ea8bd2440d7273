"""Pictures: reading, writing and converting them. No other package reads or writes picture files.

THE picture convention. In code a picture is a torch tensor of float32, RGB, (B, 3, H, W), in [0, 1]; a latent is
(B, 4, H/f, W/f). Read from a file, or inside the numpy degradations, it is a numpy array (H, W, 3): uint8 from files,
float32 in [0, 1] in degradations. Float is converted to 8 bit by rounding, never by truncation, which costs 0.2 dB at 42 dB.
Shape and range are checked where pictures enter the code, and an error prints both.

A file is converted to that convention as follows. EXIF orientation: the picture is rotated or mirrored accordingly, and the
tag is removed. Transparency: the alpha channel is dropped, colours stay as they are; colours that are stored multiplied by it
(associated alpha) are divided by it. Another depth than 8 bit: v of n bit becomes v * 255 / (2^n - 1), rounded (HEIC: its upper
8 bits, as libheif takes them; BMP of 5 or 6 bits: rounded down, as PIL does); only `decode_deep` keeps 16, as uint16, and
`decode_exact` does so where the file has them. Grey: repeated in three channels. RGB colour profile: not applied; a restored
photograph is written with the same profile, so that programs show its colours as before. CMYK: converted to sRGB by the picture's
own profile. Several frames: the first is used.
"""

from mperceiver.images.deep import decode_deep, decode_exact, is_deep
from mperceiver.images.forms import SUFFIXES, looks_like_a_picture
from mperceiver.images.limits import PictureError
from mperceiver.images.pil import from_pil, is_pil, to_pil
from mperceiver.images.png import rounded
from mperceiver.images.reading import Photograph, content, decode, read_photograph, size, stored
from mperceiver.images.tensors import GREY, UNCLIPPED, check, pad, resize, tiles, to_levels, to_picture, to_tensor
from mperceiver.images.writing import check_target, encode, encode_small, text_of

__all__ = [
    "GREY",
    "SUFFIXES",
    "UNCLIPPED",
    "Photograph",
    "PictureError",
    "check",
    "check_target",
    "content",
    "decode",
    "decode_deep",
    "decode_exact",
    "encode",
    "encode_small",
    "from_pil",
    "is_deep",
    "is_pil",
    "looks_like_a_picture",
    "pad",
    "read_photograph",
    "resize",
    "rounded",
    "size",
    "stored",
    "text_of",
    "tiles",
    "to_levels",
    "to_picture",
    "to_pil",
    "to_tensor",
]
