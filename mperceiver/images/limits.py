"""What a picture may cost: its pixels, and the memory of the machine."""

from mperceiver.machine import free_memory_bytes

MAX_PIXELS = 256_000_000
BYTES_PER_PIXEL = 20  # of memory while a picture is decoded: the decoder's own pixels, their copies, and the RGB result
SMALL_PIXELS = 16_000_000  # below it the free memory is not asked


class PictureError(ValueError):
    """A picture cannot be read or used. The message names it."""


def check_size(name: str, width: int, height: int, bytes_per_pixel: int = BYTES_PER_PIXEL) -> None:
    """Raise PictureError if a picture of this size, in px, is empty, or larger than MAX_PIXELS or than the free memory."""
    if width < 1 or height < 1:
        raise PictureError(f"{name}: has no pixels ({width}x{height})")
    if width * height > MAX_PIXELS:
        raise PictureError(f"{name}: {width}x{height} is more than {MAX_PIXELS:,} pixels; refusing to decode")
    if width * height <= SMALL_PIXELS:
        return
    needed, free = width * height * bytes_per_pixel, free_memory_bytes()
    if needed > free:
        raise PictureError(
            f"{name}: decoding {width}x{height} takes about {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are "
            "free; end other programs, ask for more memory (`--mem` in SLURM), or save the picture smaller"
        )
