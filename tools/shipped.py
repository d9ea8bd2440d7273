"""Record what the shipped weights can do in docs/restore.md, after `snakemake --cores all --configfile config/small.yaml`:
uv run python -m tools.shipped"""

import shutil
from pathlib import Path
from typing import Any

from mperceiver import config, files, paths
from mperceiver.config.base import SURE
from mperceiver.metrics import METRICS
from mperceiver.report import predictions, scores
from tools.blocks import commit_of, fill, table_lines

PAGE, METHOD = Path("docs/restore.md"), "small"
NO_DRM, ENSEMBLE = "small-no-drm", "small-plus"  # the same weights used in other ways
TASKS, MIXES, CLEAN = "kodak24-tasks", "kodak24-mixes", "kodak24-clean"
MEASURES = ("psnr", "ssim", "lpips")
PICTURES = {"small-comparison": "small.png", "small-reliability": "small-reliability.png"}


def result(method: str, dataset: str) -> dict[str, Any]:
    """What the card of a method's scores holds. Raises ValueError where the method was not scored."""
    content = scores.result(method, dataset)
    if content is None:
        raise ValueError(
            f"{paths.scores_card(method, dataset)}: not there; run: snakemake --cores all --configfile config/small.yaml"
        )
    return content


def heading(metric: str) -> str:
    unit = f" ({METRICS[metric].unit})" if METRICS[metric].unit else ""
    return f"{METRICS[metric].label}{unit} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def row(label: str, before: dict[str, float], after: dict[str, float], interval: str = "") -> list[str]:
    """A row of the table: each metric before and after, the better one in bold, and the interval of the first metric after it."""
    cells = [label]
    for metric in MEASURES:
        texts = [f"{numbers[metric]:.{METRICS[metric].decimals}f}" for numbers in (before, after)]
        gain = (after[metric] - before[metric]) * (1 if METRICS[metric].higher_is_better else -1)
        bold = [f"**{text}**" if better else text for text, better in zip(texts, (gain < 0, gain > 0), strict=True)]
        cells += [bold[0], bold[1] + (interval if metric == MEASURES[0] else "")]
    return cells


def means(method: str, dataset: str) -> dict[str, float]:
    """The mean over a dataset's tasks of each metric."""
    tasks = result(method, dataset)["tasks"].values()
    return {metric: sum(task[metric]["mean"] for task in tasks) / len(tasks) for metric in MEASURES}


def rows_of(dataset: str, mean: str, other: str = "input") -> list[list[str]]:
    """A row for each task of a dataset, and one for their mean: the method ``other``, then the shipped weights."""
    before, after = result(other, dataset)["tasks"], result(METHOD, dataset)["tasks"]
    rows = []
    for task in after:
        numbers = [{metric: tasks[task][metric]["mean"] for metric in MEASURES} for tasks in (before, after)]
        first = after[task][MEASURES[0]]
        rows.append(row(task.replace("-", " "), *numbers, f" [{first['low']:.2f}, {first['high']:.2f}]"))
    return [*rows, row(f"*{mean}*", means(other, dataset), means(METHOD, dataset))]


