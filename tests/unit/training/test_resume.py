"""Every way of being stopped ends in the bytes of a training that was not."""

import csv
import errno
import io
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from support import loops
from support.loops import Duel, at, equal, regress, stage, terminate, toy, train_toy
from torch import nn

from mperceiver.training.discarding import discard_states
from mperceiver.training.loop import fit
from mperceiver.training.resume import ResumeStates, Training, read_state
from mperceiver.training.schedule import TrainingError

WORLD = loops.__file__


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("k", [0, 4, 5, 11])
def test_sigterm_then_resume_is_straight_through(tmp_path, k, capsys):
    """The step in which the signal comes is finished, the process exits with 143, and the same command goes on."""
    resume = tmp_path / "deep/s.pt"
    before = signal.getsignal(signal.SIGTERM)
    stopped = at(k, terminate)
    with pytest.raises(SystemExit) as stop:
        train_toy(resume, objective=stopped)
    assert stop.value.code == 143
    assert stopped.steps == list(range(k + 1))
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"toy: stopped by a signal after step {k + 1} of 12" in capsys.readouterr().out
    rest = at(-1, None)
    module = train_toy(resume, objective=rest)
    assert rest.steps == list(range(k + 1, 12))
    assert f"resuming after step {k + 1}" in capsys.readouterr().out
    assert equal(module, train_toy(tmp_path / "straight.pt"))


def test_stopped_many_times(tmp_path):
    resume, done = tmp_path / "s.pt", []
    for k in (2, 3, 8):
        losses = at(k, terminate)
        with pytest.raises(SystemExit):
            train_toy(resume, objective=losses)
        done += losses.steps
    last = at(-1, None)
    assert equal(train_toy(resume, objective=last), train_toy(tmp_path / "straight.pt"))
    assert done + last.steps == list(range(12))


