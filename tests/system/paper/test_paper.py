"""The paper's nine tables and all its figures, as they are committed, out of one call of Snakemake over a miniature of its data.

`make paper` keeps the world in $PAPER, if that is set, to be looked at; a world that is there already is gone on with.
"""

import csv
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from support import PROJECT, paper, warm

from mperceiver import config, lineage
from mperceiver.config.datasets import Dataset
from mperceiver.config.experiments import Experiment
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.report.tables import build

pytestmark = pytest.mark.paper

TABLES = [f"table-{i}" for i in range(1, 10)]
AS_COMMITTED = ("tables", "figures", "protocols", "methods", "reported")
REPORTED = 737  # of the 739 numbers: two are of Fig. 2 alone
LIMIT = 2400  # seconds


def snakemake(world: Path, environment: dict[str, str], *words: str) -> str:
    words = ("snakemake", "--snakefile", str(PROJECT / "Snakefile"), "--configfile", "config/paper.yaml", *words)
    to_text = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(words, cwd=world, env=environment, timeout=LIMIT, **to_text)
    assert done.returncode == 0, done.stdout[-20000:]
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory, warm_commands):
    """The miniature, built; the working directory."""
    folder = (
        Path(os.environ["PAPER"]).resolve() if os.environ.get("PAPER") else tmp_path_factory.mktemp("paper") / "world"
    )
    if not (folder / "config").is_dir():
        paper.build(folder, "paper")
    (folder / "log").write_text(snakemake(folder, warm.environment(warm_commands), "--cores", "2"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_nothing_is_left_to_do(world):
    assert "Nothing to be done" in snakemake(world, warm.cold(), "-n")


def test_the_files_are_the_committed_ones(world):
    for kind in AS_COMMITTED:
        ours, theirs = (
            {p.name: p.read_text(encoding="utf-8") for p in (at / "config" / kind).iterdir()} for at in (world, PROJECT)
        )
        if kind == "tables":
            theirs["efficiency.yaml"] = paper.smaller_costs(theirs["efficiency.yaml"])
        if kind == "methods":
            theirs["mperceiver.yaml"] = theirs["mperceiver.yaml"].replace(*paper.STEPS)
            assert theirs["mperceiver.yaml"] != (PROJECT / "config/methods/mperceiver.yaml").read_text(encoding="utf-8")
            for name in [name for name, text in theirs.items() if "kind: checkpoint" in text]:
                small, committed = yaml.safe_load(ours.pop(name)), yaml.safe_load(theirs.pop(name))
                assert small.pop("checkpoint").pop("architecture") != committed.pop("checkpoint").pop("architecture")
                assert small == committed
        assert ours == theirs
    raw = {name for name in config.names("datasets") if config.load("datasets", name).sources}
    for name in set(config.names("datasets")) - raw:
        mine = _plain(config.load("datasets", name))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(PROJECT)
            assert mine == _plain(config.load("datasets", name)), name
    runs = [{name: config.load("runs", name) for name in config.names("runs") if name != "smoke"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        runs.append({name: config.load("runs", name) for name in config.names("runs")})
    for name, run in runs[0].items():
        assert (run.train, run.foundation, run.reuse, run.start_from) == (
            (other := runs[1][name]).train,
            other.foundation,
            other.reuse,
            other.start_from,
        )


def _plain(dataset: Dataset) -> dict:
    """A dataset without what is small in this world."""
    told = dataset.model_dump(mode="json", exclude=paper.SMALL_KEYS)
    if told["pairs"] and (told["pairs"]["sample"] or {}).get("count"):
        told["pairs"]["sample"] = None
    return told


def test_pairs_are_of_one_picture(world):
    """A degraded picture has its edges where its ground truth has them, but under snow on an empty sky."""
    alike = {}
    for name in paper.needed():
        pairs = PreparedDataset(name)
        for i in range(len(pairs)):
            if pairs.has("lq", i) and pairs.has("gt", i) and "snow" not in name:
                alike[name, pairs.ids[i]] = _alike(pairs.lq(i), pairs.gt(i))
    assert len(alike) > 50
    assert {pair: value for pair, value in alike.items() if value < 0.1} == {}


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """The rank correlation of the edges of two pictures (H, W, 3)."""
    smooth = [gaussian_filter(picture.astype(float).mean(2), 1) for picture in (one, other)]
    return float(np.corrcoef(*(rankdata(np.hypot(*np.gradient(picture))) for picture in smooth))[0, 1])


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_measured_or_says_why(world, name):
    for suffix in ("html", "csv", "tex"):
        assert (world / f"results/tables/{name}.{suffix}").stat().st_size > 1000
    built = build(name)
    for row, column, cell in built.filled():
        assert cell.why or cell.mean is not None or cell.reported is not None, (row.title, column)
        # A published network is measured on the datasets that it is for.
        elsewhere = not all(config.covers(member, name) for member in row.members for name in column.datasets)
        assert not row.measured or cell.mean is not None or elsewhere, (row.title, column, cell.why)
    measured = {row.method for row in built.rows if row.measured}
    assert "input" in measured and any(method.startswith("mperceiver") for method in measured)
    assert not [row.method for row in built.rows if row.group == "All-in-one" and not row.measured], (
        "every rival is trained"
    )


def test_what_every_method_costs_is_measured(world):
    built = build("efficiency")
    assert [row.method for row in built.rows if not row.measured] == []
    assert [(row.title, column.key, cell.why) for row, column, cell in built.filled() if not cell.mean] == []


def test_all_tables_compile_as_latex(world, tmp_path):
    """With nothing but the packages that their first lines name (Debian: texlive-latex-recommended)."""
    assert shutil.which("pdflatex"), "apt-get install texlive-latex-base texlive-latex-recommended"
    texts = [(world / f"results/tables/{name}.tex").read_text(encoding="utf-8") for name in TABLES]
    (packages,) = {re.search(r"\\usepackage\{[^}]*\}", text)[0] for text in texts}
    document = "\n\\clearpage\n".join(texts)
    (tmp_path / "t.tex").write_text(
        rf"\documentclass{{article}}\usepackage[margin=2cm]{{geometry}}{packages}\begin{{document}}{document}\end{{document}}",
        encoding="utf-8",
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    told = (tmp_path / "t.log").read_text(encoding="utf-8")
    assert "Missing character" not in told and "Float too large" not in told and "Overfull" not in told
    shutil.copy(tmp_path / "t.pdf", world / "tables.pdf")


def test_the_papers_numbers_stand_in_the_tables(world):
    found = 0
    for name in TABLES:
        with (world / f"results/tables/{name}.csv").open(newline="") as file:
            found += sum(bool(row["reported"]) for row in csv.DictReader(file))
    assert found == REPORTED


def test_test_pictures_that_were_trained_on_are_told(world):
    """CBSD400, on which the paper's denoising is trained, holds the test pictures of BSDS500, on which Table 6 is measured."""
    told = build("table-6").trained_on
    assert any(re.search(r"on bsds500-test-jpeg-10: \d+ in cbsd400-noise-train", line) for line in told), told
    assert not any("live1" in line for line in told)


def test_all_figures_are_drawn(world):
    experiment = config.parse(Path("config/paper.yaml"), Experiment)
    assert experiment.tables == [*TABLES, "efficiency"] and len(experiment.figures) == 8
    for name in experiment.figures:
        assert (world / f"results/figures/{name}.png").stat().st_size > 5000, name
    bars = (world / "results/figures/fig-2.svg").read_text(encoding="utf-8")
    assert "<pattern" not in bars, "nothing is hatched, as what the paper reports would be: all of it is measured"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        self.anchors |= {found["id"]} if "id" in found else set()


def test_the_site_is_whole_and_light(world):
    site = world / "results/report/paper"
    pages = {}
    for page in site.rglob("*.html"):
        pages[page] = _Links()
        pages[page].feed(page.read_text(encoding="utf-8"))
    assert len(pages) > 100
    for page, parsed in pages.items():
        for link in parsed.links:
            parts = urlsplit(link)
            if parts.scheme in ("https", "http", "data", "mailto"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page}: {link}"
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].anchors, f"{page}: {link}"
    assert (site / "index.html").stat().st_size < 2**20
    shell = (site / "index.html").read_text(encoding="utf-8")
    assert "A toy." in shell and "FID by random weights" in shell


def test_a_number_leads_to_the_pictures(world):
    cards = lineage.chain("results/report/paper.json")
    assert {card["verb"] for card in cards.values()} >= {
        "download",
        "prepare",
        "encode",
        "train_drm",
        "train_network",
        "score",
    }
