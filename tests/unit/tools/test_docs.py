"""`make docs` writes what differs; that its pages are up to date is in tests/unit/test_documents.py."""

from tools import blocks, docs, draw_pipeline


def test_make_docs_writes_what_differs_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docs, "PROJECT", tmp_path)
    monkeypatch.setattr(
        docs, "PAGES", {"old.md": lambda: "new", "docs/new.md": lambda: "new", "same.md": lambda: "same"}
    )
    (tmp_path / "old.md").write_text("old", encoding="utf-8")
    (tmp_path / "same.md").write_text("same", encoding="utf-8")
    before = (tmp_path / "same.md").stat().st_mtime_ns
    docs.main()
    assert capsys.readouterr().out.splitlines() == ["old.md: written", "docs/new.md: written", "same.md: up to date"]
    assert (
        (tmp_path / "old.md").read_text(encoding="utf-8")
        == (tmp_path / "docs/new.md").read_text(encoding="utf-8")
        == "new"
    )
    assert (tmp_path / "same.md").stat().st_mtime_ns == before


def test_the_picture_has_no_arrow_that_a_longer_way_shows():
    dot = '0[label = "all"]\n1[label = "a"]\n2[label = "b"]\n3[label = "c"]\n1 -> 2\n2 -> 3\n1 -> 3\n3 -> 0\n2 -> 2\n'
    rules, arrows = draw_pipeline.parse(dot)
    assert rules == {"a", "b", "c"} and arrows == {("a", "b"), ("b", "c"), ("a", "c")}
    assert draw_pipeline.without_shortcuts(arrows) == {("a", "b"), ("b", "c")}


def test_a_name_in_angle_brackets_is_seen():
    """GitHub and browsers take <name> for a tag and show nothing."""
    assert blocks.cell("the stem of a/<name>.yaml,\n  see `b/<name>.csv` | ``c/<name>``") == (
        "the stem of a/&lt;name>.yaml, see `b/<name>.csv` \\| ``c/<name>``"
    )
    assert "config/&lt;name>.yaml: " in docs.PAGES["config/README.md"]()