def test_kill_then_resume_is_straight_through(tmp_path):
    """kill -9 of a real process in the middle of a step; no half-written file lies beside its two states.

    Two batches a step drawn ahead, an adversary, an average of the weights: all of it ends in the same bits, and so do the
    curve's losses.
    """
    done = subprocess.run(
        [sys.executable, str(WORLD), "killed", str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == ["s-00000002.pt", "s-00000004.pt"]
    resumed = Duel(**loops.EVERYTHING).fit(tmp_path / "s.pt", lambda: None)
    straight = Duel(**loops.EVERYTHING).fit(tmp_path / "straight.pt")
    assert same(resumed.weights(), straight.weights())
    assert losses_of(resumed.curve) == losses_of(straight.curve)
    last, other = (read_state(tmp_path / f"{name}-00000008.pt") for name in ("s", "straight"))
    assert last["step"] == 8 and last.keys() == other.keys() >= {
        "module",
        "optimiser",
        "adversary",
        "adversary_optimiser",
        "ema",
    }
    for key in ("module", "optimiser", "adversary", "adversary_optimiser", "ema"):
        assert same(flat(last[key]), flat(other[key])), key


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(one: dict, other: dict) -> bool:
    def alike(a, b):
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)


def flat(value, path: str = "") -> dict:
    """Leaves of nested dicts and lists by their path."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, inside in pairs for k, v in flat(inside, f"{path}/{key}").items()}
    return {path: value}


def losses_of(curve: str) -> list[dict]:
    rows = csv.DictReader(io.StringIO(curve))
    return [{k: v for k, v in row.items() if k not in ("pictures_per_s", "gib", "seconds")} for row in rows]


def test_state_is_kept_until_the_caller_has_the_weights(tmp_path):
    """If the weights cannot be written (a full disk), the training is not lost."""
    resume = tmp_path / "s.pt"
    first = train_toy(resume)
    again = at(-1, None)
    assert equal(train_toy(resume, objective=again), first)
    assert again.steps == []
    assert names(tmp_path) == ["s-00000010.pt", "s-00000012.pt", "s.csv"]
    discard_states(resume)
    assert names(tmp_path) == []


def test_curve_of_a_training_that_goes_on(tmp_path, monkeypatch):
    """It can be looked at with each state, and goes on without a seam: means know nothing of the stop."""
    spec = stage(steps=120, save_every_steps=20)
    with pytest.raises(SystemExit):
        train_toy(tmp_path / "s.pt", spec, at(70, terminate))
    unfinished = losses_of((tmp_path / "s.csv").read_text(encoding="utf-8"))
    module = toy()
    curve = fit(Training("toy", spec, 1, tmp_path / "s.pt"), module, regress)
    straight = fit(Training("toy", spec, 1, tmp_path / "straight.pt"), toy(), regress)
    assert [row["step"] for row in unfinished] == ["50"]
    assert losses_of(curve) == losses_of(straight) and losses_of(curve)[:1] == unfinished


def test_saving_by_the_clock(tmp_path, monkeypatch):
    """`save_every_minutes` writes states beside those of `save_every_steps`, and is in no fingerprint."""
    written = []
    monkeypatch.setattr(ResumeStates, "save", lambda self, state: written.append(state["step"]))
    train_toy(tmp_path / "s.pt", stage(save_every_minutes=1e-9))
    assert written == list(range(1, 13))
    spec = stage(save_every_minutes=60.0)
    assert "save_every_minutes" not in spec.model_dump() and spec.model_dump() == stage().model_dump()


@pytest.mark.parametrize(
    "other",
    [
        {"spec": {"lr": 2e-2}},
        {"spec": {"steps": 13}},
        {"spec": {"phases": [{"batch": 4, "crop_px": 8}]}},
        {"seed": 2},
        {"inputs": {"data/a.json": "1"}},
    ],
)
def test_state_of_other_settings_is_not_taken_up(tmp_path, other, capsys):
    resume = tmp_path / "s.pt"
    with pytest.raises(SystemExit):
        train_toy(resume, objective=at(6, terminate), inputs={"data/a.json": "0"})
    losses, module = at(-1, None), toy()
    spec = stage(**other.get("spec", {}))
    training = Training("toy", spec, other.get("seed", 1), resume, other.get("inputs", {"data/a.json": "0"}))
    fit(training, module, losses)
    assert losses.steps == list(range(spec.steps))
    assert "made under other settings or data; starting from the beginning" in capsys.readouterr().out
    straight = toy()
    fit(training._replace(resume=tmp_path / "straight.pt"), straight, regress)
    assert equal(module, straight)


def test_state_of_another_network_is_refused(tmp_path, capsys):
    resume = tmp_path / "s.pt"
    with pytest.raises(SystemExit):
        train_toy(resume, objective=at(6, terminate))
    other = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 2))
    with pytest.raises(
        TrainingError, match=r"none of its resume states can be read \(.*s-00000007\.pt, .*s-00000005\.pt\)"
    ):
        fit(Training("toy", stage(), 1, resume), other, regress)
    assert "s-00000007.pt is damaged (does not fit the model (" in capsys.readouterr().out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[dict[str, bytes], nn.Module]:
    """The states of steps 5 and 7 of a training that was stopped, and the module of one that was not."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(SystemExit):
        train_toy(folder / "s.pt", objective=at(6, terminate))
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(found) == ["s-00000005.pt", "s-00000007.pt"]
    return found, train_toy(folder / "straight.pt")


def resumed(folder: Path, found: dict[str, bytes]) -> tuple[nn.Module, list[int]]:
    """Put states into ``folder``, go on, and tell which steps were taken."""
    for name, data in found.items():
        (folder / name).write_bytes(data)
    rest = at(-1, None)
    return train_toy(folder / "s.pt", objective=rest), rest.steps


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0, "cut", "empty"])
def test_damaged_state_gives_way_to_the_one_before(tmp_path, stopped, place, capsys):
    """One bit turned over, wherever it is, or a file that ends early; it is told, and the training ends in the same bits."""
    found, straight = stopped
    data = bytearray(found["s-00000007.pt"])
    inside = spots(bytes(data))
    if isinstance(place, str):
        data = data[: len(data) // 2 if place == "cut" else 0]
    else:
        data[inside[int(place * (len(inside) - 1))]] ^= 1
    module, steps = resumed(tmp_path, found | {"s-00000007.pt": bytes(data)})
    assert steps == list(range(5, 12)) and equal(module, straight)
    out = capsys.readouterr().out
    assert "s-00000007.pt is damaged" in out and "resuming after step 5" in out
    assert names(tmp_path) == ["s-00000010.pt", "s-00000012.pt", "s.csv"]


def without(key: str, inside: str | None = None):
    """A change of a state: something in it is gone."""

    def change(state: dict) -> dict:
        (state[inside] if inside else state).pop(key)
        return state

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("fingerprint"),
        without("step"),
        without("meter"),
        without("optimiser"),
        without("module"),
        without("sums", inside="meter"),
        without("param_groups", inside="optimiser"),
        lambda state: [1, 2],
        lambda state: state | {"module": None},
        lambda state: state | {"optimiser": {"state": {}, "param_groups": []}},
        lambda state: state | {"meter": {"rows": [], "counts": {}, "sums": {"loss": "much"}}},
    ],
)
def test_a_state_that_reads_but_lacks_something_gives_way_too(tmp_path, stopped, change, capsys):
    """Sound as a file, unusable as a state: nothing of it stays in the training that goes on from the one before."""
    found, straight = stopped
    (tmp_path / "s-00000007.pt").write_bytes(found["s-00000007.pt"])
    state = read_state(tmp_path / "s-00000007.pt")
    torch.save(change(state), tmp_path / "changed")
    module, steps = resumed(tmp_path, found | {"s-00000007.pt": (tmp_path / "changed").read_bytes()})
    assert steps == list(range(5, 12)) and equal(module, straight)
    out = capsys.readouterr().out
    assert "s-00000007.pt is damaged" in out and "resuming after step 5" in out


