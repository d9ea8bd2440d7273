"""One training loop for every stage, every baseline and the foundation's pre-training, on accelerate.

Randomness has no state: the numbers of a step come from (seed, step, rank), so a resumed run takes exactly the steps of one
that was never stopped. On SIGTERM the step is finished, the resume state written, and the process exits with 143.
"""

import csv
import hashlib
import io
import json
import math
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import lineage
from mperceiver.config import Phase, Stage
from mperceiver.training import processes

LINE_EVERY = 50  # steps between two rows of the curve, and two lines where there is no terminal


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


# (module, numpy generator, torch generator, phase, step) -> {"loss": scalar, "loss_*": scalar, ["adversary": scalar]}
Losses = Callable[[nn.Module, np.random.Generator, torch.Generator, Phase, int], dict[str, Tensor]]


def fit(
    title: str,
    module: nn.Module,
    losses: Losses,
    spec: Stage,
    *,
    seed: int,
    resume: Path,
    inputs: dict | None = None,
    adversary: nn.Module | None = None,
) -> str:
    """Train ``module``'s parameters that require gradients for ``spec.steps`` steps; return the curve as CSV text.

    Args:
        losses: the stage's objective; it draws its own batch from the generators it is given.
        resume: where the resume state is kept, the last one too: the caller removes it when the weights are written. A state
            made under another ``spec``, ``seed`` or ``inputs`` is not taken up.
        adversary: a discriminator with its own optimiser, trained on ``losses``' "adversary".

    Raises:
        TrainingError: the loss is not finite (the last state saved before that step is kept).
        SystemExit: with code 143 after SIGTERM, the state written.
    """
    from accelerate import Accelerator

    processes.world()  # joins the others
    accelerator = Accelerator(mixed_precision=spec.precision)
    torch.set_flush_denormal(True)
    optimiser = torch.optim.AdamW(_groups(module, spec), lr=spec.lr, betas=spec.betas, fused=True)
    # Adam's usual numbers for a discriminator (Real-ESRGAN, StableSR): no long memory of a moving target.
    rival = torch.optim.AdamW(adversary.parameters(), lr=spec.lr, betas=(0.5, 0.9)) if adversary is not None else None
    wrapped, optimiser = accelerator.prepare(module, optimiser)
    rival = accelerator.prepare(rival) if rival else None  # with fp16 its gradients are scaled too
    fingerprint = _fingerprint(spec, seed, inputs)
    step, rows = _take_up(resume, fingerprint, module, optimiser, adversary, rival, title)
    trained = [p for p in module.parameters() if p.requires_grad]
    ends = _phase_ends(spec)
    stop = _StopSignal()
    meter = _Meter(title, spec, step, rows, accelerator.is_main_process)
    try:
        while step < spec.steps:
            phase = spec.phases[next(i for i, end in enumerate(ends) if step < end)]
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(spec, step)
            found: dict[str, Tensor] = {}
            for part in range(spec.accumulate):
                key = [seed, step, part, accelerator.process_index]
                rng = np.random.default_rng(key)
                generator = torch.Generator(accelerator.device).manual_seed(int(rng.integers(2**62)))
                with accelerator.autocast():
                    found = losses(wrapped, rng, generator, phase, step)
                if not torch.isfinite(found["loss"]):
                    raise TrainingError(
                        f"{title}: loss is {found['loss'].item()} at step {step}; a lower `lr` or `precision: no` in the "
                        "run's file usually helps"
                    )
                accelerator.backward(found["loss"] / spec.accumulate)
            accelerator.clip_grad_norm_(trained, spec.clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if rival is not None and "adversary" in found:
                rival.zero_grad(set_to_none=True)
                accelerator.backward(found["adversary"])
                rival.step()
            step += 1
            meter.add(step, found, phase.batch * spec.accumulate * accelerator.num_processes)
            if stop.asked or step % spec.save_every_steps == 0 or step == spec.steps:
                if accelerator.is_main_process:
                    _save(resume, fingerprint, step, meter.rows, module, optimiser, adversary, rival)
            if stop.asked:
                print(
                    f"{title}: stopped by a signal after step {step} of {spec.steps}; the same command goes on from there",
                    flush=True,
                )
                raise SystemExit(143)
    finally:
        meter.close()
        stop.restore()
    accelerator.wait_for_everyone()
    return _csv(meter.rows)


def learning_rate(spec: Stage, step: int) -> float:
    """Linear warm-up, then a cosine from ``lr`` to ``lr_end``, per step."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    done = (step - spec.warmup_steps) / max(spec.steps - spec.warmup_steps, 1)
    return spec.lr_end + (spec.lr - spec.lr_end) * (1 + math.cos(math.pi * done)) / 2


def _phase_ends(spec: Stage) -> list[int]:
    ends = [round(spec.steps * sum(p.share for p in spec.phases[: i + 1])) for i in range(len(spec.phases))]
    ends[-1] = spec.steps
    return ends


def _groups(module: nn.Module, spec: Stage) -> list[dict]:
    """Weight decay for matrices and kernels only, not for norms, biases, gates and prompt pools."""
    decayed, spared = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # One number a channel, whatever its shape: (C,), (C, 1, 1); the CM-Adapter has one bias for each degradation.
            vector = parameter.numel() == max(parameter.shape, default=1)
            spare = vector or name.endswith(("pool", "bias", "bias_table"))
            (spared if spare else decayed).append(parameter)
    if not decayed and not spared:
        raise TrainingError("nothing to train: no parameter requires a gradient")
    return [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": spared, "weight_decay": 0.0}]


# ---------------------------------------------------------------- resume


def _fingerprint(spec: Stage, seed: int, inputs: dict | None) -> str:
    text = json.dumps([spec.model_dump(mode="json"), seed, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def discard(resume: Path) -> None:
    """Remove a training's resume states: its weights are written."""
    resume.unlink(missing_ok=True)


def _save(resume: Path, fingerprint: str, step: int, rows: list, module, optimiser, adversary, rival) -> None:
    names = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in module.named_buffers()}
    state = {
        "fingerprint": fingerprint,
        "step": step,
        "rows": rows,
        "module": {k: v for k, v in module.state_dict().items() if k in names or k in buffers},
        "optimiser": optimiser.state_dict(),
    }
    if adversary is not None:
        state |= {"adversary": adversary.state_dict(), "rival": rival.state_dict()}
    # A file of Python's, not a path: where the disk is full, torch's own writer says nothing of it and keeps its file open.
    with lineage.whole(resume) as beside, beside.open("wb") as file:
        torch.save(state, file)


