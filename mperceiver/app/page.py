"""The page itself: three tabs (photographs, a dataset's pair, degrade and restore), put together with Gradio."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from mperceiver import config
from mperceiver.app import markup, work
from mperceiver.app.uploads import MOST_PIXELS
from mperceiver.app.work import Progress, Result, Workshop
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.ranges import Parameter, parameters

HEAD = """<div class="mp-head"><h1>MPerceiver</h1><p>Restores photographs with haze, snow, rain, raindrops, low light, noise or blur. \
Everything happens on this machine: nothing is sent anywhere, and what you upload is removed when the page is closed.</p></div>"""
SHOWN_AT_FIRST = ("haze", "gaussian-noise")
# Seconds between looks for old uploads, and their age. Closing a page removes its own; this is for one that was cut off, and a page
# may be open all day.
OLD_UPLOADS_S = (3_600, 86_400)
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Works that may have begun: the model restores one photograph at a time, and the pages of the others say that they wait.
AT_ONCE = 8
UPLOAD_PX = 150  # height of a field for files; with less, its label covers its text
FIELD_PX = 240  # of a field beside another one; on a telephone they stand below each other


def build(workshop: Workshop) -> gr.Blocks:
    """The page, not served yet. ``workshop`` must have at least one method."""
    methods = work.methods()
    with gr.Blocks(title="MPerceiver", analytics_enabled=False, delete_cache=OLD_UPLOADS_S) as page:
        gr.HTML(HEAD)
        with gr.Row():
            method = gr.Dropdown(
                [(f"{name}: {title}", name) for name, title in methods.items()],
                value=next(iter(methods)),
                label="Method",
                info="The methods whose weights are on this machine.",
                scale=3,
                min_width=FIELD_PX,
            )
            steps = gr.Slider(
                1,
                work.MOST_STEPS,
                step=1,
                label="Steps of the sampler",
                scale=2,
                min_width=FIELD_PX,
                **_steps(next(iter(methods))),
            )
        method.change(
            lambda name: gr.update(**_steps(name)), method, steps, api_visibility="private", show_progress="hidden"
        )
        with gr.Tab("Your photographs"):
            _photographs(workshop, method, steps)
        with gr.Tab("A dataset's pair"):
            _pairs(workshop, method, steps)
        with gr.Tab("Degrade and restore"):
            _degrading(workshop, method, steps)

        def leave(request: gr.Request) -> None:
            workshop.forget(_person(request))

        page.unload(leave)
    return page


def _steps(method: str) -> dict[str, Any]:
    """The sampler's steps as the method has them; a network has no sampler."""
    spec = config.load("methods", method)
    sampled = spec.kind == "mperceiver"
    info = "More steps take longer and are not always better." if sampled else "This method has no sampler."
    return {"value": min(spec.sampler.steps, work.MOST_STEPS) if sampled else 1, "interactive": sampled, "info": info}


Shown = tuple[Any, Any]  # HTML of the progress bar and of the results; gr.skip() leaves one as it is


def _shown(events: Iterator[Progress | Result]) -> Iterator[Shown]:
    """HTML after each event; an error that ends the work is told last.

    Results are sent when there is a new one, not with each step of the bar: the browser builds them anew whenever they are sent.
    """
    results: list[Result] = []
    kept: Any = ""  # the first event clears the results of the work before
    try:
        for event in events:
            if isinstance(event, Result):
                results.append(event)
                yield gr.skip(), markup.results(results)
            else:
                yield markup.bar(event), kept
            kept = gr.skip()
    except Exception as error:
        yield "", markup.results(results) + markup.failure(work.in_words(error))
    else:
        yield "", gr.skip()


def _work(label: str, name: str, run: Callable[..., Iterator[Shown]], inputs: list[Any]) -> None:
    """A button that starts a work, one that stops it, and below them the progress and the results, in an element ``name``."""
    with gr.Row():
        start = gr.Button(label, variant="primary", scale=3)
        stop = gr.Button("Stop", scale=1, min_width=80)
    with gr.Column(elem_id=name):
        bar, results = gr.HTML(), gr.HTML()
    # "multiple": by default, the browser ignores the button until the server says that the work has ended, which it does not always say of
    # one that was stopped.
    ways: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": AT_ONCE, "trigger_mode": "multiple"}
    running = start.click(run, inputs, [bar, results], **ways, **PRIVATE)
    # First the work ends, then the page says so; the other way round, a last step of the bar could come after that.
    stop.click(None, cancels=[running], api_visibility="private")
    stop.click(markup.stopped, bar, bar, queue=False, **PRIVATE)


def _remembered(workshop: Workshop, files: gr.File) -> None:
    """Have the workshop remember who uploaded what, so that it is removed with the page."""

    def remember(paths: list[str] | str | None, request: gr.Request) -> None:
        uploaded = [paths] if isinstance(paths, str) else paths or []
        workshop.uploads.remember(_person(request), map(Path, uploaded))

    files.change(remember, files, queue=False, **PRIVATE)


