"""A table as LaTeX: a booktabs float to \\input, red and blue as in the paper."""

import math
import re
import textwrap
import unicodedata
from typing import TYPE_CHECKING

from mperceiver.metrics import METRICS

if TYPE_CHECKING:
    from mperceiver.report.grid import Built, Cell, FilledBlock, Row

COLUMNS = 15  # numbers side by side on a page; more of them go in blocks below each other, as in the paper's Table 1
BESIDE = 3  # blocks side by side
NAME = 30  # letters of a method's name on a line
NO_WIDER = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"  # shrinks what is wider than the page
TEX = {
    **{c: f"\\{c}" for c in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # after a line's end a bare one would be taken for its optional argument
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
}


def tex(text: str) -> str:
    """Text for LaTeX: every special character escaped, none left that pdflatex does not know."""
    text = re.sub(r"\s+", " ", text)
    return "".join(TEX.get(c) or (c if " " <= c <= "\u017f" and c != "\x7f" else _ascii(c)) for c in text)


def _ascii(character: str) -> str:
    return "".join(TEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if " " <= c < "\x7f") or "?"


def to_tex(built: "Built") -> str:
    """A booktabs float to \\input; its first line says which packages it needs."""
    parts: list[tuple[FilledBlock, list[tuple[str, list[int]]]]] = []
    for block in built.blocks:
        parts.append((block, []))
        for head in built.heads(block):
            if parts[-1][1] and sum(len(at) for _, at in parts[-1][1]) + len(head[1]) > COLUMNS:
                parts.append((block, []))
            parts[-1][1].append(head)
    caption = tex(built.caption)
    if any(not row.ranked for row in built.rows):
        caption += r" $\ddagger$: sees the ground truth, not ranked."
    if any(cell.reported is not None for _, _, cell in built.there()):
        caption += r" $\dagger$: as reported by the paper, not ranked; in brackets: the paper's number beside ours."
    if len(built.protocols) > 1:
        caption += (
            " Protocols: " + tex("; ".join(f"{name}: {', '.join(of)}" for name, _, of in built.scored_by())) + "."
        )
    if built.seen:
        caption += rf" \S: some of its pictures were trained on ({tex('; '.join(built.seen))})."
    lines = [
        r"% needs \usepackage{booktabs,graphicx,xcolor}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{\textbf{{{tex(built.title)}.}} {caption}}}",
        rf"\label{{tab:{built.name}}}",
    ]
    for index, beside in enumerate(_beside(parts)):
        lines += [r"\par\medskip"] * bool(index) + [NO_WIDER]
        for k, (block, heads) in enumerate(beside):
            lines += [r"\quad"] * bool(k) + _tex_block(built, block, heads)
        lines[-1] += "}"
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _beside(parts: list[tuple]) -> list[list[tuple]]:
    """Parts of a table that stand side by side: blocks, evenly ``BESIDE`` at most, and no more than ``COLUMNS`` numbers in all."""
    most = math.ceil(len(parts) / math.ceil(len(parts) / BESIDE))
    found: list[list[tuple]] = []
    for part in parts:
        width = sum(len(at) for _, heads in [*(found[-1] if found else ()), part] for _, at in heads)
        if found and len(found[-1]) < most and width <= COLUMNS and part[0] is not found[-1][-1][0]:
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _tex_name(row: "Row") -> str:
    """A method's name, a long one on several lines, with its signs."""
    lines = [tex(line) for line in textwrap.wrap(row.title, NAME, break_on_hyphens=False)]
    lines[-1] += ("" if row.ranked else r" $\ddagger$") + ("" if row.measured else r" $\dagger$")
    if len(lines) == 1:
        return lines[0]
    return r"\begin{tabular}[t]{@{}l@{}}" + r"\\".join(lines) + r"\end{tabular}"


def _tex_block(built: "Built", block: "FilledBlock", heads: list[tuple[str, list[int]]]) -> list[str]:
    at = [j for _, indices in heads for j in indices]
    spans, rules, start = [], [], 2
    for label, indices in heads:
        end = start + len(indices) - 1
        spans.append(rf"\multicolumn{{{len(indices)}}}{{c}}{{{tex(label)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    arrow = {True: r"$\uparrow$", False: r"$\downarrow$"}
    metrics = [METRICS[built.columns[j].metric] for j in at]
    title = [rf"\multicolumn{{{len(at) + 1}}}{{l}}{{\textbf{{{tex(block.title)}}}}} \\"] if block.title else []
    lines = [
        rf"\begin{{tabular}}[t]{{l{'c' * len(at)}}}",
        r"\toprule",
        *title,
        " & " + " & ".join(spans) + r" \\",
        "".join(rules),
        "Method & " + " & ".join(f"{tex(m.label)} {arrow[m.higher_is_better]}" for m in metrics) + r" \\",
    ]
    for group, indices in built.groups(block):
        lines += [r"\midrule", rf"\multicolumn{{{len(at) + 1}}}{{l}}{{\textit{{{tex(group)}}}}} \\"]
        for i in indices:
            row = built.rows[i]
            cells = (_tex_cell(built.cells[i][j], built.columns[j].metric) for j in at)
            lines.append(" & ".join([_tex_name(row), *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _tex_cell(cell: "Cell", metric: str) -> str:
    paper = "" if cell.reported is None else f"{cell.reported:.{METRICS[metric].decimals}f}"
    if cell.mean is None:
        words = r"\textit{not run}" if cell.why == "not run" else "--"
        return (paper and (f"{words} ({paper})" if cell.why else paper)) or words
    colour = {1: "red", 2: "blue"}.get(cell.rank)
    spread = "" if cell.sd is None else rf"\,$\pm$\,{cell.sd:.{METRICS[metric].decimals}f}"
    text = rf"\textcolor{{{colour}}}{{{tex(cell.text)}}}" if colour else tex(cell.text)
    text += spread + (r"\,\S" if cell.seen else "")
    return f"{text} ({paper})" if paper else text
