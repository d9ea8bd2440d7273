"""The one training loop, for every stage, every baseline and the foundation's pre-training, in one process or in several.

Random numbers have no state: those of a batch depend on (seed, step, number of the batch) alone. So a resumed training takes
exactly the steps of one that was never stopped, and a step sees the same pictures however many processes share it. On SIGTERM
the loop finishes its step and writes the resume state; then SLURM requeues the job, or the process exits with code 143.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from mperceiver import paths
from mperceiver.config.runs import Phase, Stage
from mperceiver.training import nonfinite, preemption, processes
from mperceiver.training.budget import Budget
from mperceiver.training.discarding import unfinished_curve
from mperceiver.training.guard import Guard, NonFinite
from mperceiver.training.learner import SKIPS, Learner
from mperceiver.training.meter import Meter, check_trackers, start_trackers
from mperceiver.training.prefetch import DrawBatch, DrawnBatch, Turn, drawn_batches
from mperceiver.training.resume import ResumeStates, Training
from mperceiver.training.schedule import TrainingError, learning_rate, own_batches, phase_at

# (module, batch, torch generator, phase, step) -> scalar losses: "loss" is minimised, "loss_*" are shown in the curve, and
# "adversary", where there is one, is the adversary's own loss.
Objective = Callable[[nn.Module, Any, torch.Generator, Phase, int], dict[str, Tensor]]


def fit(
    training: Training,
    module: nn.Module,
    objective: Objective,
    *,
    adversary: nn.Module | None = None,
    draw: DrawBatch | None = None,
    any_module: bool = False,
) -> str:
    """Train those parameters of ``module`` that require a gradient for ``spec.steps`` steps, or until ``spec.cpu_seconds`` are
    gone; return the curve as CSV text.

    Args:
        training: its settings ``spec``, and the place of its resume states. The last states stay there; the caller removes
            them once the weights are written.
        objective: computes the losses of a batch. It must call the module that it is given, and not ``module`` itself: the
            given module averages the gradients of several processes.
        adversary: a discriminator with an optimiser of its own, trained on the loss "adversary".
        draw: draws a batch for ``objective`` before its step, for a GPU in a thread. Without ``draw``, ``objective`` gets the
            numpy generator in place of a batch, and draws the batch itself.
        any_module: the module may leave parameters without a gradient in some steps or in all, and may change parameters that
            require no gradient. It costs a walk through the graph in each step of several processes, and larger resume states.

    Raises:
        TrainingError: a loss or a gradient is NaN or infinite. The step is not taken, and the folder nonfinite-<step>/ beside
            the resume states has what it was computed from.
        SystemExit: with code 143 after SIGTERM; the state is written.
    """
    title, spec, seed, resume, _ = training
    world = processes.world()
    own = own_batches(spec, world.process_index, world.num_processes)
    budget = Budget(spec, world.num_processes)
    check_trackers(spec)
    torch.set_flush_denormal(True)
    accelerator = Accelerator(
        mixed_precision="no",
        log_with=list(spec.trackers) or None,
        project_dir=paths.TRACKERS,
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True, find_unused_parameters=any_module)
        ],
    )
    learner = Learner(module, adversary, spec, accelerator, whole_state=any_module)
    states = ResumeStates(training)
    meter = Meter(title, spec, accelerator, unfinished_curve(resume))
    if spec.trackers:
        start_trackers(title, accelerator)
    step = _resume(states, learner, meter, budget)
    device = accelerator.device
    guard = Guard(accelerator, 1 if device.type == "cuda" and learner.scaler is None else 0)
    stop_signal = preemption.StopSignal()
    saved = time.monotonic()
    try:
        with drawn_batches(draw, turns(spec, seed, step, own, budget), device) as batches:
            last = budget.over(step)
            while not last:
                records: list[nonfinite.PendingRecord] = []
                lr = learning_rate(spec, step, budget.timed_share(step))
                for drawn in itertools.islice(batches, len(own)):
                    losses = _batch_losses(learner, objective, drawn, len(own), last=len(records) == len(own) - 1)
                    meter.add(losses)
                    records.append(nonfinite.pending_record(drawn, losses))
                norms = learner.finish_gradients()
                numbers = [value for *_, losses in records for value in losses.values()]
                # With a loss scale, a gradient that overflows skips its step and is no error.
                if learner.scaler is None:
                    numbers += norms
                save_due = spec.save_every_minutes and time.monotonic() - saved > 60 * spec.save_every_minutes
                bad = guard.check(step, numbers, stop_signal.received, bool(save_due), (records, norms))
                learner.take_step(lr, bad)
                if learner.skipped > SKIPS:
                    raise NonFinite(step, (records, norms))
                step += 1
                last = budget.over(step)
                meter.step(step, drawn.phase.batch * spec.accumulate, lr, budget, last)
                if guard.stop or guard.save or step % spec.save_every_steps == 0 or last:
                    guard.read_flags()
                    _save(states, learner, meter, budget, step)
                    guard.save, saved = False, time.monotonic()
                if guard.stop:
                    processes.say(
                        f"{title}: stopped by a signal after step {step} of {spec.steps}; the same command continues from there"
                    )
                    preemption.end_processes()
    except NonFinite as error:
        raise TrainingError(_record(title, error, learner, resume)) from None
    finally:
        meter.close()
        stop_signal.restore_handler()
    learner.use_average()
    processes.wait_for_all()
    return meter.text()


def _batch_losses(
    learner: Learner, objective: Objective, drawn: DrawnBatch, batches: int, last: bool
) -> dict[str, Tensor]:
    """Compute the losses of one of a process's ``batches`` batches in a step, and add their gradients."""
    generator = torch.Generator(learner.accelerator.device).manual_seed(drawn.seed)
    torch.manual_seed(drawn.seed)  # of layers that draw for themselves, such as dropout
    with learner.synchronised(last):
        with learner.autocast():
            losses = objective(learner.wrapped, drawn.batch, generator, drawn.phase, drawn.step)
        learner.backward(losses, batches)
    return losses


