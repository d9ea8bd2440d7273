"""Reading of files: mistakes are named with file and key, `like`, names, cost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import PROJECT
from support.configs import SOURCES, STAGE, describe

from mperceiver import config
from mperceiver.config import ConfigError
from mperceiver.config.experiments import Experiment

READY = "title: t\nlicence: l\nfrom: [a]\npairs: "


def refusal(kind: str, name: str) -> str:
    """The message about a file that is refused; it always names the file."""
    with pytest.raises(ConfigError) as caught:
        config.load(kind, name)
    assert f"config/{kind}/{name}.yaml" in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- mistakes

METHODS = {  # kind -> what a method of it needs
    "identity": "",
    "mperceiver": "run: a\n",
    "network": "run: a\n",
    "vae": "foundation: f\n",
    "results": "results: {folder: a}\n",
    "checkpoint": "foundation: f\ncheckpoint: {architecture: A, file: a.pth}\n",
    "python": "python: {entry: 'a:b'}\n",
    "command": "command: {run: 'a {input} {output}'}\n",
    "mean": "methods: [a, b]\n",
    "reported": "reported: A\n",
}


@pytest.mark.parametrize(
    ("key", "value", "kinds"),
    [
        ("sampler", "{steps: 4}", "mperceiver"),
        ("sampler", "{seed: 4}", "mperceiver network python"),
        ("probabilities", "uniform", "mperceiver"),
        ("drm", "false", "mperceiver"),
        ("compile", "true", "mperceiver"),
        ("channels_last", "true", "mperceiver"),
        ("precision", "bf16", "mperceiver"),
        ("vae_precision", "bf16", "mperceiver"),
        ("sampling_tiles", "{side_px: 64, overlap_px: 8}", "mperceiver"),
        ("clip_crop_px", "64", "mperceiver"),
        ("self_ensemble", "flip2", "mperceiver network vae checkpoint python"),
        ("tile_px", "64", "identity mperceiver network vae checkpoint python"),
        ("overlap_px", "32", "identity mperceiver network vae checkpoint python"),
        ("memory_gib", "4", "identity mperceiver network vae checkpoint python"),
        ("task", "given", "network"),
        ("datasets", "[a]", "results checkpoint python command"),
        ("trained_on", "[a]", "checkpoint python command"),
    ],
)
def test_a_key_that_nothing_reads_for_a_kind_of_method_is_refused(world, key, value, kinds):
    for kind, needed in METHODS.items():
        describe("methods", "m", f"title: t\nkind: {kind}\n{needed}{key}: {value}\n")
        if kind in kinds.split():
            config.load("methods", "m")
        else:
            assert re.search(rf"`{key}`.* kind {kind}.*; remove it, or .*write `{key}: null`", refusal("methods", "m"))


def test_a_method_of_every_kind_may_spell_the_defaults_out(world):
    defaults = "sampler: {steps: 50}\nprobabilities: predicted\ndrm: true\ncompile: false\nprecision: no\ntask: general\ndatasets: []\noverlap_px: 64\n"
    for kind, needed in METHODS.items():
        describe("methods", "m", f"title: t\nkind: {kind}\n{needed}{defaults}")
        config.load("methods", "m")


def test_a_key_that_comes_from_another_file_is_refused_and_null_removes_it(world):
    describe("methods", "ours", "title: t\nkind: mperceiver\nrun: ours\nprecision: bf16\n")
    text = "title: t\nlike: ours\nkind: network\nrun: net\n"
    describe("methods", "net", text)
    assert "if the file that this one is `like` has it, write `precision: null`" in refusal("methods", "net")
    describe("methods", "net", text + "precision: null\n")
    assert config.load("methods", "net").precision == "no"


def test_a_file_is_checked_once_and_again_when_a_text_changes(world):
    """Also one that has the size and the time of the text before."""
    describe("methods", "a", "title: t\nkind: identity\ntile_px: 64\n")
    describe("methods", "b", "title: u\nlike: a\n")
    first, liked = config.load("methods", "b"), config.path_of("methods", "a")
    assert config.load("methods", "b") is first and first.tile_px == 64
    time_ns = liked.stat().st_mtime_ns
    describe("methods", "a", "title: t\nkind: identity\ntile_px: 96\n")
    os.utime(liked, ns=(time_ns, time_ns))
    assert config.load("methods", "b").tile_px == 96


def test_clip_looks_only_where_a_predictor_is_asked(world):
    text = "title: t\nkind: network\nrun: net\nclip_crop_px: 64\n"
    describe("methods", "m", text)
    assert "`clip_crop_px` does nothing for kind network without `task: predicted`" in refusal("methods", "m")
    describe("methods", "m", text + "task: predicted\npredictor: ours\n")
    config.load("methods", "m")
    describe("methods", "m", "title: t\nkind: vae\nrun: ours\nclip_crop_px: 64\n")
    config.load("methods", "m")


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("gamma", "0.5", "predictor"),
        ("losses", "{l1: 2}", "drm network"),
        ("task_weights", "{rain: 2}", "branches drm network"),
        ("channels_last", "true", "branches drm network"),
        ("gradient_checkpointing", "true", "branches drm"),
        ("judged_crops", "2", "drm"),
        ("judged_folds", "2", "drm"),
        ("flip", "false", "network"),
        ("ema_decay", "0.9", "predictor branches drm network"),
    ],
)
def test_a_key_that_a_stage_does_not_read_is_refused(world, key, value, stages):
    for stage in ("predictor", "branches", "drm", "network"):
        needed = "architecture: a, " if stage == "network" else ""
        text = f"title: t\nfoundation: f\ntrain: [a]\n{stage}: {{{needed}{STAGE[1:-1]}, {key}: {value}}}\n"
        describe("runs", "r", text + "latents: {steps: 1}\n" * (stage == "drm"))
        if stage in stages.split():
            config.load("runs", "r")
        else:
            assert f"{stage}.{key} does nothing: " in refusal("runs", "r")


def test_random_crops_are_mirrored_and_cached_ones_are_not(world):
    text = f"title: t\nfoundation: f\ntrain: [a]\npredictor: {STAGE[:-1]}, flip: false}}\nbranches: {STAGE[:-1]}, flip: false}}\n"
    describe("runs", "r", text + "cached: false\n")
    assert config.load("runs", "r").branches.flip is False
    describe("runs", "r", text)
    assert "predictor.flip does nothing: " in refusal("runs", "r")


def test_a_baseline_has_no_settings_of_mperceiver(world):
    text = f"title: t\nfoundation: f\ntrain: [a]\nnetwork: {{architecture: a, {STAGE[1:]}\n"
    for key, value in (("cached", "false"), ("model", "{tp_tokens: 4}")):
        describe("runs", "r", f"{text}{key}: {value}\n")
        assert f"`{key}` does nothing in a run whose only stage is `network`" in refusal("runs", "r")


@pytest.mark.parametrize("stage", ["predictor", "branches", "network"])
def test_only_a_drm_learns_on_latents(world, stage):
    needed = "architecture: a, " * (stage == "network")
    text = f"title: t\nfoundation: f\ntrain: [a]\nreuse: {{drm: b}}\n{stage}: {{{needed}{STAGE[1:]}\n"
    describe("runs", "r", text + "latents: {steps: 1}\n")
    assert "`latents` does nothing in a run that trains no `drm`" in (message := refusal("runs", "r"))
    assert "write `latents: null`" in message
    describe("runs", "r", text + "latents: null\n")
    config.load("runs", "r")


def test_da_clip_has_losses_of_its_own(world):
    def write(architecture: str, losses: str) -> None:
        stage = f"{{architecture: {architecture}, {STAGE[1:-1]}, losses: {losses}}}"
        describe("runs", "r", f"title: t\nfoundation: f\ntrain: [a]\nnetwork: {stage}\n")

    for losses in ("{vgg: 0.1}", "{l1: 0}", "{adversarial_from_step: 9}", "{}"):
        write("da-clip", losses)
        assert "network: losses does nothing: da-clip has losses of its own" in (m := refusal("runs", "r"))
        assert "write `losses: null` in `network`" in m
        write("nafnet", losses)
        config.load("runs", "r")
    describe("runs", "other", "title: t\nlike: r\nnetwork: {architecture: da-clip, losses: null}\n")
    describe("datasets", "a", SOURCES)
    assert config.stage_inputs("other", "network")[-1] == "data/foundations/f.json", "no weights of LPIPS"
    found = config.load("runs", "other").network.losses
    assert not any((found.l1, found.perceptual, found.colour, found.adversarial)), "a card tells that none is computed"


def test_cpu_time_is_that_of_one_process(world):
    text = (
        "title: t\ntrain: [a]\nnetwork: {architecture: nafnet, accumulate: 2, cpu_processes: %d, cpu_seconds: 60, %s\n"
    )
    describe("runs", "r", text % (2, STAGE[1:]))
    assert "cpu_seconds is the CPU time of one process, but cpu_processes is 2" in refusal("runs", "r")
    describe("runs", "r", text % (1, STAGE[1:]))
    config.load("runs", "r")


@pytest.mark.parametrize(
    ("kind", "text", "key", "near"),
    [
        ("methods", "title: t\nkind: identity\ntile: 3\n", "tile", "title"),
        ("methods", "title: t\nkind: identity\nsampler: {step: 3}\n", "sampler.step", "steps"),
        ("methods", "title: t\nkind: identity\nlik: demo\n", "lik", "like"),
        ("datasets", SOURCES.replace("size_px", "size"), "sources.0.generated.size", "size_px"),
        ("datasets", "title: t\nlicence: l\nform: [a]\n", "form", "from"),
        ("runs", "title: t\ntrain: [a]\nnetwork: {architectur: a, steps: 1, phases: [{}]}\n", "network.architectur", "architecture"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\nmodel: {{drm: {{windows: 8}}}}\npredictor: {STAGE}\n", "model.drm.windows", "window"),
        ("tables", "title: t\ncaption: c\nrows: [{titel: r, methods: [m]}]\ncolumns: []\n", "rows.0.titel", "title"),
        ("foundations", "title: t\nlicence: l\nbuild: {vae_width: [1]}\n", "build.vae_width", "vae_widths"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_reported_with_the_nearest_one(world, kind, text, key, near):
    describe(kind, "wrong", text)
    assert f"  {key}: unknown key (did you mean {near}?)" in refusal(kind, "wrong")


def test_an_unknown_key_like_no_other_is_reported_alone(world):
    describe("methods", "wrong", "title: t\nkind: identity\nzzz: 1\n")
    assert refusal("methods", "wrong").endswith("  zzz: unknown key")


@pytest.mark.parametrize(
    ("kind", "text", "key", "words"),
    [
        ("methods", "kind: identity\n", "title", "required"),
        ("methods", "title: t\nkind: magic\n", "kind", "'magic'"),
        ("methods", "title: t\nkind: identity\ntile_px: 0\n", "tile_px", "greater than 0"),
        ("methods", "title: t\nkind: identity\ntile_px: many\n", "tile_px", "'many'"),
        ("methods", "title: t\nkind: identity\nsampler: {eta: 2}\n", "sampler.eta", "less than or equal to 1"),
        ("methods", "title: t\nkind: identity\nsampler: {strength: 0.5}\n", "sampler", "lq_noised"),
        ("methods", "title: t\nkind: mperceiver\n", "(the whole file)", "needs a `run`"),
        ("methods", "title: t\nkind: vae\n", "(the whole file)", "needs either a `foundation`"),
        ("methods", "title: t\nkind: network\nrun: Demo\n", "run", "pattern"),
        ("datasets", "title: t\nlicence: l\n", "(the whole file)", "either `sources`"),
        ("datasets", "title: t\nlicence: l\nfrom: [a]\n", "(the whole file)", "`from` needs `degradations` or `pairs`"),
        ("datasets", READY + "{task: rain, lq: a, gt: {rule: b}}\n", "pairs", "give `match`"),
        ("datasets", READY + "{task: rain, lq: a, gt: {sorted: b, none: c}}\n", "pairs.gt", "exactly one"),
        ("datasets", READY + "{lq: a, gt: {sorted: b}}\n", "pairs", "`task: clean`"),
        ("datasets", READY + "{task: rain, gt: {sorted: b}}\n", "pairs", "give `lq`"),
        ("datasets", READY + "{task: rain, lq: a, keep: '(', gt: {sorted: b}}\n", "pairs.keep", "regular expression"),
        ("datasets", READY + "{task: rain, lq: ../a, gt: {sorted: b}}\n", "pairs.lq.0", "not a safe"),
        ("datasets", READY + "{task: rain, lq: a**, gt: {sorted: b}}\n", "pairs.lq.0", "whole part of a path"),
        ("datasets", READY + "{task: rain, tasks: {'[': snow}, lq: a, gt: {sorted: b}}\n", "pairs.tasks.[.[key]", "regular expression"),
        ("datasets", READY + r"{task: rain, lq: a, match: a, gt: {rule: 'gt/\1.png'}}" + "\n", "pairs", "`match`, which has 0 group(s)"),
        ("datasets", READY + r"{task: rain, lq: a, match: '(a)', gt: {rule: ['\1', '\g<n>']}}" + "\n", "pairs", "unknown group name"),
        ("datasets", READY + r"{task: rain, lq: a, match: '(a)', id: '\2', gt: {none: n}}" + "\n", "pairs", r"`id` '\\2' does not go"),
        ("datasets", SOURCES + "crop_px: 8\n", "(the whole file)", "`crops` and `crop_px`"),
        ("datasets", "title: t\nlicence: l\nsources: [{source: web}]\n", "sources.0", "'web'"),
        ("datasets", "title: t\nlicence: l\nfrom: [a]\ndegradations: {Haze: {haze: {}}}\n", "degradations.Haze.[key]", "pattern"),
        ("runs", f"title: t\ntrain: [a]\npredictor: {STAGE}\n", "(the whole file)", "needs a `foundation`"),
        ("methods", "title: t\nkind: mperceiver\nrun: other\nweights: assets/runs/small\n", "(the whole file)", "weights of run other"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\ndrm: {STAGE}\n", "(the whole file)", "`latents`"),
        ("runs", "title: t\ntrain: [a]\nnetwork: {architecture: a, steps: 1, phases: [{batch: 1, crop_px: 8}], "
         "gradient_checkpointing: true}\n", "(the whole file)", "network.gradient_checkpointing does nothing"),
        ("runs", "title: t\ntrain: [a]\nnetwork: {architecture: a, steps: 1, phases: [{batch: 1, crop_px: 16}], judged_crops: 2}\n",
         "(the whole file)", "network.judged_crops does nothing"),
        ("runs", "title: t\ntrain: [a]\nnetwork: {architecture: a, steps: 1, phases: [{batch: 1, crop_px: 8}], losses: {ssim: 0.1}}\n",
         "network", "losses.ssim needs crops of 11 px or more, the side of SSIM's window; phases have one of 8 px"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\nmodel: {{drm: {{levels: [1], naf_blocks: {{0: 1}}}}}}\npredictor: {STAGE}\n",
         "model.drm", "naf_blocks names level 0, which is none of `levels`, [1]"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\nmodel: {{drm: {{levels: [1], gate: true}}}}\npredictor: {STAGE}\n",
         "model.drm", "gate: needs level 0, which is none of `levels`, [1]"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\npredictor: {STAGE}\nreuse: {{predictor: b}}\n", "(the whole file)", "both"),
        ("runs", "title: t\nfoundation: f\ntrain: [a]\nstart_from: b\nlatents: {steps: 1}\n"
         "drm: {steps: 1, phases: [{batch: 1, crop_px: 8}], judged_folds: 2}\n",
         "(the whole file)", "a predictor that starts from run b may have seen every photograph"),
        ("runs", "title: t\nfoundation: f\ntrain: [a]\npredictor: {steps: 1, phases: [{batch: 1, crop_px: 8, share: 0.5}]}\n",
         "predictor", "add up to 0.5"),
        ("protocols", "title: t\nborder_px: -1\n", "border_px", "greater than or equal to 0"),
        ("protocols", "title: t\nmetrics: [vif]\n", "metrics.0", "'vif'"),
        ("protocols", "", "(the whole file)", "keys with values are needed, got nothing"),
        ("methods", "title: t\nkind: vae\n", "(the whole file)", "or a `run` with a DRM"),
        ("methods", "title: t\nkind: identity\nsampler: 3\n", "sampler", "keys with values are needed, got 3"),
        ("figures", "title: t\ncaption: c\nkind: curves\nruns: [a, b, a]\n", "runs", "a is named twice"),
        ("tables", "title: t\ncaption: c\nrows: [{title: r, methods: [m]}, {title: s, methods: [n, m]}]\n"
         "columns: [{dataset: d, label: l}]\n", "(the whole file)", "rows: method m is named twice"),
        ("protocols", "- a\n- b\n", "(the whole file)", "['a', 'b']"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_reported_by_its_key(world, kind, text, key, words):
    describe(kind, "wrong", text)
    message = refusal(kind, "wrong")
    line = next(line for line in message.splitlines() if line.startswith(f"  {key}: "))
    assert words in line and "Value error" not in line and ", got {" not in line


def test_all_mistakes_of_a_file_are_reported_at_once(world):
    describe("protocols", "wrong", "titel: t\nborder_px: -1\n")
    message = refusal("protocols", "wrong")
    assert "3 problem(s); config/README.md lists every key" in message
    assert all(key in message for key in ("titel", "title", "border_px"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: [\n", " at line 2, column 1"),
        ("title: t: u\n", " at line 1, column 9. Write a text that contains `: ` in quotes"),
        ("title: t\n\tborder_px: 1\n", "Indent by spaces"),
        ("title: t\nborder_px: 1\nborder_px: 2\n", "`border_px` is given twice"),
        ("title: 2026-13-45\n", "not valid YAML"),
        ("title: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(world, text, words):
    describe("protocols", "wrong", text)
    message = refusal("protocols", "wrong")
    assert words in message
    assert words != "`border_px` is given twice" or "line 3" in message


def test_a_file_that_is_not_text_is_refused(world):
    describe("protocols", "wrong", "")
    config.path_of("protocols", "wrong").write_bytes(b"\xff\xfe\x00")
    assert "not valid YAML" in refusal("protocols", "wrong")


def test_a_bare_no_is_the_word(world):
    text = f"title: t\ntrain: [a]\nnetwork: {{architecture: a, precision: no, {STAGE[1:]}\n"
    describe("runs", "net", text)
    assert config.load("runs", "net").network.precision == "no"
    describe("runs", "net", text.replace("precision: no", "precision: yes"))
    assert "network.precision" in refusal("runs", "net")


@pytest.mark.parametrize("name", ["Demo", "a_b", "a--b", "-a", "a-", "../a", "a b", "é", "", "a.yaml", "a\n"])
def test_what_is_no_name_is_refused(world, name):
    with pytest.raises(ConfigError, match="is not a name"):
        config.load("methods", name)


def test_an_unknown_name_is_reported_with_the_nearest_ones(world):
    for name in ("demo", "demo-plus", "input"):
        describe("methods", name, "title: t\nkind: identity\n")
    with pytest.raises(
        ConfigError, match=r"config/methods/demo-pluss.yaml: no such file. The nearest methods: demo-plus, demo "
    ):
        config.load("methods", "demo-pluss")
    with pytest.raises(ConfigError, match=r"The methods there are: demo, demo-plus, input \(all: ls config/methods\)"):
        config.load("methods", "zzzz")
    with pytest.raises(ConfigError, match="The runs there are: none"):
        config.load("runs", "demo")


def test_a_link_that_leads_nowhere_is_not_called_a_missing_name(world):
    describe("methods", "input", "title: t\nkind: identity\n")
    Path("config/methods/shared.yaml").symlink_to("../../elsewhere/shared.yaml")
    with pytest.raises(
        ConfigError,
        match=r"config/methods/shared\.yaml: a link to \.\./\.\./elsewhere/shared\.yaml, where there is no file",
    ):
        config.load("methods", "shared")


def test_what_was_read_does_not_change(world):
    describe("methods", "a", "title: t\nkind: identity\n")
    with pytest.raises(ValueError, match="frozen"):
        config.load("methods", "a").title = "u"


# ---------------------------------------------------------------- like


BASE = f"""
title: Base
foundation: mini
train: [one, two]
model: {{vp_tokens: 4, drm: {{levels: [2, 1], widths: {{2: 64, 1: 48}}}}}}
predictor: {STAGE}
drm: {STAGE}
latents: {{steps: 3}}
"""


def test_like_takes_what_is_not_given(world):
    describe("runs", "base", BASE)
    describe(
        "runs",
        "other",
        "like: base\ntitle: Other\ntrain: [three]\nmodel: {drm: {widths: {1: 32}}}\npredictor: null\n"
        "drm: {steps: 9}\nreuse: {predictor: base}\n",
    )
    run = config.load("runs", "other")
    assert (run.title, run.foundation, run.train) == ("Other", "mini", ["three"])  # a list is taken whole
    assert (run.model.vp_tokens, run.model.drm.levels, run.model.drm.widths) == (4, [2, 1], {2: 64, 1: 32})
    assert run.predictor is None  # null takes away
    assert (run.drm.steps, run.drm.phases[0].crop_px, run.latents.steps) == (9, 16, 3)
    assert config.load("runs", "base").title == "Base"


def test_like_goes_on_and_is_reported(world):
    describe("methods", "a", "title: A\nkind: identity\ntile_px: 32\n")
    describe("methods", "b", "like: a\ntitle: B\n")
    describe("methods", "c", "like: b\noverlap_px: 8\n")
    method = config.load("methods", "c")
    assert (method.title, method.tile_px, method.overlap_px) == ("B", 32, 8)
    assert config.files_of("methods", "c") == [f"config/methods/{name}.yaml" for name in "cba"]


def test_like_reads_another_experiment_too(world):
    for name, text in (("demo", "title: Demo\ntables: [a]\nfigures: [b]\n"), ("more", "like: demo\ntables: [a, c]\n")):
        Path("config").mkdir(exist_ok=True)
        Path(f"config/{name}.yaml").write_text(text, encoding="utf-8")
    more = config.parse(Path("config/more.yaml"), Experiment)
    assert (more.title, more.tables, more.figures) == ("Demo", ["a", "c"], ["b"])


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ("b", "`like` is circular: config/methods/a.yaml -> config/methods/b.yaml -> config/methods/a.yaml"),
        ("a", "`like` is circular"),
        ("nobody", "like: nobody: no such file: config/methods/nobody.yaml"),
        ("ab", "like: ab: no such file: config/methods/ab.yaml (did you mean "),
        ("../a", "like: '../a' is not a name"),
        ("3", "like: 3 is not a name"),
    ],
)
def test_like_nothing_that_can_be_is_refused(world, like, words):
    describe("methods", "a", f"title: t\nkind: identity\nlike: {like}\n")
    describe("methods", "b", "like: a\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.load("methods", "a")
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.files_of("methods", "a")


def test_a_mistake_below_is_reported_of_the_file_that_was_asked_for(world):
    describe("methods", "a", "title: t\nkind: identity\ntile_px: -1\n")
    describe("methods", "b", "like: a\n")
    assert "tile_px" in refusal("methods", "b")


# ---------------------------------------------------------------- mirrors, cost


def test_mirrors(monkeypatch):
    experiment = Experiment(title="t", tables=[], mirror=["~/data", "/shared"])
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("MPERCEIVER_MIRROR", raising=False)
    assert config.mirrors() == []
    assert config.mirrors(experiment) == [Path("/home/me/data"), Path("/shared")]
    monkeypatch.setenv("MPERCEIVER_MIRROR", "/first:~/second:")
    assert config.mirrors(experiment)[:2] == [Path("/first"), Path("/home/me/second")]


def test_config_is_light():
    """Snakemake imports it at each start and in each cluster job."""
    heavy = ["torch", "numpy", "pandas", "matplotlib", "pyarrow", "scipy", "PIL", "snakemake"]
    program = f"import sys; from mperceiver import config; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
