"""A small but complete tree of configuration, data, results and cards, for the tests of the report."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import yaml

from mperceiver import config, files, images, lineage

COMMIT = ("c0ffee" * 6 + "beef", False)
TASKS = ["haze", "rain"]
METHODS = {
    "input": {"title": "Degraded input", "kind": "identity"},
    "ceiling": {"title": "Ground truth through the VAE", "kind": "vae", "foundation": "toy"},
    "one": {"title": "One & <only>", "kind": "network", "run": "one"},
    "two": {"title": "Two_50%", "kind": "network", "run": "two"},
}
# psnr, ssim, lpips of the two pictures of a task. On haze, one and two print alike in PSNR (20.00) and differ in SSIM; on rain
# the input is best in PSNR, and one has the lowest, so best, LPIPS.
SCORES = {
    "input": {"haze": [(12.0, 0.5, 0.4), (13.0, 0.6, 0.5)], "rain": [(25.0, 0.7, 0.3), (25.5, 0.72, 0.31)]},
    "ceiling": {"haze": [(30.0, 0.9, 0.1), (31.0, 0.91, 0.11)], "rain": [(30.0, 0.9, 0.1), (31.0, 0.91, 0.11)]},
    "one": {"haze": [(19.0, 0.8, 0.2), (21.008, 0.82, 0.22)], "rain": [(24.0, 0.71, 0.1), (24.5, 0.73, 0.12)]},
    "two": {"haze": [(19.5, 0.7, 0.2), (20.492, 0.72, 0.22)], "rain": [(23.0, 0.75, 0.2), (23.5, 0.76, 0.21)]},
}
PAPER = """\
table,task,dataset,method_type,method,metric,value,higher_is_better
1,dehazing,Average,all-in-one,Ours,PSNR,21.00,true
1,dehazing,Average,task-specific,Theirs,PSNR,99.00,true
1,dehazing,Average,task-specific,Theirs,SSIM,,true
1,deraining,Toys,task-specific,Theirs,PSNR,31.5,true
"""
TABLE = {
    "title": "Toys & <b>tasks</b>",
    "caption": "A caption with 100 % of the #special_characters: \\ $x^2$ {~} σ ≤ 語.",
    "rows": [
        {"title": "Reference", "methods": ["input", "ceiling"]},
        {"title": "All-in-one", "methods": ["one", "two"]},
    ],
    "columns": [
        {"dataset": "toys", "task": "haze", "label": "Haze", "metrics": ["psnr", "ssim", "lpips"]},
        {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr", "ssim", "lpips"]},
    ],
    "average": True,
}


def dump(kind: str, name: str, values: dict) -> None:
    path = Path("config") / kind / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def card(path: str, verb: str, inputs=(), outputs=(), result=None, sources=None, spec=None) -> None:
    lineage.begin(verb, spec or {"made by": "a test"}, inputs).write_card(
        path, outputs=outputs, result=result, sources=sources
    )


def score(method: str, dataset: str = "toys", protocol: str = "rgb", scores: dict | None = None) -> None:
    """Write the scores of a method and their card; without `results/restored` of the method, no card of it is named."""
    rows = [
        (f"{task}-{i}", task, values)
        for task, pictures in (scores or SCORES[method]).items()
        for i, values in enumerate(pictures)
    ]
    path = Path("results/scores") / method / f"{dataset}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = ["psnr", "ssim", "lpips"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "task", *metrics])
        writer.writerows([name, task, *("" if v is None else repr(v) for v in values)] for name, task, values in rows)

    def mean(values):
        return None if None in values else math.fsum(values) / len(values)

    tasks = {}
    for task in dict.fromkeys(row[1] for row in rows):
        columns = list(zip(*(values for _, of, values in rows if of == task), strict=True))
        tasks[task] = {"n": len(columns[0])} | {
            m: {"mean": mean(c), "low": None if None in c else min(c), "high": None if None in c else max(c)}
            for m, c in zip(metrics, columns, strict=True)
        }
    everything = list(zip(*(values for *_, values in rows), strict=True))
    restored = Path(f"results/restored/{method}/{dataset}.json")
    card(
        str(path.with_suffix(".json")),
        "score",
        [
            f
            for f in (restored, Path(f"data/prepared/{dataset}.json"), Path(f"config/protocols/{protocol}.yaml"))
            if f.exists()
        ],
        [path],
        {
            "n": len(rows),
            "protocol": protocol,
            "protocol_sha256": files.sha256(f"config/protocols/{protocol}.yaml"),
            "means": {m: mean(c) for m, c in zip(metrics, everything, strict=True)},
            "tasks": tasks,
        },
    )


def build_world(rgb_title: str = "PSNR over RGB") -> None:
    """Fill the working directory. `commits.current` must answer without git (COMMIT)."""
    import pyarrow as pa

    for name in ("rgb", "y"):
        dump("protocols", name, {"title": rgb_title if name == "rgb" else "PSNR on Y", "channel": name})
    clean = {
        "title": "Clean",
        "licence": "none",
        "sources": [{"source": "package", "package": "skimage", "files": {"a": "data/a.png"}}],
    }
    pairs = {"title": "Pairs", "licence": "none", "from": ["clean"], "degradations": {t: {t: {}} for t in TASKS}}
    dump("datasets", "clean", clean)
    dump("datasets", "toys", pairs)
    dump("foundations", "toy", {"title": "A toy <foundation>", "licence": "none"})
    phases = [{"batch": 1, "crop_px": 8}]
    for run in ("one", "two"):
        network = {"steps": 4, "phases": phases, "architecture": "nafnet"}
        dump("runs", run, {"title": run, "train": ["toys"], "network": network})
    for name, values in METHODS.items():
        dump("methods", name, values)
    dump("tables", "toys", TABLE)
    figure = {"title": "Figure", "caption": "Caption."}
    shown = [{"dataset": "toys", "picture": "haze-0"}, {"dataset": "toys", "picture": "rain-1"}]
    dump(
        "figures", "side-by-side", figure | {"kind": "comparison", "methods": ["input", "one", "two"], "panels": shown}
    )
    columns = [{**column, "metrics": ["psnr"]} for column in TABLE["columns"]]
    dump("figures", "bars", figure | {"kind": "bars", "methods": ["input", "one", "two"], "columns": columns})
    dump("figures", "curves", figure | {"kind": "curves", "runs": ["one", "two"]})
    experiment = {"title": "An <experiment> & more", "tables": ["toys"], "figures": ["side-by-side", "bars", "curves"]}
    Path("config/toy.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")

    rng = np.random.default_rng(0)
    target = {f"{t}-{i}": rng.integers(0, 256, (24, 32, 3), dtype=np.uint8) for t in TASKS for i in range(2)}
    Path("data/raw/clean").mkdir(parents=True)
    Path("data/raw/clean/a.png").write_bytes(images.encode(target["haze-0"]))
    sources = {"package:skimage/data/a.png": "ab" * 32}
    card("data/raw/clean.json", "download", ["config/datasets/clean.yaml"], ["data/raw/clean"], sources=sources)
    columns = {
        "id": list(target),
        "task": [name.rsplit("-", 1)[0] for name in target],
        "lq": pa.array([images.encode(255 - p) for p in target.values()], pa.binary()),
        "gt": pa.array([images.encode(p) for p in target.values()], pa.binary()),
        "source": [""] * len(target),
        "recipe": [""] * len(target),
    }
    Path("data/prepared").mkdir()
    table = pa.table(columns)
    with pa.OSFile("data/prepared/toys.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    card(
        "data/prepared/toys.json",
        "prepare",
        ["data/raw/clean.json", "config/datasets/toys.yaml"],
        ["data/prepared/toys.arrow"],
    )
    for run in ("one", "two"):
        folder = Path("results/runs") / run
        folder.mkdir(parents=True)
        (folder / "network.safetensors").write_bytes(b"weights of " + run.encode())
        lines = ["step,lr,loss,loss_l1,pictures_per_s,gib", *(f"{i},0.1,{1 / (i + 1)},0.1,3,1" for i in range(40))]
        (folder / "network.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        outputs = [folder / "network.safetensors", folder / "network.csv"]
        card(f"{folder}/network.json", "train_network", [f"config/runs/{run}.yaml", "data/prepared/toys.json"], outputs)
    for method in METHODS:
        folder = Path("results/restored") / method / "toys"
        folder.mkdir(parents=True)
        for name, picture in target.items():
            (folder / f"{name}.png").write_bytes(images.encode(255 - picture if method == "input" else picture // 2))
        run = config.load("methods", method).run
        inputs = [f"config/methods/{method}.yaml", "data/prepared/toys.json"] + (
            [f"results/runs/{run}/network.json"] if run else []
        )
        card(f"results/restored/{method}/toys.json", "restore", inputs, sorted(folder.iterdir()))
        score(method)


def build_blocks() -> None:
    """After ``build_world``: table `blocks` of two blocks, with `both`, the mean of `one` and `three`, which is no row of it, and
    `four`, which has not been run."""
    dump("methods", "three", METHODS["one"] | {"title": "Three"})
    dump("methods", "four", METHODS["one"] | {"title": "Four"})
    dump("methods", "both", {"title": "Both", "kind": "mean", "methods": ["one", "three"]})
    score("three", scores={"haze": [(22.0, 0.8, 0.2)] * 2, "rain": [(20.25, 0.7, 0.1)] * 2})
    shutil.copytree("results/restored/one", "results/restored/three")
    rows = [{"title": "Reference", "methods": ["input"]}, {"title": "Runs", "methods": ["two", "both", "four"]}]
    haze, rain = (
        {**column, "metrics": metrics}
        for column, metrics in zip(TABLE["columns"], (["psnr", "ssim"], ["psnr"]), strict=True)
    )
    blocks = [
        {"title": "(a) Haze", "rows": rows, "columns": [haze]},
        {"title": "(b) Rain", "rows": rows, "columns": [rain]},
    ]
    dump("tables", "blocks", {"title": "Blocks", "caption": "Caption.", "blocks": blocks})


def build_paper() -> None:
    """After ``build_world``: a table of two blocks with the paper's numbers: the first over two datasets, the second over one task."""
    Path("config/reported").mkdir()
    Path(config.REPORTED).write_text(PAPER, encoding="utf-8")
    dump("methods", "one", METHODS["one"] | {"reported": "Ours"})
    dump("methods", "theirs", {"title": "Theirs", "kind": "reported", "reported": "Theirs"})
    dump(
        "datasets",
        "more",
        config.load("datasets", "toys").model_dump(mode="json", by_alias=True, exclude_defaults=True),
    )
    score("one", dataset="more", scores={"haze": [(10.0, 0.5, 0.4)], "rain": [(12.0, 0.6, 0.5)]})
    rows = [{"title": "Task-specific", "methods": ["theirs"]}, {"title": "All-in-one", "methods": ["two", "one"]}]
    where = {"table": 1, "task": "dehazing", "dataset": "Average"}
    first = {
        "dataset": ["toys", "more"],
        "task": "haze",
        "label": "Both",
        "metrics": ["psnr", "ssim"],
        "reported": where,
    }
    second = {"dataset": "toys", "task": "rain", "label": "Rain", "metrics": ["psnr"]}
    second["reported"] = {"table": 1, "task": "deraining", "dataset": "Toys"}
    blocks = [{"title": "(a)", "rows": rows, "columns": [first]}, {"title": "(b)", "rows": rows, "columns": [second]}]
    dump("tables", "paper", {"title": "Paper", "caption": "Caption.", "blocks": blocks})
    Path("config/toy.yaml").write_text("title: Of the paper\ntables: [paper]\n", encoding="utf-8")


