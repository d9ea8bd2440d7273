"""Pictures side by side."""

import textwrap
from pathlib import Path

from mperceiver import config, images
from mperceiver.report import tables
from mperceiver.report.figures.common import DPI, FigureError, ground_truth, per_picture

CELL_PX = 256  # a picture of a comparison, after enlarging it a whole number of times
GAP_PX = 10


def crop(picture, part: tuple[int, int, int] | None = None):
    """What of a picture (H, W, 3) is shown: a part (left, top, side), else all of it, or the middle of a large one.

    Enlarged a whole number of times, so that each pixel is one of the picture's. Raises FigureError for a part outside.
    """
    height, width = picture.shape[:2]
    left, top, side = part or (max(0, width - CELL_PX) // 2, max(0, height - CELL_PX) // 2, CELL_PX)
    if part and not (0 <= left <= width - side and 0 <= top <= height - side):
        raise FigureError(f"crop {list(part)} reaches out of a picture of {width}x{height} px")
    shown = picture[top : top + side, left : left + side]
    times = max(1, CELL_PX // max(shown.shape[:2]))
    return shown.repeat(times, axis=0).repeat(times, axis=1)


def draw(name: str, figure: config.Figure):
    """Rows are panels; columns the input, each method, the ground truth; PSNR under each. Pixel for pixel, not resampled."""
    import matplotlib.pyplot as plt

    from mperceiver.data.loader import Prepared

    methods = {m: config.load("methods", m) for m in figure.methods}
    outputs = [m for m, spec in methods.items() if spec.kind != "identity"]
    titles = ["Input", *(methods[m].title for m in outputs), "Ground truth"]
    inputs = [Path(file) for m in methods for file in config.files_of("methods", m)]
    if not figure.panels:
        raise FigureError(f"{config.path_of('figures', name)}: a comparison needs `panels`")
    prepared = {d: Prepared(d) for d in dict.fromkeys(panel.dataset for panel in figure.panels)}
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
        rows.append((task.replace("-", " ") or panel.picture, cells, panel.crop))

    crops = [[None if p is None else crop(p, part) for p, _ in cells] for _, cells, part in rows]
    tall = [max(c.shape[0] for c in line if c is not None) for line in crops]
    wide = max(c.shape[1] for line in crops for c in line if c is not None)
    wrapped = ["\n".join(textwrap.wrap(title, 17, break_on_hyphens=False)) for title in titles]
    head, left, under = 16 + 30 * max(t.count("\n") + 1 for t in wrapped), 44, 38
    width = left + len(titles) * (wide + GAP_PX)
    height = head + sum(tall) + len(rows) * (under + GAP_PX // 2)
    drawn = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def text(x, y, words, **how):
        drawn.text(x / width, 1 - y / height, words, **({"ha": "center", "fontsize": 9} | how))

    for j, title in enumerate(wrapped):
        text(left + j * (wide + GAP_PX) + wide / 2, head - 10, title, va="bottom", linespacing=1.05)
    y = head
    for (label, cells, _), line, high in zip(rows, crops, tall, strict=True):
        text(left - 10, y + high / 2, label, rotation=90, va="center", ha="right", style="italic")
        best = max((v for _, v in cells[:-1] if v is not None), default=None)
        for j, ((_, value), picture) in enumerate(zip(cells, line, strict=True)):
            x = left + j * (wide + GAP_PX)
            if picture is None:
                text(
                    x + wide / 2,
                    y + high / 2,
                    "not run" if j < len(cells) - 1 else "none",
                    va="center",
                    color="#666666",
                )
                continue
            drawn.figimage(picture, x, height - y - picture.shape[0], origin="upper")
            if value is not None:
                bold = "bold" if value == best else "normal"
                text(x + wide / 2, y + high + 8, f"{value:.2f} dB", va="top", fontsize=8.5, fontweight=bold)
        y += high + under + GAP_PX // 2
    result = {"panels": len(rows), "missing": missing}
    return drawn, [path for path in inputs if path.is_file()], result
