"""Small networks and objectives for the tests of the loop; run as a program, one process of a training.

python tests/support/loops.py WHAT FOLDER
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mperceiver.config.runs import Losses, Stage
from mperceiver.training.loop import fit
from mperceiver.training.losses import PatchDiscriminator, PictureLosses
from mperceiver.training.resume import Training
from mperceiver.training.schedule import TrainingError


def stage(**changes) -> Stage:
    base = {"steps": 12, "phases": [{"batch": 8, "crop_px": 8}], "lr": 1e-2, "lr_end": 1e-4, "warmup_steps": 2}
    return Stage.model_validate(base | {"save_every_steps": 5} | changes)


def toy() -> nn.Module:
    """A network with a buffer (the norm's running mean) and a frozen layer."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 2))
    module[3].requires_grad_(False)
    return module


def regress(module, rng, generator, phase, step) -> dict[str, torch.Tensor]:
    """A noisy regression; it draws from both generators."""
    return regress_drawn(module, draw(rng, phase), generator, phase, step)


def draw(rng, phase) -> dict:
    return {
        "x": torch.from_numpy(rng.standard_normal((phase.batch, 4), dtype=np.float32)),
        "ids": [f"picture-{n}" for n in rng.integers(1000, size=phase.batch)],
    }


def regress_drawn(module, batch, generator, phase, step) -> dict[str, torch.Tensor]:
    """The same on a batch that was drawn beforehand."""
    x = batch["x"]
    y = x[:, :2] * x[:, 2:] + 0.1 * torch.randn(len(x), 2, generator=generator)
    loss = F.mse_loss(module(x), y)
    return {"loss": loss, "loss_twice": 2 * loss}


def train_toy(resume: Path, spec: Stage | None = None, objective=regress, inputs=None, **options) -> nn.Module:
    module = toy()
    fit(Training("toy", spec or stage(), 1, resume, inputs), module, objective, **options)
    return module


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are the same to the last bit, buffers too."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def at(step: int, act, objective=regress):
    """``objective``, with ``act()`` during one step; ``steps``: all that were gone through."""

    def losses(module, rng, generator, phase, now):
        losses.steps.append(now)
        if now == step:
            act()
        return objective(module, rng, generator, phase, now)

    losses.steps = []
    return losses


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Duel:
    """A generator of pictures against a discriminator, as stage 3 has them; ``changes`` of its stage."""

    def __init__(self, **changes) -> None:
        torch.manual_seed(3)
        self.spec = stage(**({"steps": 8, "save_every_steps": 3, "phases": [{"batch": 2, "crop_px": 32}]} | changes))
        self.restorer = nn.Conv2d(3, 3, 3, padding=1)
        weights = Losses(perceptual=0, adversarial=0.1, adversarial_from_step=2)
        self.losses = PictureLosses(weights, "cpu")
        self.losses.discriminator = PatchDiscriminator(8)

    @staticmethod
    def draw(rng, phase) -> dict:
        shape = (phase.batch, 3, phase.crop_px, phase.crop_px)
        return {"gt": torch.from_numpy(rng.random(shape, np.float32)), "ids": [str(rng.integers(99))] * phase.batch}

    def __call__(self, module, batch, generator, phase, step):
        noise = 0.1 * torch.rand(batch["gt"].shape, generator=generator)
        return self.losses(module(batch["gt"] + noise), batch["gt"], step)

    def fit(self, resume: Path, act=None, k: int = -1) -> "Duel":
        rival = self.losses.discriminator
        losses = at(k, act, self)
        self.curve = fit(Training("duel", self.spec, 1, resume), self.restorer, losses, adversary=rival, draw=self.draw)
        return self

    def weights(self) -> dict[str, torch.Tensor]:
        own = {f"restorer.{k}": v for k, v in self.restorer.state_dict().items()}
        return own | {f"rival.{k}": v for k, v in self.losses.discriminator.state_dict().items()}


EVERYTHING = {"accumulate": 2, "ema_decay": 0.6, "steps": 8, "save_every_steps": 2}


def smooth() -> nn.Module:
    """A network without batch statistics, which do depend on how a batch is split."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))


def networks(world: Path) -> None:
    """Every run `two-<name>` in a tiny world, one after the other in the same processes."""
    from mperceiver import commits
    from mperceiver.training import processes
    from mperceiver.training.stages import train

    os.chdir(world)
    commits.current = lambda: ("0" * 40, False)
    for file in sorted(Path("config/runs").glob("two-*.yaml")):
        train(file.stem, "network")
    processes.leave()


def verbs(world: Path) -> None:
    """Every stage of the runs `both` and `net` in a tiny world, by the verbs."""
    from mperceiver import commits
    from mperceiver.cli import app

    os.chdir(world)
    commits.current = lambda: ("0" * 40, False)
    for verb, run in STAGES.items():
        app([f"train_{verb}", run], standalone_mode=False)


STAGES = {"predictor": "both", "branches": "both", "drm": "both", "network": "net"}


def main(what: str, folder: Path) -> None:
    """One process of a training, which leaves its weights in ``folder``."""
    if what == "verbs":
        return verbs(folder)
    if what == "networks":
        return networks(folder)
    from mperceiver.training import processes

    rank = processes.world().process_index
    if what == "killed":
        Duel(**EVERYTHING).fit(folder / "s.pt", kill, 5)
    if what == "shared":  # the adversary's steps too; the batches of a step are shared
        duel = Duel(accumulate=2).fit(folder / "s.pt")
        torch.save(duel.weights(), folder / f"{rank}.pt")
        (folder / f"{rank}.csv").write_text(duel.curve, encoding="utf-8")
        module = smooth()
        fit(Training("smooth", stage(accumulate=2), 1, folder / "smooth.pt"), module, regress_drawn, draw=draw)
        torch.save(module.state_dict(), folder / f"smooth-{rank}.pt")
    if what == "stopped":  # only the second process gets the signal
        Duel(accumulate=2).fit(folder / "s.pt", terminate, 3 if rank else -1)
    if what == "held":
        train_toy(folder / "s.pt", objective=at(3, terminate))
    if what == "nan":  # only in the second process; before it, losses that do not call the wrapper they are given
        network = smooth()
        try:
            spec = stage(accumulate=2)
            fit(Training("around", spec, 1, folder / "around.pt"), network, lambda _, *rest: regress(network, *rest))
        except TrainingError as error:
            print(f"rank {rank}: {error}", flush=True)

        def losses(module, batch, generator, phase, step):
            found = regress_drawn(module, batch, generator, phase, step)
            return found | {"loss_twice": found["loss_twice"] * (float("nan") if rank and step == 3 else 1)}

        fit(Training("smooth", stage(accumulate=4), 1, folder / "s.pt"), smooth(), losses, draw=draw)
    processes.leave()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
