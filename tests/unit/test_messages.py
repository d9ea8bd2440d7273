"""Errors in words."""

import errno
import os
from pathlib import Path

import pytest

from mperceiver.messages import for_user


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("there/a file", "'there/a file'"),
        ("there/link", "there/link"),
        ("there/new.png", "there"),
        ("there/new/deep/a.png", "there"),
        ("new/a.png", "."),
        ("there/a file/b.png", "'there/a file'"),
        (b"there/new.png", "there"),
        ("/no-such/x.png", "/"),
    ],
)
def test_the_suggested_command_lists_what_there_is(tmp_path, monkeypatch, path, listed):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("there/a file").touch()
    Path("there/link").symlink_to("nowhere")
    message = for_user(PermissionError(errno.EACCES, os.strerror(errno.EACCES), path))
    assert f": Permission denied. Check the path, its owner and its permissions: ls -ld {listed} (" in message
