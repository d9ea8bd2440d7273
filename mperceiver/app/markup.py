"""What the page shows, as HTML: the divider between before and after, the predictor's bars, scores, progress and errors."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from mperceiver.app.work import Progress, Result
from mperceiver.config.base import SURE
from mperceiver.metrics import METRICS

MOST_BARS = 5  # degradations, the most probable first
FILES = "/gradio_api/file="  # the address of a file on the server


def address(file: Path) -> str:
    """Where the browser finds a file of the temporary folder; a rewritten file has a new address."""
    return f"{FILES}{quote(str(file))}?{file.stat().st_mtime_ns}"


def results(so_far: Sequence[Result]) -> str:
    """All results so far, the newest last: those that are on the page already stay where they are."""
    return "".join(map(figure, so_far))


def bar(progress: Progress) -> str:
    """A progress bar."""
    place = f"{progress.number} of {progress.count}: " if progress.count > 1 else ""
    share = round(100 * (progress.number - 1 + progress.share) / progress.count)
    words = progress.before or f"{share} %"
    return (
        f'<div class="mp-progress" role="status"><span>{place}{escape(progress.name)}, {words}</span>'
        f'<progress max="100" value="{share}"></progress></div>'
    )


def stopped(shown: str | None) -> str:
    """What takes the place of a progress bar whose work was stopped; nothing where nothing was ``shown``."""
    return '<p class="mp-stopped" role="status">Stopped</p>' if shown else ""


def failure(message: str) -> str:
    """An error in words."""
    return f'<p class="mp-error" role="alert"><b>Not restored.</b> {escape(message)}</p>'


def figure(result: Result) -> str:
    """One result: the pictures, what was seen in them, scores, and the PNG to take away."""
    if result.error or result.before is None or result.after is None:
        return failure(result.error or "")
    name, (width, height) = escape(result.name), result.size
    download = escape(f"{Path(result.name).stem}-restored.png" if result.target is None else result.after.name)
    target = ""
    if result.target is not None:
        target = f'<button type="button" data-mp="target" aria-pressed="false" data-src="{address(result.target)}">Ground truth</button>'
    return f"""<figure class="mp-result" aria-label="{name}" data-key="{address(result.after)}">
<div class="mp-scroll"><div class="mp-compare" style="--w:{width}px;aspect-ratio:{width}/{height}">
<img src="{address(result.before)}" alt="{name}, before" draggable="false">
<div class="mp-after"><img src="{address(result.after)}" data-restored="{address(result.after)}" alt="{name}, after" draggable="false"></div>
<span class="mp-tag left">before</span><span class="mp-tag right">after</span>
<input type="range" min="0" max="100" step="0.5" value="50" aria-label="Divider between before (left) and after (right), {name}">
</div></div>
<div class="mp-tools"><button type="button" data-mp="full" aria-pressed="false">Full resolution</button>{target}
<a class="mp-download" href="{address(result.after)}" download="{download}">Download PNG</a></div>
<figcaption><b>{name}</b> <span>{width} × {height} px</span> <span>{result.seconds:.1f} s</span>
{"".join(f"<p>{escape(note)}</p>" for note in result.notes)}</figcaption>
<div class="mp-facts">{bars(result.probabilities, result.clean)}{table(result)}</div></figure>"""


def bars(probabilities: dict[str, float] | None, clean: float | None = None) -> str:
    """What the degradation predictor sees, the most probable first, and a sentence where that is nothing, or nothing sure."""
    if not probabilities:
        return ""
    likely = sorted(probabilities.items(), key=lambda item: -item[1])[:MOST_BARS]
    rows = "".join(
        f'<li><span>{escape(name.replace("-", " "))}</span><meter min="0" max="1" value="{p:.4f}"></meter><b>{p:.0%}</b></li>'
        for name, p in likely
    )
    said = "" if likely[0][1] >= SURE else "<p>The predictor is not sure.</p>"
    if clean is not None and clean >= SURE:
        said = f"<p>Nothing seems wrong with it: {clean:.0%}.</p>"
    return f'<section class="mp-bars"><h3>What the degradation predictor sees</h3><ul>{rows}</ul>{said}</section>'


def table(result: Result) -> str:
    """Scores of the input and of the restored picture against the ground truth."""
    if not result.scores:
        return ""
    labels = {metric.label: metric for metric in METRICS.values()}
    names = list(result.scores["input"])
    head = "".join(f"<th scope='col'>{name} {'↑' if labels[name].higher_is_better else '↓'}</th>" for name in names)
    rows, reasons = "", []
    for key, values in result.scores.items():
        cells = ""
        for name in names:
            value = values[name]
            if isinstance(value, str):
                reasons.append(value)
            cells += f"<td>{value:.{labels[name].decimals}f}</td>" if isinstance(value, float) else "<td>none</td>"
        rows += f"<tr><th scope='row'>{key}</th>{cells}</tr>"
    why = "".join(f"<p>{escape(reason)}</p>" for reason in dict.fromkeys(reasons))
    return (
        f'<section class="mp-scores"><h3>Against the ground truth</h3><table><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{why}</section>"
    )
