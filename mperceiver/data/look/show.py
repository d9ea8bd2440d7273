"""A contact sheet of a prepared dataset: degraded pictures beside their ground truths, to look at before a training."""

import textwrap
from pathlib import Path

import numpy as np

from mperceiver import files, images, paths
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.seeds import picture_seed

DPI = 100
CELL_PX = 240  # the longer side of a cell, which has the shape of most of the pictures
NARROWEST = 0.5  # shorter side of a cell, as a share of the longer one
CHARACTER_PX = 5  # of a caption
COLUMNS = 3  # pairs side by side
GAP_PX, CAPTION_PX = 8, 18


def draw_contact_sheet(name: str, target: Path | None = None, count: int = 24, task: str | None = None) -> Path:
    """Draw pairs of a prepared dataset, spread evenly over its rows, as a PNG; return its path.

    Args:
        name: a dataset.
        target: the PNG; results/shown/{name}.png if not given.
        count: most pairs that are drawn.
        task: only pairs of this task.

    Raises:
        DataError: the dataset is not prepared. PictureError: it has no pictures of the task, one is damaged, or ``target`` is
            a folder or does not end in .png.
    """
    target = target or paths.shown_file(name)
    images.check_target(target)
    pairs = PreparedDataset(name)
    rows = [i for i, of_row in enumerate(pairs.tasks) if task in (None, of_row)]
    if not rows:
        raise images.PictureError(f"{name}: has no pictures of task {task}, but {', '.join(sorted(set(pairs.tasks)))}")
    selected = [rows[i] for i in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    _draw_sheet(target, [(_caption(pairs, i), *_pictures(pairs, i)) for i in selected])
    return target


def _pictures(pairs: PreparedDataset, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    """lq and gt of row i, uint8 (H, W, 3); gt is None where there is none."""
    if not pairs.on_the_fly:
        return pairs.lq(i), pairs.gt(i) if pairs.has("gt", i) else None
    gt = pairs.gt(i)
    lq = pairs.degraded(i, gt, picture_seed(pairs.name, pairs.ids[i], 0))
    return np.round(lq * 255).astype(np.uint8), gt


def _caption(pairs: PreparedDataset, i: int) -> str:
    height, width = pairs.size(i)
    return f"{pairs.ids[i]}   {pairs.tasks[i]}   {width}×{height}"


def _cell(pictures: list[np.ndarray]) -> tuple[int, int]:
    """Height and width of a cell, of the pictures' median shape, so that most of them fill it."""
    tall = float(np.median([picture.shape[0] / picture.shape[1] for picture in pictures]))
    tall = min(max(tall, NARROWEST), 1 / NARROWEST)
    return (round(CELL_PX * tall), CELL_PX) if tall < 1 else (CELL_PX, round(CELL_PX / tall))


def _fit_into_cell(picture: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) shrunk or enlarged until one of its sides is the cell's; what is enlarged keeps its pixels' edges."""
    height, width = picture.shape[:2]
    scale = min(cell[0] / height, cell[1] / width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < 1:
        return images.resize(picture, *size)
    rows, columns = (np.arange(to) * side // to for to, side in zip(size, (height, width), strict=True))
    return picture[rows][:, columns]


def _draw_sheet(target: Path, pairs: list[tuple[str, np.ndarray, np.ndarray | None]]) -> None:
    """Draw (caption, lq, gt or None) in cells from left to right and top to bottom."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(COLUMNS, len(pairs))
    cell = _cell([picture for _, *pictures in pairs for picture in pictures if picture is not None])
    block_height, block_width = cell[0] + CAPTION_PX + GAP_PX, 2 * cell[1] + 2 * GAP_PX
    height, width = -(-len(pairs) // columns) * block_height + GAP_PX, columns * block_width + GAP_PX
    sheet = np.full((height, width, 3), 255, np.uint8)
    captions = []
    for number, (caption, *pictures) in enumerate(pairs):
        row, column = divmod(number, columns)
        top, left = GAP_PX + row * block_height, GAP_PX + column * block_width
        for side, picture in enumerate(pictures):
            if picture is not None:
                fitted = _fit_into_cell(picture, cell)
                x = left + side * (cell[1] + GAP_PX // 2)
                sheet[top : top + fitted.shape[0], x : x + fitted.shape[1]] = fitted
        captions.append(
            (left, top + cell[0] + 2, textwrap.shorten(caption, 2 * cell[1] // CHARACTER_PX, placeholder="…"))
        )
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(sheet)
    for x, y, caption in captions:
        figure.text(x / width, 1 - y / height, caption, fontsize=7, va="top", ha="left")
    with files.atomic_file(target) as beside:
        figure.savefig(beside, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