def better_in(metric: str, method: str, other: str) -> str:
    """On how many degradations and mixes ``method`` is better than ``other``: "9 of 9 degradations and 6 of 6 mixes"."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    texts = []
    for dataset, noun in ((TASKS, "degradations"), (MIXES, "mixes")):
        ours, theirs = (result(name, dataset)["tasks"] for name in (method, other))
        better = [sign * (ours[task][metric]["mean"] - theirs[task][metric]["mean"]) > 0 for task in ours]
        texts.append(f"{sum(better)} of {len(better)} {noun}")
    return " and ".join(texts)


def variants() -> str:
    """The same weights used in other ways: their means, and how often the better way is better, in sentences."""
    texts = []
    for title, method in (("without the DRM", NO_DRM), ("as a self-ensemble of two", ENSEMBLE)):
        nine, six = means(method, TASKS), means(method, MIXES)
        texts.append(
            f"{title} {nine['psnr']:.2f} dB and LPIPS {nine['lpips']:.3f} on the nine, {six['psnr']:.2f} dB and {six['lpips']:.3f} on the mixes"
        )
    return (
        f"**The same weights used in other ways**: {'; '.join(texts)}. The DRM raises PSNR on "
        f"{better_in('psnr', METHOD, NO_DRM)}, the self-ensemble on {better_in('psnr', ENSEMBLE, METHOD)}."
    )


def table(other: str = "input", sides: tuple[str, str] = ("input", "restored")) -> str:
    """What the weights make of each degradation and each mix, beside what the method ``other`` makes of it, as Markdown."""
    heads = [f"{side} {heading(metric)}" for metric in MEASURES for side in sides]
    rows = rows_of(TASKS, "mean of the nine", other) + rows_of(MIXES, "mean of the six mixes", other)
    return "\n".join(table_lines(["", *heads], rows, numbers=True))


def decibels(method: str) -> str:
    """The PSNR at which a method returns clean photographs, in words."""
    psnr = scores.per_picture(method, CLEAN)["psnr"]
    return f"{psnr.min():.1f} to {psnr.max():.1f} dB, with a median of {psnr.median():.1f} dB"


def clean() -> str:
    """What the weights make of clean photographs, and how often the predictor is right, in sentences."""
    degraded, clean_ones = predictions.read(METHOD, TASKS), predictions.read(METHOD, CLEAN)
    predicted = predictions.predictions(degraded)
    called = [predictions.called_clean(some) for some in (clean_ones, degraded)]
    assert predicted is not None and None not in called
    shares = (*called, predictions.sure(clean_ones))
    right, wrong, sure = (f"{100 * share:.0f} %" if share else "none" for share in shares)
    return (
        f"**Clean photographs**: Kodak24's {result(METHOD, CLEAN)['n']}, whole, come back at {decibels(METHOD)}.\n\n"
        f"**The degradation predictor** is right on {100 * predicted.accuracy():.1f} % of the {len(predicted.right)} crops with one degradation each, with "
        f"an expected calibration error of {predicted.calibration_error():.3f}. `restore` says that nothing seems wrong with {right} of the clean photographs, "
        f"and, wrongly, with {wrong} of the degraded crops; {sure} of the clean photographs has a degradation with {100 * SURE:.0f} % or more. {of_mixes()}"
    )


def of_mixes() -> str:
    """How many of a mix's degradations the predictor finds, in a sentence."""
    mixed = {task: set(layers) for task, layers in config.load("datasets", MIXES).degradations.items()}
    counts = predictions.among_most_probable(predictions.read(METHOD, MIXES), mixed)
    most = max(len(names) for names in mixed.values())
    return (
        f"On average the {most} most probable classes contain {counts.mean():.1f} of a mix's {most} degradations; "
        f"for {100 * (counts >= 2).mean():.0f} % of the mixes they contain two or more."
    )


def source() -> str:
    """Where the numbers are from."""
    weights = commit_of(config.weights_files(METHOD)["drm"].with_suffix(".json"))
    return (
        f"Crops of 128 px of the 24 photographs of Kodak24, {result(METHOD, TASKS)['n']} with one degradation and {result(METHOD, MIXES)['n']} with a mix; "
        f"the better of input and restored in bold, in brackets the 95 % bootstrap interval. One training, one seed. Weights of commit "
        f"{weights}, scored at commit {commit_of(paths.scores_card(METHOD, TASKS))}."
    )


def main() -> None:
    """Fill the page's blocks and copy the pictures beside it."""
    text = PAGE.read_text(encoding="utf-8")
    text = fill(text, "shipped table", "\n\n".join([table(), source(), variants(), clean()]))
    for figure, name in PICTURES.items():
        shutil.copyfile(paths.figure_file(figure, "png"), PAGE.parent / name)
    pictures = [f"![{config.load('figures', figure).title}]({name})" for figure, name in PICTURES.items()]
    files.write_text(PAGE, fill(text, "shipped pictures", "\n\n".join(pictures)))
    print(f"{PAGE}: written")


if __name__ == "__main__":
    main()