def build_figures() -> None:
    """After ``build_world``: what figures of MPerceiver alone need: prompt pools, probabilities, and samplers of several steps."""
    from safetensors.numpy import save_file

    phases = [{"batch": 1, "crop_px": 8}]
    stages = {name: {"steps": 4, "phases": phases} for name in ("predictor", "branches")}
    run = {"title": "p", "foundation": "toy", "train": ["toys"], "tasks": ["haze", "rain"]} | stages
    dump("runs", "prompted", run)
    dump("runs", "prompted-too", run)
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (2, 2, 1, 6))
    pools = {
        "ir_adapter.vp_pool": centres + rng.normal(size=(2, 2, 8, 6)),
        "textual.tp_pool": rng.normal(size=(2, 4, 6)),
    }
    Path("results/runs/prompted").mkdir(parents=True)
    save_file(pools, "results/runs/prompted/branches.safetensors")
    card("results/runs/prompted/branches.json", "train_branches")
    lines = ["id,task,haze,rain", "haze-0,haze,0.9,0.1", "haze-1,haze,0.7,0.3", "rain-0,rain,0.25,0.75"]
    Path("results/restored/one/toys/probabilities.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for method, run_name, steps in (("one", "prompted", 50), ("two", "prompted-too", 4)):
        of_run = {"kind": "mperceiver", "run": run_name, "drm": False, "sampler": {"steps": steps}}
        dump("methods", method, METHODS[method] | of_run)
        Path(f"results/benchmarks/restore/{method}").mkdir(parents=True)
        Path(f"results/benchmarks/restore/{method}/toys.tsv").write_text(f"s\th:m:s\n{steps}\t0\n", encoding="utf-8")
    figure = {"title": "Figure", "caption": "Caption."}
    columns = [{**column, "metrics": ["psnr"]} for column in TABLE["columns"]]
    dump("figures", "prompts", figure | {"kind": "prompts", "runs": ["prompted"]})
    dump("figures", "probabilities", figure | {"kind": "probabilities", "methods": ["one"], "columns": columns})
    dump("figures", "reliability", figure | {"kind": "reliability", "methods": ["one"], "columns": columns})
    dump("figures", "tradeoff", figure | {"kind": "tradeoff", "methods": ["one", "two"], "columns": columns})


def build_mean() -> None:
    """After ``build_world``: `both`, the mean of the runs `one` and `three`, in a table; `three` is no row of it."""
    build_blocks()
    rows = [{"title": "Runs", "methods": ["input", "two", "both"]}]
    dump("tables", "toys", TABLE | {"rows": rows})