def turns(spec: Stage, seed: int, first_step: int, own: Sequence[int], budget: Budget | None = None) -> Iterator[Turn]:
    """Every batch of a process from ``first_step`` on; ``own``: the numbers of its batches in a step."""
    for step in range(first_step, spec.steps):
        for number in own:
            phase = phase_at(spec, step, budget.timed_share(step) if budget else None)
            yield Turn(step, number, [seed, step, number], phase)


def _resume(states: ResumeStates, learner: Learner, meter: Meter, budget: Budget) -> int:
    """Load the newest state; return the number of steps that were taken. All processes read the same files."""

    def take_up(state: dict) -> None:
        learner.load(state)
        meter.load(state["meter"])
        budget.resume(state["cpu_seconds"])

    step = states.newest(take_up)
    if step:
        processes.say(f"{states.title}: resuming after step {step}")
    steps = processes.gather(step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"{states.title}: the processes read resume states of different steps ({', '.join(map(str, steps))}): "
            f"{states.path.parent} must be on a file system that all nodes share"
        )
    meter.begin(step, budget)
    return step


def _save(states: ResumeStates, learner: Learner, meter: Meter, budget: Budget, step: int) -> None:
    meter_state = meter.state()  # every process takes part in its sums
    if processes.is_main():
        spent = 0.0 if budget.spec.cpu_seconds is None else budget.cpu_seconds()  # equal states of equal trainings
        states.save({"step": step, "meter": meter_state, "cpu_seconds": spent, **learner.state()})
    meter.write()


def _record(title: str, error: NonFinite, learner: Learner, resume: Path) -> str:
    """Write the record of a bad step; return the error's message."""
    pending, norms = error.evidence
    batches = [batch for own in processes.gather(nonfinite.batch_records(pending)) for batch in own]
    state = learner.state() | {"step": error.step}
    record = nonfinite.StepRecord(title, error.step, [norm.item() for norm in norms], batches, state)
    folder = resume.parent / f"nonfinite-{error.step}"
    if processes.is_main():
        nonfinite.write_record(folder, record)
    processes.wait_for_all()  # the launcher ends the other processes as soon as one has ended
    return record.message(folder)
