"""One training loop for every stage, every baseline and the foundation's pre-training, on one process or on many.

Randomness has no state: the numbers of a batch come from (seed, step, part), so a resumed run takes exactly the steps of one
that was never stopped, and a step is of the same pictures however many processes share it. On SIGTERM the step is finished,
the resume state written, and the job goes back into SLURM's queue or the process exits with 143.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from mperceiver.config.runs import Phase, Stage
from mperceiver.training import nonfinite, preemption, processes
from mperceiver.training.ahead import Draw, Drawn, drawing
from mperceiver.training.guard import Guard, NotFinite
from mperceiver.training.learner import SKIPS, Learner
from mperceiver.training.meter import TRACKED, Meter, check_trackers, start_trackers
from mperceiver.training.resume import States, curve_path
from mperceiver.training.schedule import TrainingError, parts_of, phase_at

# (module, batch, torch generator, phase, step) -> {"loss": scalar, "loss_*": scalar, ["adversary": scalar]}
Losses = Callable[[nn.Module, Any, torch.Generator, Phase, int], dict[str, Tensor]]


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
    draw: Draw | None = None,
) -> str:
    """Train ``module``'s parameters that require gradients for ``spec.steps`` steps; return the curve as CSV text.

    Args:
        losses: the stage's objective. It calls the module it is given, not ``module`` itself: between the two stands what
            averages the gradients of several processes.
        resume: names the resume states (resume.States), the last ones too: the caller discards them when the weights are
            written. A state made under another ``spec``, ``seed`` or ``inputs`` is not taken up.
        adversary: a discriminator with its own optimiser, trained on ``losses``' "adversary".
        draw: makes the batch that ``losses`` gets, in a thread and ahead of its step; without it ``losses`` gets the numpy
            generator and draws for itself.

    Raises:
        TrainingError: the loss or a gradient is not finite: the step is not taken, and what it was computed from is kept beside
            ``resume`` in nonfinite-<step>/.
        SystemExit: with code 143 after SIGTERM, the state written.
    """
    world = processes.world()
    mine = parts_of(spec, world.process_index, world.num_processes)
    check_trackers(spec)
    torch.set_flush_denormal(True)
    accelerator = Accelerator(
        mixed_precision="no",
        log_with=list(spec.trackers) or None,
        project_dir=TRACKED,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    learner = Learner(module, adversary, spec, accelerator)
    states = States(resume, title, spec, seed, inputs)
    meter = Meter(title, spec, accelerator, curve_path(resume))
    if spec.trackers:
        start_trackers(title, accelerator)
    step = _take_up(states, learner, meter, title)
    device = accelerator.device
    guard = Guard(accelerator, 1 if device.type == "cuda" and learner.scaler is None else 0)
    stop = preemption.StopSignal()
    saved = time.monotonic()
    turns = _turns(spec, seed, step, mine)
    try:
        with drawing(draw, turns, device) as batches:
            while step < spec.steps:
                seen = []
                for one in itertools.islice(batches, len(mine)):
                    found = _batch(learner, losses, one, len(mine), last=len(seen) == len(mine) - 1)
                    meter.add(found)
                    seen.append(nonfinite.part(one.key, one.batch, found))
                norms = learner.gradients()
                numbers = [value for *_, found in seen for value in found.values()]
                if learner.scaler is None:  # a gradient beyond half precision's range is skipped, and is no error
                    numbers += norms
                late = spec.save_every_minutes and time.monotonic() - saved > 60 * spec.save_every_minutes
                bad = guard.look(step, numbers, stop.asked, bool(late), (seen, norms))
                learner.take(step, bad)
                if learner.skipped > SKIPS:
                    raise NotFinite(step, (seen, norms))
                step += 1
                meter.step(step, one.phase.batch * spec.accumulate)
                if guard.stop or guard.save or step % spec.save_every_steps == 0 or step == spec.steps:
                    guard.read()
                    _save(states, learner, meter, step)
                    guard.save, saved = False, time.monotonic()
                if guard.stop:
                    processes.say(
                        f"{title}: stopped by a signal after step {step} of {spec.steps}; the same command goes on from there"
                    )
                    preemption.end()
    except NotFinite as error:
        raise TrainingError(_keep(title, error, learner, resume)) from None
    finally:
        meter.close()
        stop.restore()
    learner.finish()
    processes.together()
    return meter.text()


def _batch(learner: Learner, losses: Losses, one: Drawn, share: int, last: bool) -> dict[str, Tensor]:
    """The losses of one batch, their gradients added to those of the ``share`` batches of a step."""
    generator = torch.Generator(learner.accelerator.device).manual_seed(one.seed)
    with learner.sharing(last):
        with learner.precision():
            found = losses(learner.wrapped, one.batch, generator, one.phase, one.step)
        learner.backward(found, share)
    return found


def _turns(spec: Stage, seed: int, step: int, mine: range) -> Iterator[tuple[int, int, list[int], Phase]]:
    """(step, part, key, phase) of every batch of this process from ``step`` on."""
    for now in range(step, spec.steps):
        for part in mine:
            yield now, part, [seed, now, part], phase_at(spec, now)


def _take_up(states: States, learner: Learner, meter: Meter, title: str) -> int:
    """Go on from the newest state; return how many steps were taken. All processes read the same files."""
    state = states.newest()
    step = state["step"] if state else 0
    if state:
        try:
            learner.load(state)
        except TrainingError as error:
            raise TrainingError(f"{states.good[0]}: {error}; remove it to start anew") from None
        processes.say(f"{title}: resuming after step {step}")
    steps = processes.gathered(step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"{title}: the processes found resume states of different steps ({', '.join(map(str, steps))}): {states.path.parent} "
            "must be on a file system that all nodes share"
        )
    meter.begin(step, state and state["meter"])
    return step


def _save(states: States, learner: Learner, meter: Meter, step: int) -> None:
    so_far = meter.state()  # of all processes
    if processes.is_main():
        states.save({"step": step, "meter": so_far, **learner.state()})
    meter.write()


def _keep(title: str, error: NotFinite, learner: Learner, resume: Path) -> str:
    """Keep what a bad step was computed from; return what to say."""
    seen, norms = error.about
    parts = [part for parts in processes.gathered(nonfinite.on_host(seen)) for part in parts]
    found = nonfinite.NonFinite(
        title, error.step, [n.item() for n in norms], parts, learner.state() | {"step": error.step}
    )
    folder = resume.parent / f"nonfinite-{error.step}"
    if processes.is_main():
        nonfinite.write(folder, found)
    processes.together()  # a launcher ends the others when the first one ends
    return found.message(folder)
