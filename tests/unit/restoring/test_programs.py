"""Methods of kind command and kind python."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.pairs import write_config, write_pairs

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config import ConfigError
from mperceiver.files import ChecksumError
from mperceiver.images import PictureError
from mperceiver.restoring.commands import CommandError, run_command
from mperceiver.restoring.datasets import restore_dataset

SIZES = [(20, 24), (17, 31), (20, 24)]
INVERT = """import sys
from pathlib import Path
import numpy as np
from PIL import Image
given, output = map(Path, sys.argv[1:3])
for number, path in enumerate(sorted(given.iterdir())):
    print("restoring", path.name)
    Image.fromarray(255 - np.array(Image.open(path))).save(output / path.name)
    %s
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Pairs of noise and a program that inverts pictures; returns the (lq, gt) of each pair."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    write_config({"datasets/noise": "title: noise\nlicence: none\nsources: [{source: local, folder: none}]\n"})
    program("")
    return write_pairs("noise", SIZES)


def program(line: str, keys: str = "", run: str = "python invert.py {input} {output}") -> None:
    Path("invert.py").write_text(INVERT % line, encoding="utf-8")
    write_config(
        {"methods/inverted": f"title: I\nkind: command\ncommand: {{run: '{run}', reads: [invert.py]{keys}}}\n"}
    )


def left() -> list[str]:
    return (
        [str(p) for p in Path("results").rglob("*") if not p.name.endswith(".lock")] if Path("results").exists() else []
    )


def test_a_program_restores_a_dataset(world):
    card = lineage.read_card(run_command("inverted", "noise"))
    assert set(card["inputs"]) == {"config/methods/inverted.yaml#command", "data/prepared/noise.json", "invert.py"}
    restored = lineage.read_card(restore_dataset("inverted", "noise"))
    assert "results/commanded/inverted/noise.json" in restored["inputs"]
    for i, (lq, _) in enumerate(world):
        assert np.array_equal(images.decode(paths.restored_picture("inverted", "noise", f"p-{i}")), 255 - lq)
    assert sorted(os.listdir("results/commanded/inverted")) == ["noise", "noise.json"]
    assert "results/commanded/inverted/noise.json" in lineage.chain("results/restored/inverted/noise.json")
    Path("invert.py").write_text("# changed\n", encoding="utf-8")
    (change,) = config.changes("results/commanded/inverted/noise.json", config.command_inputs("inverted", "noise"))
    assert change.name == "invert.py"


def test_what_was_changed_after_its_card_is_not_passed_on(world):
    """Neither pictures of the program, into results/restored/, nor pairs, to the program."""
    run_command("inverted", "noise")
    picture = Path("results/commanded/inverted/noise/p-1.png")
    picture.write_bytes(images.encode(world[1][0]))
    with pytest.raises(ChecksumError, match="Make it again: mperceiver command inverted noise"):
        restore_dataset("inverted", "noise")
    with Path("data/prepared/noise.arrow").open("ab") as pairs:
        pairs.write(b"more")
    with pytest.raises(ChecksumError, match="Make it again: mperceiver prepare noise"):
        run_command("inverted", "noise")


@pytest.mark.parametrize(
    "line, error, message",
    [
        (
            "number and sys.exit(3)",
            CommandError,
            r"exit code 3(?s:.*)config/methods/inverted.yaml(?s:.*)restoring p-1.png",
        ),
        ("sys.exit(0)", PictureError, "2 of 3 pictures are missing: p-1, p-2"),
        ("(output / 'log.txt').write_text('x', encoding='utf-8')", PictureError, "no pictures of noise .*: log.txt"),
        ("Image.new('RGB', (8, 8)).save(output / path.name)", PictureError, "p-0.png is 8x8 px, not 24x20"),
        ("(output / path.name).write_bytes(b'half')", PictureError, "p-0.png: cannot be decoded"),
        ("import os; os.kill(os.getpid(), 9)", CommandError, "signal 9|exit code 137"),
    ],
)
def test_what_a_program_leaves_half_done_is_refused(world, line, error, message):
    program(line)
    with pytest.raises(error, match=message):
        run_command("inverted", "noise")
    assert left() in ([], ["results/commanded", "results/commanded/inverted"])
    with pytest.raises(lineage.LineageError, match="results/commanded/inverted/noise.json: no such card"):
        restore_dataset("inverted", "noise")


def test_a_program_that_is_not_there_is_named(world):
    program("", run="no-such-program {input} {output}")
    with pytest.raises(CommandError, match="exit code 127(?s:.*)no-such-program"):
        run_command("inverted", "noise")
    os.remove("invert.py")
    with pytest.raises(ConfigError, match=r"command.reads: there is no invert.py"):
        run_command("inverted", "noise")
    write_config({"methods/input": "title: input\nkind: identity\n"})
    with pytest.raises(ConfigError, match="only a method of kind command"):
        run_command("input", "noise")