def _take_up(resume: Path, fingerprint: str, module, optimiser, adversary, rival, title: str) -> tuple[int, list]:
    if not resume.exists():
        return 0, []
    try:
        state = torch.load(resume, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{resume}: cannot be read ({error}); remove it to start anew") from None
    if state["fingerprint"] != fingerprint:
        print(f"{title}: {resume} was made under other settings or data; starting from the beginning", flush=True)
        return 0, []
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    wanted = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    wrong = wanted - set(state["module"]) | {k for k, v in state["module"].items() if own.get(k) != v.shape}
    if wrong:
        raise TrainingError(f"{resume}: does not fit the model ({sorted(wrong)[:3]}); remove it to start anew")
    module.load_state_dict(state["module"], strict=False)
    optimiser.load_state_dict(state["optimiser"])
    if adversary is not None:
        adversary.load_state_dict(state["adversary"])
        rival.load_state_dict(state["rival"])
    print(f"{title}: resuming after step {state['step']}", flush=True)
    return state["step"], state["rows"]


class _StopSignal:
    """Remembers SIGTERM instead of dying of it, so that the step in progress can be finished."""

    def __init__(self) -> None:
        self.asked = False
        try:
            self.before = signal.signal(signal.SIGTERM, self._ask)
        except ValueError:  # not the main thread: whoever runs us handles signals
            self.before = None

    def _ask(self, *_: object) -> None:
        self.asked = True

    def restore(self) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)


# ---------------------------------------------------------------- progress


class _Meter:
    """Means of the losses over LINE_EVERY steps: rows of the curve, a bar on a terminal, lines elsewhere."""

    def __init__(self, title: str, spec: Stage, step: int, rows: list, main: bool) -> None:
        self.title, self.spec, self.rows, self.main = title, spec, list(rows), main
        self.sums: dict[str, list[float]] = {}
        self.pictures, self.start, self.begin = 0, time.monotonic(), time.monotonic()
        self.first = step
        self.bar = None
        if main and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self.bar.start()
            self.task = self.bar.add_task(title, total=spec.steps, completed=step, note="")

    def add(self, step: int, found: dict[str, Tensor], pictures: int) -> None:
        for key, value in found.items():
            self.sums.setdefault(key, []).append(float(value.detach()))
        self.pictures += pictures
        if self.bar:
            self.bar.update(self.task, completed=step)
        if step % LINE_EVERY and step != self.spec.steps:
            return
        seconds = max(time.monotonic() - self.start, 1e-9)
        means = {key: sum(values) / len(values) for key, values in self.sums.items()}
        row = {"step": step, "lr": learning_rate(self.spec, step - 1), **means}
        row |= {"pictures_per_s": round(self.pictures / seconds, 2), "gib": round(_gib(), 3)}
        self.rows.append(row)
        left = (time.monotonic() - self.begin) / (step - self.first) * (self.spec.steps - step)
        note = (
            f"loss {means['loss']:.4f} lr {row['lr']:.1e} {row['pictures_per_s']:.0f} pictures/s {row['gib']:.1f} GiB"
        )
        if self.bar:
            self.bar.update(self.task, note=note)
        elif self.main:
            print(f"{self.title}: step {step}/{self.spec.steps} {note} ETA {left:.0f} s", flush=True)
        self.sums, self.pictures, self.start = {}, 0, time.monotonic()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()


def _gib() -> float:
    """Peak memory: of the GPU where there is one, else resident memory of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _csv(rows: list[dict]) -> str:
    fields = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()
