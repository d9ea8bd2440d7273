"""What is printed: control characters as escapes, secrets masked, no markup, whatever the output's encoding."""

import io
import json
import re

import pytest

from mperceiver import printing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mred\x1b[0m", r"a\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\x08\x7f", r"over\x0dwritten\x08\x7f"),
        ("C1: \x9b31m", r"C1: \x9b31m"),
        ("fdp\u202egnp.exe", r"fdp\u202egnp.exe"),
        ("two\u2028lines", r"two\u2028lines"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("lone \ud800", r"lone \ud800"),
        ("kept: \t\n äöü 雪 −σ", "kept: \t\n äöü 雪 −σ"),
    ],
)
def test_what_cannot_be_seen_is_an_escape(text, expected):
    assert printing.shown(text) == expected


def test_a_name_stays_on_one_line():
    assert printing.shown("a\nerror: all is lost\tb", lines=False) == r"a\nerror: all is lost\tb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:secret@host.org/a.zip: 404", "https://***@host.org/a.zip: 404"),
        ("ftp://token@host/x", "ftp://***@host/x"),
        ("'https://me:p@ss@host:8443/x'", "'https://***@host:8443/x'"),
        ("http://me:a/b?c@host/x", "http://***@host/x"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("https://host:8080/@scope/file, a@b.org", "https://host:8080/@scope/file, a@b.org"),
        ("https://u:pw@host/@scope/file", "https://***@host/@scope/file"),
        ("https://h/f?id=5&token=abc&x=1", "https://h/f?id=5&token=***&x=1"),
        (
            "with url: /f?X-Amz-Credential=q%2Fr&X-Amz-Signature=00 (",
            "with url: /f?X-Amz-Credential=***&X-Amz-Signature=*** (",
        ),
        ("https://h/f?sv=1&sig=ab%3D#x", "https://h/f?sv=1&sig=***#x"),
        ("https://h/f?page=2&monkey=1", "https://h/f?page=2&monkey=1"),
        ("token=abc in a sentence", "token=abc in a sentence"),
    ],
)
def test_secrets_of_urls_are_masked(text, expected):
    assert printing.masked(text) == expected == printing.shown(text)
    assert printing.masked_data({text: [text, {"n": 1.5, "none": None}]}) == {
        expected: [expected, {"n": 1.5, "none": None}]
    }


@pytest.mark.parametrize("terminal", [True, False])
def test_the_rich_console_prints_text_as_it_is(terminal):
    out = io.StringIO()
    console = printing.console(
        file=out, force_terminal=terminal, color_system="standard" if terminal else None, width=200
    )
    from rich.table import Table
    from rich.text import Text

    table = Table("name [red]", title="a[/]b :smile:", title_style="bold")
    table.add_row("x[/bold]\x1b[2Jy")
    console.print(table)
    console.print("[/] \x1b]0;t\x07 caf\udce9", Text("\x9b1m", style="red"))
    text = out.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    shown = ("name [red]", "a[/]b :smile:", r"x[/bold]\x1b[2Jy", r"[/] \x1b]0;t\x07 caf\xe9", r"\x9b1m")
    assert [part for part in shown if part not in plain] == []
    assert not any(part in text for part in ("\x1b[2J", "\x1b]", "\x9b", "\x07"))
    assert ("\x1b[31m" in text) == terminal  # its own colours are not text


def test_json_is_exact_and_has_no_control_characters(capsys):
    data = {"path": "a\x1b[31m\x7f\udce9?token=1\n雪", "n": [1.5, None]}
    printing.say_json(data)
    text = capsys.readouterr().out
    assert json.loads(text) == data and text.isascii() and not re.search("[\x00-\x09\x0b-\x1f\x7f]", text)
