"""A table as LaTeX: a booktabs float to \\input, red and blue as in the paper."""

import math
import re
import textwrap
import unicodedata
from typing import NamedTuple

from mperceiver.report.grid import Cell, Column, FilledBlock, FilledTable, Measure, Row, printed

COLUMNS = 15  # numbers that fit side by side on a page; further columns go below, as in the paper's Table 1
BESIDE = 3  # blocks that fit side by side
NAME = 30  # characters of a method's name on a line
COLOURS = {1: "red", 2: "blue"}  # of a rank
# Shrinks only what is wider than the page.
NO_WIDER = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
TEX = {
    **{c: f"\\{c}" for c in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # LaTeX would read a bare [ after a line's end as an optional argument
    "]": "{]}",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "−": "$-$",
    "σ": r"$\sigma$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    # What the font encoding of a document without \usepackage[T1]{fontenc} lacks, and no simpler character stands for.
    "«": r"$\ll$",
    "»": r"$\gg$",
    **dict(
        zip("ÐðĐđÞþŊŋĦħŦŧĸſ", ("D", "d", "D", "d", "Th", "th", "N", "n", "H", "h", "T", "t", "k", "s"), strict=True)
    ),
}
WITHOUT_T1 = set("ĄąĘęĮįŲųĿŀŉ")  # it lacks these, too, but has the letters that they decompose into


def tex(text: str) -> str:
    """Text for LaTeX: special characters escaped, and those that pdflatex does not know replaced."""
    text = re.sub(r"\s+", " ", text)
    return "".join(TEX.get(c) or (c if _is_known(c) else _ascii(c)) for c in text)


def _is_known(character: str) -> bool:
    """Whether pdflatex sets a character with no packages but those that a table needs."""
    return " " <= character <= "\u017f" and not "\x7f" <= character < "\xa0" and character not in WITHOUT_T1


def _ascii(character: str) -> str:
    return "".join(TEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if " " <= c < "\x7f") or "?"


def to_tex(table: FilledTable) -> str:
    """A booktabs float to \\input; its first line names the packages that it needs."""
    lines = [
        r"% needs \usepackage{booktabs,graphicx,xcolor}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{\textbf{{{tex(table.title)}.}} {_caption(table)}}}",
        rf"\label{{tab:{table.name}}}",
    ]
    for index, line in enumerate(_side_by_side([piece for block in table.blocks for piece in _pieces(block)])):
        lines += [r"\par\medskip"] * bool(index) + [NO_WIDER]
        for k, piece in enumerate(line):
            lines += [r"\quad"] * bool(k) + _tabular(table, piece)
        lines[-1] += "}"
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _caption(table: FilledTable) -> str:
    """The caption, with what the signs in the table mean."""
    caption = tex(table.caption)
    if any(not row.ranked for row in table.rows):
        caption += (
            r" $\ddagger$: a reference, not ranked: the input itself, or what saw the ground truth, an upper bound."
        )
    if any(cell.reported is not None for cell in table.cells.values()):
        caption += r" $\dagger$: as published, not ranked. In brackets: the published number."
    if any(cell.reported_mean is not None for cell in table.cells.values()):
        caption += (
            r" \P: a published average that is not the mean of the row's published numbers, which stands behind it."
        )
    if doubts := table.doubts():
        caption += rf" $\ast$: doubtful ({tex('; '.join(doubts))})."
    if len(table.protocols) > 1:
        caption += (
            " Protocols: " + tex("; ".join(f"{name}: {', '.join(of)}" for name, _, of in table.scored_by())) + "."
        )
    if table.trained_on:
        caption += rf" \S: also trained on some of these test pictures ({tex('; '.join(table.trained_on))})."
    if not_compared := table.not_compared():
        caption += rf" \S\ may be missing, since datasets are not prepared and could not be compared ({tex('; '.join(not_compared))})."
    return caption


class Piece(NamedTuple):
    """As many columns of a block as fit side by side on a page."""

    block: FilledBlock
    heads: list[tuple[str, list[Column]]]  # label -> its columns

    @property
    def columns(self) -> list[Column]:
        return [column for _, columns in self.heads for column in columns]


def _pieces(block: FilledBlock) -> list[Piece]:
    """A block in pieces of at most ``COLUMNS`` numbers a row; columns of one label stay together."""
    pieces = [Piece(block, [])]
    for head in block.heads():
        if pieces[-1].heads and len(pieces[-1].columns) + len(head[1]) > COLUMNS:
            pieces.append(Piece(block, []))
        pieces[-1].heads.append(head)
    return pieces


def _side_by_side(pieces: list[Piece]) -> list[list[Piece]]:
    """The pieces that share a line: evenly, ``BESIDE`` at most, of different blocks, and ``COLUMNS`` numbers at most in all."""
    most = math.ceil(len(pieces) / math.ceil(len(pieces) / BESIDE))
    lines: list[list[Piece]] = []
    for piece in pieces:
        width = sum(len(one.columns) for one in [*(lines[-1] if lines else ()), piece])
        if lines and len(lines[-1]) < most and width <= COLUMNS and piece.block is not lines[-1][-1].block:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return lines


def _tabular(table: FilledTable, piece: Piece) -> list[str]:
    width = len(piece.columns) + 1
    spans, rules, start = [], [], 2
    for label, columns in piece.heads:
        end = start + len(columns) - 1
        spans.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{tex(label)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    title = piece.block.title
    lines = [
        rf"\begin{{tabular}}[t]{{l{'c' * len(piece.columns)}}}",
        r"\toprule",
        *([rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{tex(title)}}}}} \\"] if title else []),
        " & " + " & ".join(spans) + r" \\",
        "".join(rules),
        "Method & " + " & ".join(_measure(column.measure) for column in piece.columns) + r" \\",
    ]
    for heading, rows in _groups(table, piece):
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{tex(heading)}}}}} \\"]
        for row in rows:
            cells = (_cell(table.cells[row, column], column.measure) for column in piece.columns)
            lines.append(" & ".join([_method(row), *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _groups(table: FilledTable, piece: Piece) -> list[tuple[str, list[Row]]]:
    """The groups of rows, without the published rows that have no number in the piece, which would be repeated in each piece of a wide table."""
    groups = []
    for heading, rows in piece.block.groups():
        shown = [
            row
            for row in rows
            if not row.file or any(table.cells[row, column].reported is not None for column in piece.columns)
        ]
        groups += [(heading, shown)] if shown else []
    return groups


def _measure(measure: Measure) -> str:
    return tex(f"{measure.label} {measure.arrow}".rstrip())


def _method(row: Row) -> str:
    """A method's name with its signs, and where the numbers of a reported row are from; a long name takes several lines."""
    name = f"{row.title} ({row.source})" if row.source else row.title
    lines = [tex(line) for line in textwrap.wrap(name, NAME, break_on_hyphens=False)]
    lines[-1] += ("" if row.ranked else r" $\ddagger$") + ("" if row.measured else r" $\dagger$")
    if len(lines) == 1:
        return lines[0]
    return r"\begin{tabular}[t]{@{}l@{}}" + r"\\".join(lines) + r"\end{tabular}"


def _cell(cell: Cell, measure: Measure) -> str:
    paper = "" if cell.reported is None else tex(printed(cell.reported, measure))
    paper += r"\,$\ast$" if cell.doubt else ""
    paper += "" if cell.reported_mean is None else rf"\,\P\,{tex(printed(cell.reported_mean, measure))}"
    if cell.mean is None:
        words = r"\textit{not run}" if cell.why == "not run" else "--"
        return (paper and (f"{words} ({paper})" if cell.why else paper)) or words
    text = rf"\textcolor{{{COLOURS[cell.rank]}}}{{{tex(cell.text)}}}" if cell.rank in COLOURS else tex(cell.text)
    text += "" if cell.sd is None else rf"\,$\pm$\,{tex(printed(cell.sd, measure))}"
    text += r"\,\S" if cell.trained_on else ""
    return f"{text} ({paper})" if paper else text
