"""Pictures side by side."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mperceiver import config, images, paths
from mperceiver.config.figures import Figure, Panel
from mperceiver.report.columns.score import MAIN, MEASURES
from mperceiver.report.figures.common import DPI, FigureError
from mperceiver.report.figures.crops import cropped, framed, most_varied
from mperceiver.report.grid import printed
from mperceiver.report.pairs import ground_truth
from mperceiver.report.scores import INPUT, per_picture, result
from mperceiver.report.tables.ranks import places

OF_PICTURES = True
GAP_PX = 10  # between neighbouring pictures
LEFT_PX = 44  # for the rows' labels
UNDER_PX = 38  # for the number under each picture
NOTE_PX = 20  # for the protocol of the numbers


def describe(figure: Figure) -> str:
    """What the rows and columns are."""
    methods = ", ".join(figure.methods)
    return f"Pictures side by side: {len(figure.panels)} rows; columns input, {methods}, ground truth."


@dataclass
class Shown:
    """One picture of a row, in one line or in two: the whole picture, and a crop below."""

    lines: list[np.ndarray]  # uint8 (H, W, 3) each; none where the picture is absent
    value: float | None  # of the main metric
    ranked: bool  # false for the input, for a reference that saw the ground truth, and for the ground truth


@dataclass
class PanelRow:
    """The pictures of one panel: input, each method's, ground truth."""

    label: str
    pictures: list[Shown]

    @property
    def heights(self) -> list[int]:
        """Height of each line in px."""
        lines = max(len(one.lines) for one in self.pictures)
        return [max(one.lines[k].shape[0] for one in self.pictures if one.lines) for k in range(lines)]

    @property
    def height(self) -> int:
        return sum(self.heights) + GAP_PX * (len(self.heights) - 1)


def draw(name: str, figure: Figure):
    """A row for each panel; columns the input, each method, the ground truth; the main metric under each.

    Crops are shown pixel for pixel, the same of every column; with `zoom_px` below the whole pictures, which are resampled.
    """
    from mperceiver.data.read.loader import PreparedDataset

    methods = {method: config.load("methods", method) for method in figure.methods}
    outputs = [method for method, spec in methods.items() if spec.kind != "identity"]
    identity = next((method for method, spec in methods.items() if spec.kind == "identity"), INPUT)
    titles = ["Input", *(methods[method].title for method in outputs), "Ground truth"]
    prepared = {
        dataset: PreparedDataset(dataset) for dataset in dict.fromkeys(panel.dataset for panel in figure.panels)
    }
    inputs: list[Path] = []
    rows, missing = [], []
    for panel in figure.panels:
        pairs = prepared[panel.dataset]
        if panel.picture not in pairs.ids:
            raise FigureError(
                f"{config.path_of('figures', name)}: dataset {panel.dataset} has no picture {panel.picture}; it has "
                f"{', '.join(pairs.ids[:6])} … ({len(pairs.ids)} in all)"
            )
        index = pairs.ids.index(panel.picture)
        restored = [paths.restored_picture(method, panel.dataset, panel.picture) for method in outputs]
        lq = pairs.lq(index)
        pictures = [images.decode(path) if path.is_file() else None for path in restored]
        pictures = [lq, *pictures, ground_truth(pairs, index)]
        missing += [str(path) for path in restored if not path.is_file()]
        label, values = _scores(panel, [identity, *outputs])
        ranked = [False, *(methods[method].kind not in config.REFERENCES for method in outputs), False]
        lines = _lines(lq, pictures, panel, figure.zoom_px)
        shown = [Shown(*one) for one in zip(lines, [*values, None], ranked, strict=True)]
        rows.append(PanelRow(label, shown))
        inputs.append(paths.prepared_card(panel.dataset))
        for method in [identity, *outputs]:
            inputs += [paths.scores_card(method, panel.dataset), paths.restored_card(method, panel.dataset)]
    drawn = {"panels": len(rows), "missing": missing}
    return (
        _drawing(titles, rows, _protocols(figure.panels, [identity, *outputs])),
        [path for path in inputs if path.is_file()],
        drawn,
    )


