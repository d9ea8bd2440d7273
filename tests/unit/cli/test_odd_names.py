"""No verb ends because of what it prints: names that the output's encoding does not have, that are no UTF-8, or no text."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import PROJECT
from typer.testing import CliRunner

from mperceiver import cli, commits, images

ODD = {
    "accents": "Straße-雪",
    "no UTF-8": os.fsdecode(b"caf\xe9"),
    "control": "a\x1b[31mb\x1b]0;c\x07\x9b1m",
    "markup": "[/bold][red]:smile:",
    "direction": "\u202egnp",
}
VERBS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")
STRICT = {
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "iso-8859-1:strict"},
    "utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/methods").mkdir(parents=True)
    Path("config/methods/input.yaml").write_text("title: t\nkind: identity\n", encoding="utf-8")
    return tmp_path


def strictly(*arguments: str, charset: str = "ascii"):
    """A command whose standard output is strict and has few characters."""
    result = CliRunner(charset=charset, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).invoke(
        cli.app, arguments
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert not RAW.search(result.output), result.output
    return result


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_printed_in_ascii(verb):
    assert strictly(verb, "--help").exit_code == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_names_what_it_was_given(world, verb):
    """As its first argument, as its last, and as an option of no verb."""
    odd = "".join(ODD.values()).replace("/", "")
    if verb in ("orphans", "why-failed"):
        assert strictly(verb, odd).exit_code == 2
        return
    for arguments in ([odd], [odd, odd], ["input", odd, f"{odd}.png"], [f"--{odd}"]):
        assert strictly(verb, *arguments).exit_code in (1, 2)
    assert strictly(f"{verb}{odd}").exit_code == 2


@pytest.mark.parametrize("strict", STRICT.values(), ids=STRICT)
def test_all_of_a_folder_is_restored_and_named(world, strict):
    photos = Path("in")
    photos.mkdir()
    picture = images.encode(np.zeros((20, 30, 3), np.uint8))
    for odd in ODD.values():
        (photos / f"{odd}.png".replace("/", "-")).write_bytes(picture)
    (photos / f"{ODD['no UTF-8']}.gif").write_bytes(b"GIF89a")  # a form that is not read is named, too
    words = [sys.executable, "-m", "mperceiver.cli", "restore", "input", "in", "out"]
    environment = os.environ | strict | {"PYTHONPATH": str(PROJECT)}
    for extra in ((), ("--json",)):
        done = subprocess.run([*words, *extra], env=environment, capture_output=True)
        assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
        assert len(done.stdout.splitlines()) == len(ODD) == len(list(Path("out").iterdir()))
        assert b"\x1b" not in done.stdout + done.stderr
    assert b"caf\\xe9.gif" in done.stderr


@pytest.mark.parametrize("odd", [ODD["no UTF-8"], ODD["markup"]])
def test_explain_takes_pictures_of_any_name(world, odd):
    odd = odd.replace("/", "-")
    rng = np.random.default_rng(0)
    for side in ("r", "g"):
        Path(odd, side).mkdir(parents=True)
        Path(odd, side, f"{odd}.png").write_bytes(images.encode(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)))
    assert strictly("explain", f"{odd}/r", f"{odd}/g", "--psnr", "9.00", "--workers", "1").exit_code == 0
    Path(odd, "g", f"{odd}.png").unlink()
    assert strictly("explain", f"{odd}/r", f"{odd}/g", "--psnr", "9.00", "--workers", "1").exit_code == 1
