"""Record what NAFNet makes of the shipped weights' pairs in their CPU time in docs/rivals.md, after
`snakemake --cores all --configfile config/small-nafnet.yaml`: uv run python -m tools.shipped_rival"""

import shutil
from pathlib import Path

from mperceiver import config, csvs, files, lineage, paths
from mperceiver.metrics import METRICS
from tools import shipped
from tools.blocks import commit_of, fill

PAGE, RIVAL, FIGURE = Path("docs/rivals.md"), "small-nafnet", "small-nafnet-comparison"


def counts() -> str:
    """On how many degradations and mixes the shipped weights are better, by each metric, and what both do to clean photographs."""
    better = [
        f"in {METRICS[metric].label} on {shipped.better_in(metric, shipped.METHOD, RIVAL)}"
        for metric in shipped.MEASURES
    ]
    return (
        f"The shipped weights are better than NAFNet {', '.join(better)}. Of Kodak24's clean photographs, NAFNet returns what is "
        f"nearer to them: {shipped.decibels(RIVAL)}, and the shipped weights {shipped.decibels(shipped.METHOD)}."
    )


def source() -> str:
    """Where the numbers are from, and what the training took."""
    card = config.weights_files(RIVAL)["network"].with_suffix(".json")
    training = lineage.read_card(card)
    benchmark = paths.benchmark_file("train_network", RIVAL)
    used = csvs.measured(benchmark, "cpu_time")
    assert used is not None, f"{benchmark}: does not tell the training's CPU time"
    return (
        f"{training['result']['parameters'] / 1e6:.1f} million parameters, {training['result']['steps']:,} steps, {used:,.0f} CPU-seconds. One training, "
        f"one seed. Trained at commit {commit_of(card)}, scored at commit {commit_of(paths.scores_card(RIVAL, shipped.TASKS))}."
    )


def main() -> None:
    """Fill the page's block and copy the picture beside it."""
    shutil.copyfile(paths.figure_file(FIGURE, "png"), PAGE.parent / "rivals-small.png")
    picture = f"![{config.load('figures', FIGURE).title}](rivals-small.png)"
    text = "\n\n".join([shipped.table(RIVAL, ("NAFNet", "shipped")), counts(), source(), picture])
    files.write_text(PAGE, fill(PAGE.read_text(encoding="utf-8"), "shipped rival", text))
    print(f"{PAGE}: written")


if __name__ == "__main__":
    main()