def _photographs(workshop: Workshop, method: gr.Dropdown, steps: gr.Slider) -> None:
    uploads = gr.File(
        label="Photographs",
        file_count="multiple",
        elem_id="uploads",
        height=UPLOAD_PX,
    )
    gr.HTML(
        f'<p class="mp-hint">Up to {work.MOST_PHOTOGRAPHS} photographs of at most {work.MOST_MIB} MB and {MOST_PIXELS // 10**6} megapixels each.</p>'
    )
    _remembered(workshop, uploads)

    def restore(files: list[str] | None, name: str, count: int, request: gr.Request) -> Iterator[Shown]:
        if not files:
            yield "", markup.failure("Choose a photograph first.")
            return
        yield from _shown(workshop.photographs(_person(request), [Path(file) for file in files], name, count))

    _work("Restore", "restored", restore, [uploads, method, steps])


def _pairs(workshop: Workshop, method: gr.Dropdown, steps: gr.Slider) -> None:
    names = work.datasets()
    if not names:
        gr.Markdown("No dataset is prepared here. `mperceiver prepare <dataset>`, or `make demo`, prepares some.")
        return
    with gr.Row():
        dataset = gr.Dropdown(names, value=names[0], label="Dataset", min_width=FIELD_PX)
        count = f"1 to {len(PreparedDataset(names[0]))}"
        row = gr.Number(1, label="Picture", precision=0, minimum=1, info=count, min_width=FIELD_PX)
    dataset.change(
        lambda name: gr.update(value=1, info=f"1 to {len(PreparedDataset(name))}"),
        dataset,
        row,
        api_visibility="private",
        show_progress="hidden",
    )

    def restore(name: str, number: int, chosen: str, count: int, request: gr.Request) -> Iterator[Shown]:
        yield from _shown(workshop.pair(_person(request), name, int(number or 0) - 1, chosen, count))

    _work("Restore and score", "pair", restore, [dataset, row, method, steps])


def _degrading(workshop: Workshop, method: gr.Dropdown, steps: gr.Slider) -> None:
    clean = gr.File(label="A clean photograph", elem_id="clean", height=UPLOAD_PX)
    _remembered(workshop, clean)
    names = sorted(DEGRADATIONS, key=lambda name: PLACES.index(DEGRADATIONS[name].place))
    chosen = gr.CheckboxGroup(
        names,
        value=list(SHOWN_AT_FIRST),
        label="Degradations",
        info="Applied in this order, the path of light into a file.",
    )
    sliders: list[Any] = []
    keys: list[tuple[str, Parameter]] = []
    groups = []
    for name in names:
        with gr.Accordion(name, open=name == SHOWN_AT_FIRST[0], visible=name in SHOWN_AT_FIRST) as group:
            for parameter in parameters(DEGRADATIONS[name].apply):
                if parameter.default is None:  # it may be left out, which no slider says
                    continue
                sliders.append(_control(parameter))
                keys.append((name, parameter))
        groups.append(group)
    chosen.change(
        lambda picked: [gr.update(visible=name in picked) for name in names],
        chosen,
        groups,
        api_visibility="private",
        show_progress="hidden",
    )
    seed = gr.Number(0, label="Seed", precision=0, minimum=0, info="The same seed draws the same rain.")

    def run(
        request: gr.Request, file: str | None, picked: list[str], number: int, name: str, count: int, *values: Any
    ) -> Iterator[Shown]:
        if not file:
            yield "", markup.failure("Choose a clean photograph first.")
            return
        layers: dict[str, dict[str, Any]] = {of: {} for of in picked}
        for (of, parameter), value in zip(keys, values, strict=True):
            if of in layers:
                layers[of][parameter.name] = value if parameter.choices else _within(parameter, value)
        yield from _shown(workshop.degraded(_person(request), Path(file), layers, int(number or 0), name, count))

    _work("Degrade and restore", "degraded", run, [clean, chosen, seed, method, steps, *sliders])


def _control(parameter: Parameter) -> gr.Slider | gr.Dropdown:
    if parameter.choices:
        return gr.Dropdown(
            list(parameter.choices), value=parameter.default, label=parameter.name, info=parameter.meaning
        )
    # a thousandth of the range, as a power of ten
    step = 1 if parameter.whole else 10.0 ** (round(math.log10(parameter.high - parameter.low)) - 3)
    return gr.Slider(
        parameter.low,
        parameter.high,
        value=float(parameter.default),
        step=step,
        label=parameter.name,
        info=parameter.meaning,
    )


def _within(parameter: Parameter, value: float) -> int | float:
    """The value of a slider, whose last digits may lie outside the range."""
    value = min(max(value, parameter.low), parameter.high)
    return int(value) if parameter.whole else float(value)


def _person(request: gr.Request) -> str:
    """The session's id, which names a folder; letters and digits only."""
    return "".join(filter(str.isalnum, request.session_hash or "")) or "nobody"
