"""Which photographs are restored: what is refused, and that no picture to restore is overwritten."""

from pathlib import Path

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
