"""A contact sheet of a prepared dataset: degraded pictures beside their ground truths, to look at before training on them."""

from pathlib import Path

import numpy as np

from mperceiver import files, images
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.seeds import picture_seed

DPI = 100
CELL_PX = (180, 240)  # height and width that a picture is shrunk, or enlarged a whole number of times, to fit in
COLUMNS = 3  # pairs side by side
GAP_PX, CAPTION_PX = 8, 18


def draw_contact_sheet(name: str, target: Path | None = None, count: int = 24, task: str | None = None) -> Path:
    """Draw pairs of a prepared dataset, spread evenly over its rows, as a PNG; return its path.

    Args:
        name: a dataset.
        target: where to; results/shown/{name}.png if not given.
        count: pairs at most.
        task: only those of this task.

    Raises:
        DataError: it is not prepared. PictureError: it has no pictures of the task, or one is damaged.
    """
    pairs = PreparedDataset(name)
    rows = [i for i, of_row in enumerate(pairs.tasks) if task in (None, of_row)]
    if not rows:
        raise images.PictureError(
            f"{name}: has no pictures of task {task}, but of {', '.join(sorted(set(pairs.tasks)))}"
        )
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    target = target or Path("results/shown") / f"{name}.png"
    _draw(target, [(_caption(pairs, i), *_pair(pairs, i)) for i in chosen])
    return target


def _pair(pairs: PreparedDataset, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    """lq and gt of a row, uint8 (H, W, 3); no gt where there is none."""
    if not pairs.on_the_fly:
        return pairs.lq(i), pairs.gt(i) if pairs.has("gt", i) else None
    gt = pairs.gt(i)
    lq = pairs.degraded(i, gt, picture_seed(pairs.name, pairs.ids[i], 0))
    return np.round(lq * 255).astype(np.uint8), gt


def _caption(pairs: PreparedDataset, i: int) -> str:
    height, width = pairs.size(i)
    return f"{pairs.ids[i]}   {pairs.tasks[i]}   {width}×{height}"


def _fit(picture: np.ndarray) -> np.ndarray:
    """Shrunk, or enlarged a whole number of times, into a cell."""
    height, width = picture.shape[:2]
    share = min(CELL_PX[0] / height, CELL_PX[1] / width)
    if share < 1:
        return images.resize(picture, max(1, round(height * share)), max(1, round(width * share)))
    return picture.repeat(int(share), axis=0).repeat(int(share), axis=1)


def _draw(target: Path, pairs: list[tuple[str, np.ndarray, np.ndarray | None]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(COLUMNS, len(pairs))
    block_high, block_wide = CELL_PX[0] + CAPTION_PX + GAP_PX, 2 * CELL_PX[1] + 2 * GAP_PX
    height, width = -(-len(pairs) // columns) * block_high + GAP_PX, columns * block_wide + GAP_PX
    sheet = np.full((height, width, 3), 255, np.uint8)
    captions = []
    for number, (caption, *both) in enumerate(pairs):
        row, column = divmod(number, columns)
        top, left = GAP_PX + row * block_high, GAP_PX + column * block_wide
        for side, picture in enumerate(both):
            if picture is not None:
                small = _fit(picture)
                x = left + side * (CELL_PX[1] + GAP_PX // 2)
                sheet[top : top + small.shape[0], x : x + small.shape[1]] = small
        captions.append((left, top + CELL_PX[0] + 2, caption))
    drawn = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    drawn.figimage(sheet)
    for x, y, caption in captions:
        drawn.text(x / width, 1 - y / height, caption, fontsize=7, va="top", ha="left")
    with files.atomic_file(target) as beside:
        drawn.savefig(beside, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(drawn)
