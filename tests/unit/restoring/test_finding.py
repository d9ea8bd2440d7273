"""Which photographs are restored: what is refused, and that no picture to restore is overwritten."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from support.photographs import photo, pixels

from mperceiver.images import PictureError
from mperceiver.restoring import finding


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("a.png", "a.png", "is the picture to restore"),
        ("a.png", "link.png", "is the picture to restore"),
        ("a.png", "sub/../a.png", "is the picture to restore"),
        ("a.png", "b.jpg", "b.jpg: .*ends in .png"),
        ("a.png", "sub", "sub: is a folder; name a file in it"),
        ("a.png", "sub/dir.png", "sub/dir.png: is a folder; name a file in it"),
        ("a.gif", "b.png", "a.gif: a picture's name ends in .*; save it as PNG$"),
        ("gone.gif", "b.png", "there is no file or folder of this name either$"),
        (
            "dangling.png",
            "b.png",
            "dangling.png: is a link to gone.png, which leads to no file; name the picture itself",
        ),
        ("circle.png", "b.png", "circle.png: is a link to circle.png, which leads to no file"),
        (
            "https://example.org/a b.jpg",
            "b.png",
            "^https://example.org/a b.jpg: is a web address.* -LO 'https://example.org/a b.jpg'$",
        ),
        ("missing.png", "b.png", "missing.png: no such picture; see what is there: ls "),
        ("my photos/missing.png", "b.png", "see what is there: ls 'my photos'"),
    ],
)
def test_a_file_that_is_refused(world, source, target, says):
    photo("a.png")
    Path("a.gif").write_bytes(b"GIF89a")
    Path("dangling.png").symlink_to("gone.png")
    Path("circle.png").symlink_to("circle.png")
    Path("link.png").hardlink_to("a.png")
    Path("my photos").mkdir()
    Path("sub/dir.png").mkdir(parents=True)
    with pytest.raises(PictureError, match=says):
        finding.to_restore(Path(source), Path(target))


def test_a_folder_that_may_not_be_written_is_told_before_the_work(world, monkeypatch):
    photo("in/a.png")
    Path("theirs").mkdir()
    monkeypatch.setattr(finding.os, "access", lambda folder, mode: Path(folder).name != "theirs")
    for source, target in (("in/a.png", "theirs/b.png"), ("in", "theirs"), ("in", "theirs/new/folder")):
        with pytest.raises(PictureError, match="this user may not write into .*theirs; name another target.*ls -ld "):
            finding.to_restore(Path(source), Path(target))
    assert list(Path("theirs").iterdir()) == []
    finding.to_restore(Path("in/a.png"), Path("new/b.png"))


def test_folders_that_are_refused(world):
    Path("empty").mkdir()
    photo("in/a.png"), photo("in/b.png"), photo("twice/a.png"), photo("twice/a.jpg")
    photo("cases/A.png"), photo("cases/a.bmp"), photo("forms/\u00e9.png"), photo("forms/e\u0301.bmp")
    Path("file").write_text("", encoding="utf-8")
    for folder, target, says in (
        ("empty", "out", "empty: no pictures in it"),
        ("in", "in", "in: is the folder to restore"),
        ("in", "file", "file: is a file"),
        ("twice", "out", r"a\.jpg and a\.png would become a\.png; rename"),
        ("cases", "out", r"A\.png and a\.bmp would become A\.png and a\.png, which are one file on many disks; rename"),
        ("forms", "out", "which are one file on many disks"),
        ("empty", "out.png", r"out\.png: is the name of a picture, but empty is a folder.*mkdir out\.png"),
    ):
        with pytest.raises(PictureError, match=says):
            finding.in_folder(Path(folder), Path(target))
    Path("out.png").mkdir()
    with pytest.raises(PictureError, match="empty: no pictures in it"):
        finding.in_folder(Path("empty"), Path("out.png"))


# ---------------------------------------------------------------- nothing that is to be restored is overwritten


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (
            "c/a-compare.png",
            "c/a.png",
            "c/a-compare.png: is the picture to restore, and the comparison of c/a-compare.png",
        ),
        ("c/compare", "c", "c/compare/a.png: is the picture to restore, and the comparison of c/compare/a.png"),
        ("in", "linked", "linked/a.png: is the picture to restore, in/a.png, by another path or a link"),
        ("in", "hard", "hard/a.png: is the picture to restore, in/b.png, by another path or a link"),
        ("in", "one", "one/b.png: is the same file as one/a.png, and both would be written"),
        (
            "in",
            "cases",
            "cases/b.png: is the same file as cases/a.png on many disks, which take New.png for new.png, and",
        ),
        ("in", "dangling", "dangling/b.png: is the same file as dangling/a.png, and both would be written"),
        ("in", "before", "before/compare/a.png: is the picture to restore, in/a.png, by another path or a link"),
        ("in", "folders", "folders/a.png: is a folder"),
        ("in/a.png", "folders/c.png", "folders/c-compare.png: is a folder"),
    ],
)
def test_no_picture_to_restore_is_overwritten(world, source, target, says):
    for number, name in enumerate(("in/a.png", "in/b.png", "c/a-compare.png", "c/compare/a.png", "one/a.png")):
        photo(name, Image.fromarray(pixels(seed=number)))
    for folder in ("linked", "hard", "dangling", "cases", "before", "folders/a.png", "folders/c-compare.png"):
        Path(folder).mkdir(parents=True)
    for name in ("a", "b"):
        Path(f"linked/{name}.png").symlink_to(f"../in/{name}.png")
        Path(f"dangling/{name}.png").symlink_to("../elsewhere.png")
    Path("cases/a.png").symlink_to("../new.png"), Path("cases/b.png").symlink_to("../New.png")
    Path("hard/a.png").hardlink_to("in/b.png")
    Path("one/b.png").symlink_to("a.png")
    Path("before/compare").symlink_to("../in")
    before = {path: path.read_bytes() for path in Path().rglob("*.png") if path.is_file()}
    with pytest.raises(PictureError, match=says):
        finding.to_restore(Path(source), Path(target), compare=True)
    assert {path: path.read_bytes() for path in Path().rglob("*.png") if path.is_file()} == before


def test_a_link_in_the_target_to_something_else_is_followed(world):
    photo("in/a.png"), photo("elsewhere/a.png")
    Path("out").mkdir()
    Path("out/a.png").symlink_to("../elsewhere/a.png")
    [photograph] = finding.to_restore(Path("in"), Path("out"))
    assert photograph.target == Path("out/a.png")


def test_what_may_not_be_looked_at_is_in_nobodys_way(world, monkeypatch):
    """A link into a folder without permission is told like a damaged picture; one in a folder in the folder is passed over."""
    photo("in/a.png")
    Path("in/sub").mkdir()
    for name in ("in/secret.png", "in/secret", "in/sub/secret"):
        Path(name).symlink_to(world / "private/a.png")
    stat, read_bytes = os.stat, Path.read_bytes

    def refuse(path, *arguments, **options):
        if str(path).startswith("in/") and "secret" in str(path) and options.get("follow_symlinks", True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path) and read_bytes(path))
    first, secret = finding.to_restore(Path("in"), Path("out"))
    assert first.read().any()
    with pytest.raises(PictureError, match=r"^in/secret\.png: cannot be read \(Permission denied\)$"):
        secret.read()
    assert finding.left_out(Path("in"), Path("out")) == ({}, [Path("in/secret")])


def test_a_folder_with_the_name_of_a_picture_is_a_folder(world):
    photo("in/a.png"), photo("in/album.png/b.png")
    Path("in/empty.jpg").mkdir()
    assert [photograph.source.name for photograph in finding.to_restore(Path("in"), Path("out"))] == ["a.png"]
    reasons, others = finding.left_out(Path("in"), Path("out"))
    assert list(reasons) == [Path("in/album.png")] and "is a folder in the folder" in str(reasons) and others == []


def test_links_and_the_target_in_a_folder_in_the_folder_are_not_looked_through(world, monkeypatch):
    photo("elsewhere/b.png"), photo("in/a.png"), photo("in/below/out/a.png")
    Path("in/below/link").symlink_to(world / "elsewhere")
    Path("in/below/circle").symlink_to(world / "in")
    assert finding.left_out(Path("in"), Path("in/below/out")) == ({}, [])
    assert list(finding.left_out(Path("in"), Path("out"))[0]) == [Path("in/below")]
    monkeypatch.setattr(finding, "MOST_LOOKED_AT", 3)
    Path("in/many").mkdir()
    for number in range(3):
        Path(f"in/many/{number}.txt").write_text("x", encoding="utf-8")
    photo("in/many/a/z.png")
    assert list(finding.left_out(Path("in"), Path("out"))[0]) == [Path("in/below")]


def test_a_link_in_a_folder_that_leads_nowhere_is_told_as_such(world):
    photo("in/a.png")
    Path("in/b.png").symlink_to("gone.png")
    _, link = finding.to_restore(Path("in"), Path("out"))
    with pytest.raises(PictureError, match=r"^in/b\.png: is a link to gone\.png, which leads to no file$"):
        link.read()


def test_a_disk_that_is_mounted_read_only_is_told_as_such(world, monkeypatch):
    photo("a.png")
    monkeypatch.setattr(finding.os, "access", lambda folder, mode: False)
    monkeypatch.setattr(finding.os, "statvfs", lambda folder: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(PictureError, match=r"^out/a\.png: the disk of \. is mounted read-only; name another target$"):
        finding.to_restore(Path("a.png"), Path("out/a.png"))
