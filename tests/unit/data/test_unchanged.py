"""Prepared pairs and latents that were changed after they were made are refused, by name and with the command that makes them again."""

import os
from pathlib import Path

import pytest

from mperceiver import commits, lineage
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.files import ChecksumError

MADE = {
    "data/prepared/pairs.json": "mperceiver prepare pairs",
    "data/latents/sd/pairs.json": "mperceiver encode sd pairs",
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    for card in MADE:
        file = Path(card).with_suffix(".arrow")
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(5000))
        lineage.begin("prepare", {}).write_card(card, outputs=[file])


@pytest.mark.parametrize(("card", "command"), MADE.items())
@pytest.mark.parametrize("change", ["a byte", "cut", "gone"])
def test_a_change_is_noticed(world, card, command, change):
    inputs = [*MADE, "config/datasets/pairs.yaml#prepare", "results/runs/x/drm.json"]
    check_unchanged(inputs)
    file = Path(card).with_suffix(".arrow")
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(bytes(4999) + (b"\1" if change == "a byte" else b""))
    with pytest.raises(ChecksumError, match=rf"{file}: .*Make it again: {command}$"):
        check_unchanged(inputs)
    file.write_bytes(bytes(5000))
    check_unchanged(inputs)


def test_a_file_is_hashed_once(world, monkeypatch):
    check_unchanged(MADE)
    monkeypatch.setattr("mperceiver.files.sha256", lambda path: pytest.fail("hashed again"))
    check_unchanged(MADE)
    os.utime("data/prepared/pairs.arrow")
    with pytest.raises(pytest.fail.Exception):
        check_unchanged(MADE)


def test_pictures_of_another_program_that_were_changed_are_refused(world):
    folder = Path("results/commanded/theirs/pairs")
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"restored")
    card = f"{folder}.json"
    lineage.begin("command", {}).write_card(card, outputs=[folder])
    check_unchanged([card])
    (folder / "a.png").write_bytes(b"another")
    again = r"Make it again: mperceiver command theirs pairs$"
    with pytest.raises(ChecksumError, match=rf"^{folder}: its SHA-256 is .*{again}"):
        check_unchanged([card])
    (folder / "a.png").unlink()
    folder.joinpath(".sha256").unlink()
    folder.rmdir()
    with pytest.raises(ChecksumError, match=rf"^{folder}: no such folder; .*{again}"):
        check_unchanged([card])
