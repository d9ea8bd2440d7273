"""Tables as LaTeX."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import reports

from mperceiver.report import grid, tables
from mperceiver.report.tables import latex

GOLDEN_TEX = r"""
One \& \textless{}only\textgreater{} & \textcolor{red}{20.00} & \textcolor{red}{0.810} & \textcolor{red}{0.210}
 & \textcolor{red}{24.25} & \textcolor{blue}{0.720} & \textcolor{red}{0.110}
 & \textcolor{red}{22.13} & \textcolor{red}{0.765} & \textcolor{red}{0.160} \\
Two\_50\% & \textcolor{red}{20.00} & \textcolor{blue}{0.710} & \textcolor{red}{0.210}
 & \textcolor{blue}{23.25} & \textcolor{red}{0.755} & \textcolor{blue}{0.205}
 & \textcolor{blue}{21.62} & \textcolor{blue}{0.732} & \textcolor{blue}{0.208} \\
\bottomrule
""".replace("\n &", " &")


def test_tex_is_golden(tree):
    text = latex.to_tex(tables.build("toys"))
    assert GOLDEN_TEX.strip() in text
    assert text.startswith("% needs \\usepackage{booktabs,graphicx,xcolor}\n")
    assert r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(lr){8-10}" in text


def test_hostile_titles_are_escaped(tree):
    text = tables.to_html(tables.build("toys"))
    assert "<only>" not in text and "One &amp; &lt;only&gt;" in text and "&lt;b&gt;tasks&lt;/b&gt;" in text
    tex = latex.tex("\\input{/etc/passwd} 100% $x_1^2$ #1 & ~ <a> \n [x] é 語 ≤ \x00")
    assert tex == (
        r"\textbackslash{}input\{/etc/passwd\} 100\% \$x\_1\textasciicircum{}2\$ \#1 \& \textasciitilde{} "
        r"\textless{}a\textgreater{} {[}x{]} é ? $\le$ ?"
    )


def test_tex_braces_balance_and_it_compiles(tree):
    text = latex.to_tex(tables.build("toys"))
    bare = re.sub(r"\\[{}\\]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    for line in text.splitlines():  # all lines of a tabular have the same number of cells
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 9
    _compiles(text)


def test_european_letters_and_quotes_compile(tree):
    """Every character of Latin-1 and Latin Extended-A, without a package for fonts."""
    letters = "".join(chr(code) for code in range(0xA1, 0x180))
    assert latex.tex("«Đorđević» Łódź, Wyłęga, Þór, Ħ") == r"$\ll$Dordevic$\gg$ Łódź, Wyłega, Thór, H".replace(
        "vic", "vić"
    )
    _compiles(rf"% needs \usepackage{{booktabs}}{chr(10)}{latex.tex(letters)}")


def _compiles(text: str) -> None:
    if not shutil.which("pdflatex"):  # CI has it
        pytest.skip("no pdflatex (Debian: texlive-latex-recommended)")
    packages = re.search(r"\\usepackage\{[^}]*\}", text)[0]
    Path("t.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}", encoding="utf-8"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_blocks_stand_side_by_side_in_latex(tree):
    table = dict(reports.TABLE) | {"average": False}
    part = {"rows": table.pop("rows"), "columns": table.pop("columns")[:1]}
    for count, lines in ((1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (9, [3, 3, 3])):
        reports.dump("tables", "blocks", table | {"blocks": [part | {"title": f"Part {i}"} for i in range(count)]})
        text = latex.to_tex(tables.build("blocks"))
        assert [line.count(r"\toprule") for line in text.split(latex.NO_WIDER)[1:]] == lines
    _compiles(text)


def test_a_long_name_takes_two_lines_in_latex(tree):
    title = "Ground truth through the VAE & back, of a foundation"
    reports.dump("methods", "ceiling", reports.METHODS["ceiling"] | {"title": title})
    text = latex.to_tex(tables.build("toys"))
    assert (
        r"\begin{tabular}[t]{@{}l@{}}Ground truth through the VAE \&\\back, of a foundation $\ddagger$\end{tabular} & "
        in text
    )
    _compiles(text)


def test_wide_tables_break_into_blocks(tree):
    table = dict(reports.TABLE)
    table["columns"] = [{**table["columns"][0], "label": f"Haze {i}"} for i in range(7)]
    reports.dump("tables", "wide", table)
    text = latex.to_tex(tables.build("wide"))
    assert text.count(r"\begin{tabular}") == 2 and text.count(r"\midrule") == 4


@pytest.mark.parametrize(
    ("value", "plain", "in_latex"),
    [
        (-1.234, "−1.23", "$-$1.23"),
        (-0.5, "−0.50", "$-$0.50"),
        (-0.001, "0.00", "0.00"),
        (12.5, "12.50", "12.50"),
        (float("-inf"), "−∞", r"$-$$\infty$"),
    ],
)
def test_negative_numbers_have_a_minus_sign(value, plain, in_latex):
    """Our number, the paper's and the deviation, in LaTeX; the same number in HTML."""
    measure = grid.Measure("Gain", 2, higher_is_better=True)
    assert grid.printed(value, measure) == plain
    ours = grid.Cell(mean=value, reported=value, sd=value, text=grid.printed(value, measure))
    assert latex._cell(ours, measure) == rf"{in_latex}\,$\pm$\,{in_latex} ({in_latex})"
    assert latex._cell(grid.Cell(reported=value), measure) == in_latex


def test_a_table_of_losses_compiles_and_keeps_its_csv(tree):
    path = Path("results/scores/one/toys.json")
    card = json.loads(path.read_text(encoding="utf-8"))
    for means in card["result"]["tasks"].values():
        means["psnr"]["mean"] = -3.25
    path.write_text(json.dumps(card), encoding="utf-8")
    built = tables.build("toys")
    text = latex.to_tex(built)
    assert "$-$3.25" in text and not re.search(r"(?<![$\w{])-\d", text)
    assert "−3.25" in tables.to_html(built) and ",-3.25," in tables.to_csv(built)
    _compiles(text)


def test_differences_have_a_sign():
    measure = grid.Measure("Gain", 2, higher_is_better=True)
    values = (1.0, -1.0, -0.001, float("-inf"), float("inf"), float("nan"))
    assert [grid.signed(value, measure) for value in values] == ["+1.00", "−1.00", "+0.00", "−∞", "+∞", "NaN"]
