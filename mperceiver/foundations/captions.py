"""The language of a small foundation: a few words, and captions made of them for pictures that have none."""

import numpy as np

from mperceiver import images

# Token ids: padding; 1 and 2, the placeholders of prompts (`tokens` in the foundation's file); the words; start and end. The end id is the
# largest, because open_clip pools at the largest id.
PAD, FIRST_WORD = 0, 3
WORDS = (
    "a picture of with dark dim bright grey muted colourful red yellow green blue smooth detailed busy flat contrast clean "
    "haze snow gaussian-noise rain motion-blur defocus real-noise raindrop low-light"
).split()
START, END = FIRST_WORD + len(WORDS), FIRST_WORD + len(WORDS) + 1


def attributes(crops: np.ndarray) -> list[list[str]]:
    """Five words for each crop of uint8 (B, H, W, 3): its brightness, colourfulness, hue, detail and contrast."""
    x = crops.astype(np.float32) / 255
    luma = x @ np.array(images.GREY, np.float32)
    mean, deviation = luma.mean((1, 2)), luma.std((1, 2))
    chroma = (x.max(-1) - x.min(-1)).mean((1, 2))
    colour = x.mean((1, 2))
    detail = np.abs(np.diff(luma, axis=1)).mean((1, 2)) + np.abs(np.diff(luma, axis=2)).mean((1, 2))
    words = []
    for m, d, c, rgb, fine in zip(mean, deviation, chroma, colour, detail, strict=True):
        r, g, b = rgb
        hue = "blue" if b > max(r, g) else "green" if g >= r else "yellow" if g > (r + b) / 2 else "red"
        words.append(
            [
                "dark" if m < 0.25 else "dim" if m < 0.5 else "bright",
                "grey" if c < 0.08 else "muted" if c < 0.25 else "colourful",
                hue,
                "smooth" if fine < 0.03 else "detailed" if fine < 0.08 else "busy",
                "flat" if d < 0.12 else "contrast",
            ]
        )
    return words


def tokenise(words: list[str], length: int) -> list[int]:
    """Token ids of a caption: start, the words, end, and padding up to ``length``."""
    ids = [START, *(FIRST_WORD + WORDS.index(word) for word in words), END]
    return ids + [PAD] * (length - len(ids))


def caption(words: list[str]) -> list[str]:
    """The words of a caption from a crop's ``attributes``."""
    return ["a", *words[:3], "picture", *words[3:]]
