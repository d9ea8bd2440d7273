"""The command line: every verb, and for each mistake of a user one message without a traceback."""

import errno
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from support import PROJECT
from support.weights import link_weights
from typer.testing import CliRunner

from mperceiver import __version__, cli, commits, config, files, images, lineage, messages, shipped
from mperceiver.foundations import complete

VERBS = [
    *("foundation", "download", "doctor", "prepare", "degradations", "encode", "show", "export"),
    *("train_predictor", "train_branches", "train_drm", "train_network", "convert"),
    *("restore", "command", "app", "score", "measure", "table", "figure", "report", "explain"),
    *("trace", "why", "crate", "croissant", "bundle", "runs"),
    *("orphans", "why-failed"),
]
FILES = {
    "datasets/photos": "title: t\nlicence: l\nsources: [{source: local, folder: photos}]\n",
    "datasets/pairs": "title: t\nlicence: l\nfrom: [photos]\ndegradations: {noise: {gaussian-noise: {}}}\n",
    "methods/input": "title: t\nkind: identity\n",
    "methods/net": "title: t\nkind: network\nrun: net\n",
    "methods/ours": "title: t\nkind: mperceiver\nrun: ours\n",
    "methods/ceiling": "title: t\nkind: vae\nfoundation: fake\n",
    "runs/net": "title: t\ntrain: [pairs]\nnetwork: {architecture: nafnet, steps: 1, phases: [{batch: 1, crop_px: 16}],\n"
    "  arguments: {width: 8, middle_blocks: 1, encoder_blocks: [1], decoder_blocks: [1]}}\n",
    "runs/ours": "title: t\nfoundation: fake\ntrain: [pairs]\npredictor: &s {steps: 1, phases: [{batch: 1, crop_px: 16}]}\n"
    "branches: *s\ndrm: *s\nlatents: {steps: 1}\n",
    "foundations/fake": "title: t\nlicence: l\nlocal: assets/foundations/fake\n",
    "protocols/rgb": "title: t\n",
    "tables/t": "title: t\ncaption: c\nrows: [{title: r, methods: [input]}]\ncolumns: [{dataset: pairs, label: l}]\n",
    "demo": "title: t\ntables: [t]\nmirror: [mirror]\n",
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with one configuration file of each kind and no data; its commit is invented."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    for name in ("MPERCEIVER_EXPERIMENT", "MPERCEIVER_MIRROR", "MPERCEIVER_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    for name, text in FILES.items():
        path = Path(f"config/{name}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def prepared(world, monkeypatch):
    """The same working directory, with one pair of pictures prepared."""
    photo("mirror/photos/a.png")
    monkeypatch.setenv("MPERCEIVER_EXPERIMENT", "config/demo.yaml")
    assert stdout_of("download", "photos").strip() == "data/raw/photos.json"
    assert stdout_of("prepare", "pairs", "--workers", "1").strip() == "data/prepared/pairs.json"
    return world


def run(*arguments: str | Path):
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    return runner.invoke(cli.app, [str(argument) for argument in arguments])


def stdout_of(*arguments: str | Path) -> str:
    """The standard output of a command that succeeds."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def error_of(*arguments: str | Path) -> str:
    """The message of a command that fails: on standard error, without a traceback, with exit code 1."""
    result = run(*arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), (result.output, result.exception)
    notes, error, message = ("\n" + result.stderr).partition("\nerror: ")  # notes may stand before the error
    assert error and "Traceback" not in result.output, (notes, result.output)
    return "error: " + message


def photo(path: Path | str, height: int = 40, width: int = 56) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.write_bytes(images.encode(picture))
    return path


# ---------------------------------------------------------------- verbs


def test_these_are_the_verbs():
    assert [command.name for command in cli.app.registered_commands] == VERBS


def test_every_rule_of_the_workflow_is_a_verb():
    text = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.M))
    assert rules == set(VERBS) - {
        "doctor",
        "degradations",
        "show",
        "export",
        "convert",
        "app",
        "trace",
        "why",
        "crate",
        "croissant",
        "bundle",
        "runs",
        "explain",
        "orphans",
        "why-failed",
    }
    assert set(re.findall(r'"mperceiver (\w+)', text)) == rules


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb):
    shown = " ".join(stdout_of(verb, "--help").split())
    assert f"Usage: root {verb} " in shown or f" {verb} [OPTIONS]" in shown
    function = next(command.callback for command in cli.app.registered_commands if command.name == verb)
    assert " ".join(function.__doc__.split()) in shown.replace("│", "")


def test_help_of_all():
    shown = stdout_of("--help")
    assert all(verb in shown for verb in VERBS)
    bare = run()
    assert "Usage" in bare.output and bare.exit_code == 2


def test_the_version_is_told_with_the_commit(world, monkeypatch):
    assert importlib.metadata.version("mperceiver") == __version__
    assert stdout_of("--version") == f"mperceiver {__version__} (commit {'0' * 12})\n"
    monkeypatch.setattr(commits, "current", lambda: ("1" * 40, True))
    assert stdout_of("--version") == f"mperceiver {__version__} (commit {'1' * 12}, with uncommitted changes)\n"


def test_the_version_is_told_outside_a_checkout(world, monkeypatch):
    def commit():
        raise commits.CommitError("no git")

    monkeypatch.setattr(commits, "current", commit)
    assert stdout_of("--version") == f"mperceiver {__version__} (not in a git checkout)\n"


def test_help_imports_nothing_heavy():
    """A verb imports what it needs when it runs."""
    program = (
        "import sys, mperceiver.cli;"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'yaml', 'mperceiver.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_verb_or_option_is_usage():
    for arguments in (["restor"], ["restore", "input", "a.png", "b.png", "--tiles", "3"], ["score", "input"]):
        result = run(*arguments)
        assert result.exit_code == 2 and "Usage" in result.stderr


def test_the_command_in_a_shell_prints_one_line(world):
    """In a shell: exit code 1, nothing on standard output, one line on standard error."""
    command = [sys.executable, "-m", "mperceiver.cli", "table", "tt"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: config/tables/tt.yaml: no such file. The nearest tables: t")
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["foundation", "nobody"], "foundations/nobody"),
        (["foundation", "nobody", "--build"], "foundations/nobody"),
        (["download", "nobody"], "datasets/nobody"),
        (["prepare", "nobody"], "datasets/nobody"),
        (["encode", "nobody", "pairs"], "foundations/nobody"),
        (["train_predictor", "nobody"], "runs/nobody"),
        (["train_network", "nobody"], "runs/nobody"),
        (["restore", "nobody", "pairs"], "methods/nobody"),
        (["restore", "input", "nobody"], "datasets/nobody"),
        (["score", "nobody", "pairs"], "methods/nobody"),
        (["score", "input", "nobody"], "datasets/nobody"),
        (["table", "nobody"], "tables/nobody"),
        (["figure", "nobody"], "figures/nobody"),
        (["report", "config/nobody.yaml"], "nobody"),
    ],
)
def test_an_unknown_name(world, arguments, file):
    assert f"config/{file}.yaml: no such file" in error_of(*arguments)


def test_a_near_name_is_suggested(world):
    assert "The nearest datasets: pairs" in error_of("restore", "input", "pair")
    assert "is not a name" in error_of("restore", "input", "Pairs")


def test_a_mistake_in_a_file(world):
    Path("config/methods/input.yaml").write_text("title: t\nkinds: identity\n", encoding="utf-8")
    message = error_of("restore", "input", "pairs")
    assert "config/methods/input.yaml: 2 problem(s)" in message and "kinds: unknown key (did you mean kind?)" in message


def test_brackets_in_a_message_are_no_markup(world):
    Path("config/methods/input.yaml").write_text("title: t\nkind: identity\noverlap_px: [bold]\n", encoding="utf-8")
    assert "got ['bold']" in error_of("restore", "input", "pairs")


def test_an_unprepared_dataset(world):
    assert "data/prepared/pairs.json: no such card" in error_of("restore", "input", "pairs")
    assert "not prepared yet: mperceiver prepare pairs" in error_of("score", "input", "pairs")
    assert "run: mperceiver download photos" in error_of("prepare", "pairs")
    assert "made from photos" in error_of("download", "pairs")
    assert "data/prepared/pairs.json: no such file; the work that makes it has not been done" in error_of(
        "train_network", "net"
    )


def test_a_dataset_that_was_not_restored(prepared):
    assert "snakemake --cores all results/restored/input/pairs.json" in error_of("score", "input", "pairs")


def test_missing_weights(prepared):
    assert "snakemake --cores all results/runs/net/network.json" in error_of("restore", "net", "pairs")
    assert "results/runs/net/network.safetensors" in error_of("restore", "net", photo("a.png"), "b.png")
    assert "data/foundations/fake" in error_of("restore", "ours", "pairs")
    assert "data/foundations/fake" in error_of("restore", "ours", photo("a.png"), "b.png")
    assert "data/foundations/fake" in error_of("restore", "ceiling", "pairs")
    assert "assets/foundations/fake: no such folder" in error_of("foundation", "fake")
    assert "no network stage; it has predictor, branches, drm" in error_of("train_network", "ours")
    assert not Path("b.png").exists()


def test_damaged_weights(prepared):
    path = Path("results/runs/net/network.safetensors")
    path.parent.mkdir(parents=True)
    path.write_text("no weights", encoding="utf-8")
    assert f"{path}: damaged, or not a safetensors file" in error_of("restore", "net", photo("a.png"), "b.png")
    assert not Path("b.png").exists()


def test_without_a_mirror_there_are_no_local_pictures(world):
    message = error_of("download", "photos")
    assert "no mirror folder is set; set MPERCEIVER_MIRROR" in message


def test_a_corrupt_picture(world, monkeypatch):
    data = photo("whole.png").read_bytes()
    Path("half.png").write_bytes(data[: len(data) // 2])
    assert "half.png: cannot be decoded" in error_of("restore", "input", "half.png", "out.png")
    assert "gone.png: no such picture" in error_of("restore", "input", "gone.png", "out.png")
    assert not Path("out.png").exists()
    photo("photos/a.png")
    Path("half.png").rename("photos/b.png")
    monkeypatch.setenv("MPERCEIVER_MIRROR", ".")
    assert "photos: b.png: cannot be decoded" in error_of("download", "photos")
    assert not Path("data/raw/photos").exists() and not Path("data/raw/photos.json").exists()


def test_a_restored_picture_that_was_damaged_since(prepared, metric_weights):
    link_weights(prepared, metric_weights)
    stdout_of("restore", "input", "pairs")
    path = next(Path("results/restored/input/pairs").glob("*.png"))
    path.write_bytes(path.read_bytes()[:100])
    message = error_of("score", "input", "pairs", "--workers", "1")
    assert f"{path}: its SHA-256 is" in message and "again: mperceiver restore input pairs" in message
    path.unlink()
    assert f"{path}: no such picture, 1 of 1 are missing" in error_of("score", "input", "pairs", "--workers", "1")


def test_a_full_disk(world, monkeypatch):
    photo("a.png")
    Path("out.png").write_text("old", encoding="utf-8")

    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    message = error_of("restore", "input", "a.png", "out.png")
    assert "out.png: the disk is full: /" in message and " free. No half-written file was left" in message
    assert Path("out.png").read_text(encoding="utf-8") == "old" and not list(Path().glob(".out*"))
    photo("in/a.png"), photo("in/b.png")
    result = run("restore", "input", "in", "out")
    assert "0 of 2 pictures are in out, each whole; with --skip-existing" in result.stderr and result.exit_code == 1


def test_ctrl_c_in_the_middle_of_a_folder(world, monkeypatch):
    """Exit code 130, the finished pictures whole, and how to go on; then nothing is done twice."""
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        photo(f"photos/{name}.png")
    from mperceiver.restoring import photographs

    restore_each = photographs.restore_each

    def stopped(*arguments):
        for number, result in enumerate(restore_each(*arguments)):
            yield result
            if number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(photographs, "restore_each", stopped)
    done = CliRunner().invoke(cli.app, ["restore", "input", "photos", "out"])
    assert done.exit_code == 130 and "Traceback" not in done.output
    assert "2 of 3 pictures are in out, each whole; with --skip-existing" in done.output
    assert "stopped by Ctrl-C" in done.output
    monkeypatch.setattr(photographs, "restore_each", restore_each)
    done = CliRunner().invoke(cli.app, ["restore", "input", "photos", "out", "--skip-existing"])
    assert done.exit_code == 0 and len(list(Path("out").glob("*.png"))) == 3
    assert not list(Path("out").glob(".[a-z].png.*")) and images.decode(Path("out/c.png")).any()


def test_a_full_disk_as_libraries_report_it():
    from safetensors import SafetensorError

    assert "disk is full" in messages.for_user(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert "a.png: the disk is full: /" in messages.for_user(OSError(errno.ENOSPC, "No space left on device", "a.png"))
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 576 vs 534") from None  # torch.save into an open file
    except RuntimeError as error:
        assert "disk is full" in messages.for_user(error)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_disk_that_refuses_is_told_in_words(number):
    """With a file's name, without one, and as a library in Rust prints it."""
    from safetensors import SafetensorError

    words = os.strerror(number)
    assert f"data/raw: {words}" in messages.for_user(OSError(number, words, "data/raw"))
    for error in (OSError(number, words), SafetensorError(f"Error: {words} (os error {number})")):
        assert f"the system refused a file: {words}" in messages.for_user(error)
    assert "refused a file: no number" in messages.for_user(OSError("no number"))
    assert messages.for_user(SafetensorError("HeaderTooSmall")) is None


def test_a_disk_that_refused_what_a_mistake_came_after(world):
    """The project's own message comes first; a bug while a refusal is handled stays a bug."""
    try:
        try:
            raise OSError(errno.EACCES, "Permission denied")
        except OSError:
            raise config.ConfigError("its own words") from None
    except config.ConfigError as error:
        assert messages.for_user(error) == "its own words"
    try:
        try:
            raise OSError(errno.EACCES, "Permission denied")
        except OSError:
            raise TypeError("a bug") from None
    except TypeError as error:
        assert messages.for_user(error) is None


def test_outside_of_a_checkout(tmp_path, monkeypatch):
    """Without config/ no name can be found; the message says where to run the command."""
    monkeypatch.chdir(tmp_path)
    for arguments in (["restore", "input", "a-dataset"], ["report", "config/demo.yaml"], ["doctor", "--cluster"]):
        assert f"{tmp_path} has no folder config/. Run the command at the root" in error_of(*arguments)


def test_a_path_in_place_of_a_name(world):
    message = error_of("score", "input", "config/datasets/pairs.yaml")
    assert "is not a name. Give the stem of a file in config/datasets/, here perhaps pairs" in message
    assert "nobody: no such file. Experiments: config/demo.yaml" in error_of("report", "nobody")


def test_a_target_inside_of_a_file(world):
    photo("a.png")
    message = error_of("restore", "input", "a.png", "config/demo.yaml/b.png")
    assert "config/demo.yaml" in message and "MPERCEIVER_TRACEBACK=1" in message


def test_a_folder_without_permission():
    message = messages.for_user(PermissionError(errno.EACCES, "Permission denied", "results"))
    assert message.startswith("results: Permission denied")


def test_a_bug_keeps_its_traceback(world, monkeypatch):
    """Only an error that a user can act on is printed as a message."""
    photo("a.png")
    monkeypatch.setattr(images, "encode", lambda *_, **__: [][0])
    assert isinstance(run("restore", "input", "a.png", "b.png").exception, IndexError)
    monkeypatch.setattr(images, "encode", lambda *_, **__: int("x"))
    assert isinstance(run("restore", "input", "a.png", "b.png").exception, ValueError)


def test_a_traceback_can_be_asked_for(world, monkeypatch):
    monkeypatch.setenv("MPERCEIVER_TRACEBACK", "1")
    assert isinstance(run("table", "nobody").exception, config.ConfigError)


def test_without_git_no_work_is_done(prepared, monkeypatch):
    def commit():
        raise commits.CommitError("git does not tell the commit")

    monkeypatch.setattr(commits, "current", commit)
    for arguments in (
        ["restore", "input", "pairs"],
        ["prepare", "pairs"],
        ["download", "photos", "--force"],
        ["train_network", "net"],
    ):
        assert "git does not tell the commit" in error_of(*arguments)
    assert not Path("results").exists()
    photo("b.png")
    stdout_of("restore", "input", "b.png", "c.png")  # a photograph has no card


# ---------------------------------------------------------------- photographs


def test_a_photograph_comes_back(world):
    import skimage

    source = Path(skimage.__file__).parent / "data/chelsea.png"
    assert stdout_of("restore", "input", source, "restored/chelsea.png").strip() == "restored/chelsea.png"
    assert (images.decode("restored/chelsea.png") == images.decode(source)).all()


@pytest.mark.parametrize(
    ("method", "source", "target", "code", "printed", "says"),
    [
        ("input", "a.png", "b.png", 0, "b.png\n", ""),
        ("twice", "broken.png", "b.png", 1, "", "error: broken.png: cannot be decoded"),
        ("net", "holiday", "out", 1, "", "not restored: holiday/broken.png: cannot be decoded"),
        ("net", "gone.png", "b.png", 1, "", "error: gone.png: no such picture"),
    ],
)
def test_what_needs_no_model_is_done_without_torch(world, method, source, target, code, printed, says):
    """A photograph is copied, or refused: alone, in a folder, or because it is not there."""
    photo("a.png")
    twice = FILES["methods/net"] + "self_ensemble: flip2\n"
    Path("config/methods/twice.yaml").write_text(twice, encoding="utf-8")
    for name in ("broken.png", "holiday/broken.png", "holiday/twin.png"):
        path = photo(name)
        path.write_bytes(path.read_bytes()[:99])
    words = ["mperceiver", "restore", method, source, target]
    program = f"import sys; sys.argv = {words}; from mperceiver import cli\ntry: cli.app()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, f"{printed}False\n"), done.stderr
    assert says in done.stderr


def test_a_photograph_without_a_target(world):
    message = error_of("restore", "input", photo("holiday/a.jpg.png"))
    assert "say where to write, e.g. mperceiver restore input holiday/a.jpg.png restored.png" in message


@pytest.mark.parametrize("kind", ["command", "page", "program"])
def test_loading_a_model_does_without_other_libraries_in_a_command(kind):
    """What is imported later finds them; a program that loads a model, and the page, let its libraries find them at once.

    All end without a word, though libraries in C++ report what was not freed.
    """
    start = {
        "command": "prepare_torch(1)",
        "page": "prepare_torch(1, hides=False)",
        "program": "quiet_model_libraries()",
    }
    code = f"""
import sys
from mperceiver.cli.base import prepare_torch, quiet_model_libraries
{start[kind]}
from mperceiver.models import towers
towers.load("mini")
print("scipy" in sys.modules, "transformers" in sys.modules)
from diffusers.training_utils import EMAModel
from diffusers.utils import is_scipy_available, is_transformers_available
print(is_scipy_available(), is_transformers_available())
from scipy.linalg import det
from transformers import CLIPTextModel
text = CLIPTextModel.from_pretrained("assets/foundations/mini/text_encoder")
print(det([[1, 2], [3, 4]]), text.config.hidden_size)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    found = kind != "command"
    expected = f"{found} {found}\n{found} {found}\n-2.0 64\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a.png", "b.jpg", "choose a name that ends in .png"),
        ("a.png", "a.png", "is the picture to restore"),
        ("a.png", "../{here}/a.png", "is the picture to restore"),
        ("config/demo.yaml", "b.png", "a picture's name ends in .avif, .bmp, "),
        ("a.png", "link.png", "is the picture to restore"),
    ],
)
def test_a_target_that_is_refused(world, source, target, message):
    before = photo("a.png").read_bytes()
    os.link("a.png", "link.png")
    assert message in error_of("restore", "input", source, target.format(here=world.name))
    assert Path("a.png").read_bytes() == before


def test_a_variable_that_is_not_set_restores_no_folder(world):
    photo("a.png")
    before = sorted(Path().rglob("*"))
    assert "SOURCE is empty: was it a variable" in error_of("restore", "input", "", "out.png")
    assert "SOURCE is empty: was it a variable" in error_of("restore", "input", "")
    assert "TARGET is empty: was it a variable" in error_of("restore", "input", ".", "")
    assert "out.png: is the name of a picture, but . is a folder" in error_of("restore", "input", ".", "out.png")
    assert sorted(Path().rglob("*")) == before


def test_what_photographs_need(world):
    photo("a.png")
    assert "a photograph does not have" in error_of("restore", "ceiling", "a.png", "b.png")
    assert "say where to write, e.g. mperceiver restore input . restored/" in error_of("restore", "input", ".")
    assert "mperceiver restore input 'my photo.png' restored.png" in error_of("restore", "input", "my photo.png")
    assert "restored by the settings in config/methods/input.yaml" in error_of(
        "restore", "input", "pairs", "--tile", "64"
    )


def test_a_folder_with_damaged_pictures(world):
    """Pictures that can be restored are; the others are named with the reason, and the exit code is 1."""
    for name in ("a.png", "b.jpg", "c.tif"):
        photo(f"holiday/{name}")
    Path("holiday/text.png").write_text("no picture at all", encoding="utf-8")
    Path("holiday/empty.jpg").write_bytes(b"")
    Path("holiday/notes.txt").write_text("left alone", encoding="utf-8")
    result = run("restore", "input", "holiday", "out", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["source"], line["error"] is None) for line in lines] == [
        ("holiday/a.png", True), ("holiday/b.jpg", True), ("holiday/c.tif", True), ("holiday/empty.jpg", False),
        ("holiday/text.png", False),
    ]  # fmt: skip
    assert (lines[0]["path"], lines[0]["seed"], lines[4]["path"]) == ("out/a.png", 42, None)
    assert "text.png: cannot be decoded" in lines[4]["error"]
    assert "2 of 5 pictures were not restored: empty.jpg, text.png" in " ".join(result.stderr.split())
    assert "not restored: holiday/empty.jpg: cannot be decoded" in result.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png", "c.png"]


def test_a_folder_that_is_partly_restored(world):
    """A result is passed over if it is this method's, of the picture as it is now; its name alone says nothing."""
    photo("holiday/a.png"), photo("holiday/b.png")
    assert stdout_of("restore", "input", "holiday", "out").split() == ["out/a.png", "out/b.png"]
    Path("out/b.png").unlink()
    before = Path("out/a.png").stat().st_mtime_ns
    assert stdout_of("restore", "input", "holiday", "out", "--skip-existing").split() == ["out/b.png"]
    assert Path("out/a.png").stat().st_mtime_ns == before
    Path("holiday/a.png").rename("holiday/a.bmp")  # the same bytes by another name
    Path("holiday/a.bmp").rename("holiday/a.png")
    Path("holiday/b.png").write_bytes(images.encode(np.full((20, 30, 3), 7, np.uint8)))
    assert stdout_of("restore", "input", "holiday", "out", "--skip-existing").split() == ["out/b.png"]
    assert images.decode("out/b.png").max() == 7
    Path("out/a.png").write_bytes(b"another program's")
    assert stdout_of("restore", "input", "holiday", "out", "--skip-existing").split() == ["out/a.png"]


def test_what_a_folder_leaves_out_is_named(world):
    photo("holiday/a.png"), photo("holiday/sub/c.png")
    Path("holiday/b.gif").write_bytes(b"GIF89a")
    Path("holiday/raw.DNG").write_bytes(b"II*\0")
    Path("holiday/unnamed").write_bytes(Path("holiday/a.png").read_bytes())
    for name in ("notes.txt", "Thumbs.db", ".hidden.gif"):
        Path("holiday", name).write_text("x", encoding="utf-8")
    Path("holiday/empty").mkdir()
    for folder, name in {"raws": "b.DNG", "films": "c.gif", "texts": "d.txt"}.items():
        Path("holiday", folder, "below").mkdir(parents=True)
        Path("holiday", folder, "below", name).write_bytes(b"")
    result = run("restore", "input", "holiday", "out")
    assert (result.exit_code, result.stdout.split()) == (1, ["out/a.png"])
    words = " ".join(result.stderr.split())
    for name in ("b.gif", "raw.DNG", "unnamed", "sub", "raws", "films"):
        assert f"not restored: holiday/{name}: " in words
    assert "such as b.DNG: a picture's name ends in" in words and "texts" not in words
    assert "6 of 7 pictures were not restored" in words and "left alone: notes.txt" in words
    assert not any(name in words for name in ("Thumbs.db", ".hidden.gif", "empty"))


# ---------------------------------------------------------------- mirrors of the experiment


def test_mirrors_of_the_experiment(world, monkeypatch):
    assert cli.data._mirrors() == []
    monkeypatch.setenv("MPERCEIVER_EXPERIMENT", "config/demo.yaml")
    assert cli.data._mirrors() == [Path("mirror")]
    monkeypatch.setenv("MPERCEIVER_EXPERIMENT", "config/nobody.yaml")
    assert "config/nobody.yaml: no such file" in error_of("download", "photos")


# ---------------------------------------------------------------- foundation


UNET = complete.WEIGHTS_OF["unet"]


@pytest.fixture
def fake(world):
    """A foundation's folder as --build writes it: files, and a card that names them relative to the folder."""
    folder = Path("assets/foundations/fake")
    for name in complete.NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        whole = json.dumps({"name": name}).encode() if name.endswith(".json") else save({name: np.zeros(3, np.float32)})
        (folder / name).write_bytes(whole)
    outputs = {p.relative_to(folder).as_posix(): files.sha256(p) for p in folder.rglob("*") if p.is_file()}
    card = lineage.begin("foundation --build", {}).write_card(folder / shipped.CARD)
    files.write_json(folder / shipped.CARD, card | {"outputs": outputs})
    return folder


def test_a_foundation_is_staged(fake):
    assert stdout_of("foundation", "fake").strip() == "data/foundations/fake.json"
    assert files.sha256("data/foundations/fake") == files.sha256(fake)
    card = lineage.read_card("data/foundations/fake.json")
    assert card["verb"] == "foundation" and lineage.verify("data/foundations/fake.json") == []
    assert card["inputs"]["project:assets/foundations/fake/card.json"] == files.sha256(fake / shipped.CARD)
    before = Path("data/foundations/fake.json").read_bytes()
    stdout_of("foundation", "fake")
    assert Path("data/foundations/fake.json").read_bytes() == before


def test_a_changed_byte_of_a_foundation_is_refused(fake):
    stdout_of("foundation", "fake")
    staged = files.sha256("data/foundations/fake")
    path = fake / UNET
    wanted = files.sha256(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    message = error_of("foundation", "fake")
    assert f"foundation fake: {UNET} is {files.sha256(path)}, its card says {wanted}" in message
    assert files.sha256("data/foundations/fake") == staged  # the foundation staged before is still there, with its card
    assert lineage.verify("data/foundations/fake.json") == []


def test_a_missing_file_of_a_foundation_is_refused(fake):
    (fake / "vae/config.json").unlink()
    assert "vae/config.json is missing, its card says" in error_of("foundation", "fake")
    assert not Path("data/foundations/fake").exists() and not Path("data/foundations/fake.json").exists()


def test_a_foundation_without_a_card_is_staged(fake):
    (fake / shipped.CARD).unlink()
    stdout_of("foundation", "fake")
    assert not [
        name for name in lineage.read_card("data/foundations/fake.json")["inputs"] if name.startswith("project:")
    ]


def test_a_foundation_without_a_folder_or_a_recipe(fake):
    assert "no `build` recipe" in error_of("foundation", "fake", "--build")
    Path("config/foundations/fake.yaml").write_text("title: t\nlicence: l\n", encoding="utf-8")
    assert "no place to take weights from" in error_of("foundation", "fake")


def test_weights_are_taken_from_the_project_where_the_working_directory_has_none(world, monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", world / "elsewhere/mperceiver")
    assert shipped.find("assets") == world / "elsewhere/assets"
    Path("assets").mkdir()
    assert shipped.find("assets") == Path("assets")


# ---------------------------------------------------------------- trace


def test_trace_follows_a_card_to_the_pictures(prepared):
    stdout_of("restore", "input", "pairs")
    card = "results/restored/input/pairs.json"
    shown = stdout_of("trace", card, "--verify")
    for name in ("data/prepared/pairs.json", "data/raw/photos.json", "verified: every file of the chain"):
        assert name in shown
    path = next(Path("results/restored/input/pairs").glob("*.png"))
    was = files.sha256(path)
    path.write_bytes(path.read_bytes() + b"\0")
    message = error_of("trace", card, "--verify")
    assert f"output {path} was {was[:12]}…" in message and "1 file(s)" in message


@pytest.mark.parametrize(
    ("arguments", "refused", "meant"),
    [
        ("t --diff a b", "the target t would have no effect with --diff", "--diff a b"),
        ("--diff a b --method input --verify", "--method and --verify would have no effect with --diff", "--diff a b"),
        ("--diff a b --stale", "--stale would have no effect with --diff", "--diff a b"),
        ("--diff a b --all --fresh", "--all and --fresh would have no effect with --diff", "--diff a b"),
        ("t --stale", "the target t would have no effect with --stale", "--stale"),
        ("--stale --verify", "--verify would have no effect with --stale", "--stale"),
        ("--stale --dataset pairs --task noise", "--dataset and --task would have no effect with --stale", "--stale"),
        (
            "t --verify --all",
            "the target t would have no effect with --all, which means everything",
            "t --verify or mperceiver trace --verify --all",
        ),
        (
            "t --method input --dataset pairs --verify --all",
            "the target t and --method and --dataset would have no effect with --all, which means everything",
            "t --method input --dataset pairs --verify or mperceiver trace --verify --all",
        ),
        (
            "--task noise --verify --all --fresh",
            "--task would have no effect with --all, which means everything",
            "--verify --all --fresh",
        ),
        (
            "t --verify --fresh",
            "--fresh would have no effect without --all, since every file is read then",
            "t --verify",
        ),
        ("t --fresh", "--all belongs to --verify, and --fresh to both", "--verify --all"),
        (
            "t --task noise",
            "--task alone would have no effect, since a cell has a method and a dataset",
            "t --method METHOD --dataset DATASET --task noise",
        ),
    ],
)
def test_an_option_of_trace_without_effect_is_refused_with_the_command_that_was_meant(world, arguments, refused, meant):
    assert error_of("trace", *arguments.split()) == f"error: {refused}: mperceiver trace {meant}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("--stale", "nothing is stale"), ("--verify --all", "verified: "), ("--verify --all --fresh", "verified: ")],
)
def test_what_trace_does_without_a_target(prepared, arguments, said):
    assert said in stdout_of("trace", *arguments.split())


def test_nothing_is_not_verified(world):
    assert "there is nothing to verify" in error_of("trace", "--verify", "--all")


@pytest.mark.parametrize("method", ["input", "net", "ours"])
@pytest.mark.parametrize(
    "option", [("--tile", "0"), ("--tile", "-96"), ("--memory-gib", "nan"), ("--memory-gib", "inf")]
)
def test_an_option_is_checked_before_anything_is_restored(world, method, option):
    photo("a.png")
    assert error_of("restore", method, "a.png", "b.png", *option).startswith(
        f"error: {' '.join(option)}: input should be"
    )
    assert not Path("b.png").exists()


def test_an_option_of_value_zero_is_an_option(world):
    assert "for photographs only" in error_of("restore", "input", "pairs", "--tile", "0")


def test_the_threads_of_a_process_are_fewer_than_those_of_its_job():
    """Snakemake sets the variables of all libraries to a job's threads, which the processes of a training divide."""
    code = "from mperceiver.cli.base import prepare_torch; prepare_torch(1); import torch; print(torch.__config__.parallel_info())"
    of_job = {f"{library}_NUM_THREADS": "2" for library in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | of_job, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    told = dict(line.strip().split(" : ") for line in done.stdout.splitlines() if line.count(" : ") == 1)
    assert told["omp_get_max_threads()"] == "1" and told.get("mkl_get_max_threads()", "1") == "1", done.stdout