def _scores(panel: Panel, methods: list[str]) -> tuple[str, list[float | None]]:
    """The row's label, the picture's task or else its id, and the main metric of each method, None where it is unknown."""
    frames = [per_picture(method, panel.dataset) for method in methods]
    scored = [frame.loc[panel.picture] if panel.picture in frame.index else None for frame in frames]
    tasks = [scores["task"] for scores in scored if scores is not None and scores["task"]]
    values = [None if scores is None or np.isnan(scores.get(MAIN, np.nan)) else scores[MAIN] for scores in scored]
    return (tasks[0].replace("-", " ") if tasks else panel.picture), values


def _protocols(panels: list[Panel], methods: list[str]) -> str:
    """Under which protocols the numbers were scored, in words: "protocol rgb", or with the datasets where there are several."""
    used: dict[str, dict[str, None]] = {}
    for dataset in dict.fromkeys(panel.dataset for panel in panels):
        for scores in filter(None, (result(method, dataset) for method in methods)):
            used.setdefault(scores["protocol"], {})[dataset] = None
    if len(used) < 2:
        return "".join(f"protocol {name}" for name in used)
    return "; ".join(f"protocol {name} on {', '.join(datasets)}" for name, datasets in used.items())


def _lines(
    lq: np.ndarray, pictures: list[np.ndarray | None], panel: Panel, zoom_px: int | None
) -> list[list[np.ndarray]]:
    """For each of a panel's pictures the crop alone, or with ``zoom_px`` the whole picture and the crop below it; none where it is absent.

    ``lq``: the panel's input, which is the first of the pictures.
    """
    crop = panel.crop
    if zoom_px is None or (crop is None and zoom_px >= min(lq.shape[:2])):
        return [[] if picture is None else [cropped(picture, crop)] for picture in pictures]
    crop = crop or most_varied(lq, pictures[-1], zoom_px)
    return [[] if picture is None else [framed(picture, crop), cropped(picture, crop)] for picture in pictures]


def _drawing(titles: list[str], rows: list[PanelRow], protocols: str):
    """The figure: titles above, rows below each other, each picture pixel for pixel; at the end how the numbers were scored."""
    import matplotlib.pyplot as plt

    measure = MEASURES[MAIN]
    wide = max(line.shape[1] for row in rows for one in row.pictures for line in one.lines)
    wrapped = ["\n".join(textwrap.wrap(title, 17, break_on_hyphens=False)) for title in titles]
    head = 16 + 30 * max(title.count("\n") + 1 for title in wrapped)
    width = LEFT_PX + len(titles) * (wide + GAP_PX)
    height = head + sum(row.height for row in rows) + len(rows) * (UNDER_PX + GAP_PX // 2) + NOTE_PX
    drawing = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def text(x, y, words, **how):
        drawing.text(x / width, 1 - y / height, words, **({"ha": "center", "fontsize": 9} | how))

    columns = [LEFT_PX + j * (wide + GAP_PX) for j in range(len(titles))]
    for x, title in zip(columns, wrapped, strict=True):
        text(x + wide / 2, head - 10, title, va="bottom", linespacing=1.05)
    y = head
    for row in rows:
        text(LEFT_PX - 10, y + row.height / 2, row.label, rotation=90, va="center", ha="right", style="italic")
        numbers = pd.Series([one.value if one.ranked else None for one in row.pictures], dtype=float)
        best = places(numbers, measure).eq(1).fillna(False)
        for x, one, is_best in zip(columns, row.pictures, best, strict=True):
            if not one.lines:
                words = "none" if x == columns[-1] else "not run"
                text(x + wide / 2, y + row.height / 2, words, va="center", color="#666666")
            elif one.value is not None:
                words = f"{printed(one.value, measure)} {measure.unit}".rstrip()
                weight = "bold" if is_best else "normal"
                text(x + wide / 2, y + row.height + 8, words, va="top", fontsize=8.5, fontweight=weight)
        top = y
        for k, tallest in enumerate(row.heights):
            for x, one in zip(columns, row.pictures, strict=True):
                if one.lines:
                    picture = one.lines[k]
                    middle = x + (wide - picture.shape[1]) // 2
                    drawing.figimage(picture, middle, height - top - picture.shape[0], origin="upper")
            top += tallest + GAP_PX
        y += row.height + UNDER_PX + GAP_PX // 2
    if protocols:
        text(
            LEFT_PX,
            height - NOTE_PX + 4,
            f"{measure.label}: {protocols}.",
            va="top",
            ha="left",
            fontsize=7.5,
            color="#666666",
        )
    return drawing