def test_whatever_a_reader_raises_is_damage(tmp_path, stopped, monkeypatch):
    """zlib's, pickle's and torch's errors have no class in common."""
    found, straight = stopped
    load = torch.load
    for error in (zlib.error("invalid code"), RecursionError("deep"), MemoryError(), AttributeError("x"), IndexError()):

        def broken(path, error=error, **options):
            if "00000007" in str(path):
                raise error
            return load(path, **options)

        monkeypatch.setattr(torch, "load", broken)
        folder = tmp_path / type(error).__name__
        folder.mkdir()
        module, steps = resumed(folder, found)
        assert steps == list(range(5, 12)) and equal(module, straight)


def test_a_state_that_may_not_be_read_is_no_damaged_one(tmp_path, stopped, monkeypatch):
    """A sound state must not be passed over, and removed at the next save, because of its rights."""
    found, _ = stopped

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "s-00000007.pt")

    monkeypatch.setattr(torch, "load", refused)
    with pytest.raises(PermissionError):
        resumed(tmp_path, found)
    assert names(tmp_path) == ["s-00000005.pt", "s-00000007.pt"]


def spots(data: bytes) -> list[int]:
    """Places in a zip archive that hold its entries' bytes (between them is only padding)."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        found = []
        for entry in file.infolist():
            start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", data, entry.header_offset + 26))
            found += range(start, start + entry.file_size)
    return found


def test_without_a_state_that_can_be_read_nothing_is_begun_anew(tmp_path, stopped):
    """Days of training are not thrown away in silence."""
    found, _ = stopped
    with pytest.raises(
        TrainingError, match=r"none of its resume states can be read \(.*s-00000007\.pt.*Remove these files"
    ):
        resumed(tmp_path, {name: data[:100] for name, data in found.items()})


def test_states_hold_no_code(tmp_path):
    """A pickle that would run something is damage, not a state."""

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"step": Evil()}, tmp_path / "s-00000007.pt")
    with pytest.raises(TrainingError, match="none of its resume states can be read"):
        train_toy(tmp_path / "s.pt")


def test_states_of_another_stage_are_left_alone(tmp_path):
    train_toy(tmp_path / "vae.resume")
    train_toy(tmp_path / "vae_larger.resume")
    discard_states(tmp_path / "vae.resume")
    assert names(tmp_path) == ["vae_larger-00000010.resume", "vae_larger-00000012.resume", "vae_larger.csv"]


def test_interrupted_writing_keeps_both_states(tmp_path, monkeypatch):
    """A full disk in the middle of a state leaves the two before it, whole."""
    save = torch.save

    def full(state, file):
        if state["step"] == 12:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="the disk is full"):
        train_toy(tmp_path / "s.pt")
    assert names(tmp_path) == ["s-00000005.pt", "s-00000010.pt", "s.csv"]
    monkeypatch.undo()
    assert equal(train_toy(tmp_path / "s.pt"), train_toy(tmp_path / "straight.pt"))
