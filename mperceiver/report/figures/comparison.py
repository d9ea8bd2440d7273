"""Pictures side by side."""

import textwrap
from pathlib import Path

import numpy as np

from mperceiver import config, images
from mperceiver.config.figures import Figure
from mperceiver.report import tables
from mperceiver.report.figures.common import DPI, PALETTE, FigureError, ground_truth, per_picture

CELL_PX = 256  # a picture of a comparison, after enlarging it a whole number of times
GAP_PX = 10
FRAME = PALETTE[4]  # around the part that is shown enlarged: orange, seen on light and on dark
LINE_PX = 2

Part = tuple[int, int, int]  # left, top and side


def crop(picture: np.ndarray, part: Part | None = None) -> np.ndarray:
    """What of a picture (H, W, 3) is shown: a part, else all of it, or the middle of a large one.

    Enlarged a whole number of times, so that each pixel is one of the picture's. Raises FigureError for a part outside.
    """
    height, width = picture.shape[:2]
    left, top, side = part or (max(0, width - CELL_PX) // 2, max(0, height - CELL_PX) // 2, CELL_PX)
    if part and not (0 <= left <= width - side and 0 <= top <= height - side):
        raise FigureError(f"crop {list(part)} reaches out of a picture of {width}x{height} px")
    shown = picture[top : top + side, left : left + side]
    times = max(1, CELL_PX // max(shown.shape[:2]))
    return shown.repeat(times, axis=0).repeat(times, axis=1)


def framed(picture: np.ndarray, part: Part) -> np.ndarray:
    """All of a picture (H, W, 3), resampled so that its longer side is ``CELL_PX``, with a frame around a part of it."""
    from matplotlib.colors import to_rgb

    scale = CELL_PX / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    shown = images.resize(picture, height, width).copy()
    left, top, side = part
    x0, y0, x1, y1 = (round(at * scale) for at in (left, top, left + side, top + side))
    inside = shown[y0:y1, x0:x1]
    kept = inside[LINE_PX:-LINE_PX, LINE_PX:-LINE_PX].copy()
    inside[:] = np.round(255 * np.array(to_rgb(FRAME)))
    inside[LINE_PX:-LINE_PX, LINE_PX:-LINE_PX] = kept
    return shown


def telling(lq: np.ndarray, target: np.ndarray | None, side: int) -> Part:
    """The part of a degraded picture (H, W, 3) whose error varies most, so where structure was lost; the first of equals.

    It depends on no method. Without a ground truth (H, W, 3): the part that itself varies most. ``side`` px are
    at most the picture's shorter side.
    """
    error = lq.astype(np.int64).sum(2) - (0 if target is None else target.astype(np.int64).sum(2))
    side = min(side, *error.shape)

    def sums(values: np.ndarray) -> np.ndarray:
        whole = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return whole[side:, side:] - whole[:-side, side:] - whole[side:, :-side] + whole[:-side, :-side]

    variance = sums(error**2) - sums(error) ** 2 / side**2
    top, left = np.unravel_index(variance.argmax(), variance.shape)
    return int(left), int(top), side


def _shown(cells: list, part: Part | None, zoom_px: int | None) -> list[list[np.ndarray | None]]:
    """A panel's lines of pictures: the parts alone, or with ``zoom_px`` the whole pictures and the parts below them."""
    pictures = [picture for picture, _ in cells]
    if zoom_px is None or (part is None and zoom_px >= min(pictures[0].shape[:2])):
        return [[None if p is None else crop(p, part) for p in pictures]]
    part = part or telling(pictures[0], pictures[-1], zoom_px)
    parts = [None if p is None else crop(p, part) for p in pictures]
    return [[None if p is None else framed(p, part) for p in pictures], parts]


def draw(name: str, figure: Figure):
    """Rows are panels; columns the input, each method, the ground truth; PSNR under each.

    Parts are shown pixel for pixel, the same of every column; with `zoom_px` below the whole pictures, which are resampled.
    """
    import matplotlib.pyplot as plt

    from mperceiver.data.read.loader import PreparedDataset

    methods = {m: config.load("methods", m) for m in figure.methods}
    outputs = [m for m, spec in methods.items() if spec.kind != "identity"]
    titles = ["Input", *(methods[m].title for m in outputs), "Ground truth"]
    inputs = [Path(file) for m in methods for file in config.files_of("methods", m)]
    if not figure.panels:
        raise FigureError(f"{config.path_of('figures', name)}: a comparison needs `panels`")
    prepared = {d: PreparedDataset(d) for d in dict.fromkeys(panel.dataset for panel in figure.panels)}
    identity = next((m for m, spec in methods.items() if spec.kind == "identity"), "input")
    rows, missing = [], []
    for panel in figure.panels:
        pairs = prepared[panel.dataset]
        ids = list(pairs.ids)
        if panel.picture not in ids:
            raise FigureError(
                f"{config.path_of('figures', name)}: dataset {panel.dataset} has no picture {panel.picture}; it has "
                f"{', '.join(ids[:6])} … ({len(ids)} in all)"
            )
        index = ids.index(panel.picture)
        inputs.append(Path("data/prepared") / f"{panel.dataset}.json")
        scores = {m: per_picture(m, panel.dataset).get(panel.picture, {}) for m in [identity, *outputs]}
        cells = [(pairs.lq(index), scores[identity].get("psnr"))]
        for method in outputs:
            path = Path("results/restored") / method / panel.dataset / f"{panel.picture}.png"
            cells.append((images.decode(path), scores[method].get("psnr")) if path.is_file() else (None, None))
            if cells[-1][0] is None:
                missing.append(str(path))
        cells.append((ground_truth(pairs, index), None))
        for method in [identity, *outputs]:
            inputs += [
                tables.score_card(method, panel.dataset),
                Path("results/restored") / method / f"{panel.dataset}.json",
            ]
        task = next((s["task"] for s in scores.values() if s.get("task")), "")
        rows.append((task.replace("-", " ") or panel.picture, cells, _shown(cells, panel.crop, figure.zoom_px)))

    tall = [[max(c.shape[0] for c in line if c is not None) for line in lines] for *_, lines in rows]
    high = [sum(line) + GAP_PX * (len(line) - 1) for line in tall]
    wide = max(c.shape[1] for *_, lines in rows for line in lines for c in line if c is not None)
    wrapped = ["\n".join(textwrap.wrap(title, 17, break_on_hyphens=False)) for title in titles]
    head, left, under = 16 + 30 * max(t.count("\n") + 1 for t in wrapped), 44, 38
    width = left + len(titles) * (wide + GAP_PX)
    height = head + sum(high) + len(rows) * (under + GAP_PX // 2)
    drawn = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def text(x, y, words, **how):
        drawn.text(x / width, 1 - y / height, words, **({"ha": "center", "fontsize": 9} | how))

    columns = [left + j * (wide + GAP_PX) for j in range(len(titles))]
    for x, title in zip(columns, wrapped, strict=True):
        text(x + wide / 2, head - 10, title, va="bottom", linespacing=1.05)
    y = head
    for (label, cells, lines), heights, whole in zip(rows, tall, high, strict=True):
        text(left - 10, y + whole / 2, label, rotation=90, va="center", ha="right", style="italic")
        best = max((v for _, v in cells[:-1] if v is not None), default=None)
        for x, (picture, value) in zip(columns, cells, strict=True):
            if picture is None:
                words = "none" if x == columns[-1] else "not run"
                text(x + wide / 2, y + whole / 2, words, va="center", color="#666666")
            elif value is not None:
                bold = "bold" if value == best else "normal"
                text(x + wide / 2, y + whole + 8, f"{value:.2f} dB", va="top", fontsize=8.5, fontweight=bold)
        top = y
        for line, tallest in zip(lines, heights, strict=True):
            for x, picture in zip(columns, line, strict=True):
                if picture is not None:
                    middle = x + (wide - picture.shape[1]) // 2
                    drawn.figimage(picture, middle, height - top - picture.shape[0], origin="upper")
            top += tallest + GAP_PX
        y += whole + under + GAP_PX // 2
    result = {"panels": len(rows), "missing": missing}
    return drawn, [path for path in inputs if path.is_file()], result
