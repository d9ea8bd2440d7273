"""Files that stand in for others: what a clone without git-lfs leaves, and the web page that a server sends in place of a file."""

from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"
BLANK = b"\xef\xbb\xbf \t\r\n"  # what may stand before a page: the mark of UTF-8, and empty lines
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")
PAGE_NAMES = (".html", ".htm", ".xml", ".xhtml", ".svg", ".txt", ".md", ".list", ".csv")


def stand_in(path: Path) -> str | None:
    """What a file is in place of the one that its name promises, and what to do; None if it is no such thing."""
    with path.open("rb") as file:
        head = file.read(200)
    if not head and path.suffix.lower() not in PAGE_NAMES:
        return "is empty; get it again"
    if head.startswith(POINTER):
        return "is a pointer of git-lfs, not the file itself; where it came from: git lfs pull (of GitHub: `lfs: true` in the source)"
    if head.lstrip(BLANK).lower().startswith(PAGES) and path.suffix.lower() not in PAGE_NAMES:
        return "is a web page, not the file; most likely its server asked for a login or a click: open the address in a browser"
    return None
