"""Samplers as plain functions (section 4.1: DDIM, 50 steps)."""

from collections.abc import Callable

import torch
from torch import Tensor

from mperceiver.config import ConfigError
from mperceiver.config.samplers import Sampler

# (z_t (B, 4, h, w), t (B,)) -> the U-Net's output, epsilon or v
Predict = Callable[[Tensor, Tensor], Tensor]


def timesteps(spec: Sampler, total: int) -> list[int]:
    """The steps t gone through, descending. ``strength`` < 1 starts at that share of the schedule.

    ``leading`` with an offset of 1 is Stable Diffusion's default (981 … 1 for 50 of 1000), ``trailing`` begins at the last
    step (999 … 19). Raises ConfigError for more steps than that part of the schedule has.
    """
    first = round(total * spec.strength)
    if spec.spacing == "trailing":
        found = [round(first - i * first / spec.steps) - 1 for i in range(spec.steps)]
    else:
        found = [i * (first // spec.steps) + 1 for i in reversed(range(spec.steps))]
    if len(set(found)) < spec.steps or found[0] >= total:
        raise ConfigError(
            f"a sampler of {spec.steps} steps does not fit the {first} steps of the schedule it goes through"
        )
    return found


def split(output: Tensor, z: Tensor, alpha: Tensor, prediction: str) -> tuple[Tensor, Tensor]:
    """(x0, epsilon) of a U-Net's output at alpha-bar ``alpha``."""
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    if prediction == "epsilon":
        return (z - noise * output) / signal, output
    if prediction == "v_prediction":
        return signal * z - noise * output, signal * output + noise * z
    raise ValueError(f"prediction {prediction!r}: expected epsilon or v_prediction")


def diffuse(z: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """z_t = sqrt(alpha-bar) z_0 + sqrt(1 - alpha-bar) epsilon; ``alpha`` broadcasts, (B, 1, 1, 1) or a scalar."""
    return alpha.sqrt() * z + (1 - alpha).sqrt() * noise


def velocity(z: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """The v target, sqrt(alpha-bar) epsilon - sqrt(1 - alpha-bar) z_0 (Salimans & Ho, arXiv:2202.00512)."""
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * z


@torch.no_grad()
def ddim(
    predict: Predict,
    noise: Tensor,
    alphas: Tensor,
    prediction: str,
    spec: Sampler,
    lq_latent: Tensor | None = None,
    fresh: Callable[[], Tensor] | None = None,
) -> Tensor:
    """DDIM (Song et al., arXiv:2010.02502, Eq. 12): start noise (B, 4, h, w) -> latent (B, 4, h, w).

    Args:
        alphas: cumulative alpha-bar (T,).
        lq_latent: the degraded picture's latent, needed for ``init: lq_noised``.
        fresh: new noise of the latent's shape at each call, needed for ``eta`` > 0.

    ``last: x0`` returns the x0 predicted at the last step; ``release`` takes one more step to alpha-bar_0, as the authors'
    code does, which leaves 2.9 % of the predicted noise in the latent.
    """
    steps = timesteps(spec, len(alphas))
    z = noise if spec.init == "noise" else diffuse(lq_latent, noise, alphas[steps[0]])
    for i, t in enumerate(steps):
        output = predict(z, torch.full((len(z),), t, device=z.device)).float()  # whatever precision it was made in
        x0, epsilon = split(output, z, alphas[t], prediction)
        if i + 1 == len(steps) and spec.last == "x0":
            return x0
        before = alphas[steps[i + 1]] if i + 1 < len(steps) else alphas[0]
        sigma = spec.eta * ((1 - before) / (1 - alphas[t]) * (1 - alphas[t] / before)).sqrt()
        z = before.sqrt() * x0 + (1 - before - sigma**2).clamp(min=0).sqrt() * epsilon
        if spec.eta > 0:
            z = z + sigma * fresh().to(z)
    return z