def executable(name: str, text: str) -> None:
    Path("bin").mkdir(exist_ok=True)
    Path("bin", name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    Path("bin", name).chmod(0o755)


def test_a_container_or_an_environment_is_asked_for(world, monkeypatch):
    program("", keys=", container: 'docker://owner/image:1'")
    here, path = os.getcwd(), os.environ["PATH"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ConfigError, match="needs apptainer, which is not on the PATH"):
        run_command("inverted", "noise")
    monkeypatch.setenv("PATH", f"{here}/bin:{path}")
    executable("apptainer", 'echo "$@" > asked; while [ "$1" != bash ]; do shift; done; exec "$@"')
    run_command("inverted", "noise")
    asked = Path("asked").read_text(encoding="utf-8")
    assert asked.startswith("exec --nv --bind=") and " docker://owner/image:1 bash " in asked
    assert f"--pwd={here} " in asked
    program("", keys=", container: image.sif")
    with pytest.raises(ConfigError, match=r"command.container: there is no image.sif"):
        run_command("inverted", "noise")
    Path("image.sif").write_bytes(b"one system")
    assert "image.sif" in lineage.read_card(run_command("inverted", "noise"))["inputs"]
    assert f" {here}/image.sif bash " in Path("asked").read_text(encoding="utf-8")
    Path("image.sif").write_bytes(b"another")
    (change,) = config.changes("results/commanded/inverted/noise.json", config.command_inputs("inverted", "noise"))
    assert change.name == "image.sif"
    os.remove("image.sif")
    os.mkdir("image.sif")
    assert "image.sif" not in config.command_inputs("inverted", "noise")
    program("", keys=", conda: theirs")
    executable("conda", 'echo "$@" > asked; while [ "$1" != bash ]; do shift; done; exec "$@"')
    run_command("inverted", "noise")
    assert Path("asked").read_text(encoding="utf-8").startswith("run --no-capture-output --name theirs bash ")


# ---------------------------------------------------------------- python

MODULE = """import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen = []
    def forward(self, pictures):
        self.seen.append(tuple(pictures.shape))
        assert pictures.shape[-1] % 8 == 0
        return self.factor * pictures

def scale(factor=1.0):
    return Scale(factor)

def wrong():
    return "no module"

def fails():
    raise RuntimeError("no weights here")

class Whole(Scale):
    multiple, minimum, batch, sees, device, tasks = 8, 8, 1, ("lq",), "cpu", ()
    def look(self, whole, tasks=()):
        return None
    def restore(self, whole, seen, seeds, tiles):
        return 1 - whole
    def probe(self, pictures):
        pass
    def modules(self):
        return [self.factor] if False else list(nn.Module.modules(self))

def whole():
    return Whole(1.0)

class Part(Scale):
    def restore(self, whole, seen, seeds, tiles):
        return whole

def part():
    return Part(1.0)
"""


@pytest.fixture
def plug(world, monkeypatch):
    """A package in the working directory; a function that names one of its functions as a method."""
    monkeypatch.syspath_prepend(os.getcwd())
    package = f"theirs_{Path.cwd().parent.name.replace('-', '_')}_{Path.cwd().name.replace('-', '_')}"
    Path(package).mkdir()
    Path(package, "net.py").write_text(MODULE, encoding="utf-8")

    def name(function: str, keys: str = "") -> str:
        entry = f"{package}.net:{function}"
        write_config({"methods/plugged": f"title: P\nkind: python\npython: {{entry: '{entry}', multiple: 8{keys}}}\n"})
        return f"{package}/net.py"

    return name


def test_a_module_of_ones_own_restores(world, plug):
    source = plug("scale", ", arguments: {factor: 0.5}")
    card = lineage.read_card(restore_dataset("plugged", "noise"))
    assert source in card["inputs"]
    for i, (lq, _) in enumerate(world):
        restored = images.decode(paths.restored_picture("plugged", "noise", f"p-{i}"))
        assert np.array_equal(restored, np.round(lq.astype(np.float32) / 255 * 0.5 * 255).astype(np.uint8))


def test_a_module_with_the_whole_interface_is_asked_itself(world, plug):
    plug("whole")
    restore_dataset("plugged", "noise")
    for i, (lq, _) in enumerate(world):
        assert np.array_equal(images.decode(paths.restored_picture("plugged", "noise", f"p-{i}")), 255 - lq)


@pytest.mark.parametrize(
    "function, message",
    [
        ("missing", "has no function missing"),
        ("wrong", "wrong returned str, not a torch.nn.Module"),
        ("fails", "fails failed: RuntimeError: no weights here"),
        ("part", "Part has `restore`, and lacks .*look"),
    ],
)
def test_a_function_that_makes_no_restorer(plug, function, message):
    plug(function)
    with pytest.raises(ConfigError, match=rf"plugged.yaml: python.entry: .*{message}"):
        restore_dataset("plugged", "noise")
    assert not Path("results/restored/plugged/noise").exists()


def test_what_a_module_imports_from_the_working_directory_is_an_input(world, plug):
    """Or a change of it would not be seen; the same file in `reads`, or in a folder there, is known."""
    source = Path(plug("scale"))
    source.write_text(f"from {source.parent.name} import helper\n{MODULE}", encoding="utf-8")
    helper = source.with_name("helper.py")
    helper.write_text("", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=rf"python.entry: its module imports {helper}, and .* add it to `python.reads`"
    ):
        restore_dataset("plugged", "noise")
    for name in [name for name in sys.modules if name.startswith(source.parent.name)]:
        del sys.modules[name]
    plug("scale", f", reads: [{source.parent}]")
    assert str(source.parent) in lineage.read_card(restore_dataset("plugged", "noise"))["inputs"]


def test_a_module_that_cannot_be_imported(world):
    write_config({"methods/plugged": "title: P\nkind: python\npython: {entry: 'nowhere_at_all.net:make'}\n"})
    with pytest.raises(ConfigError, match=r"nowhere_at_all.net cannot be imported: ModuleNotFoundError"):
        restore_dataset("plugged", "noise")
