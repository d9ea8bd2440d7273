"""Samplers as plain functions (section 4.1: DDIM, 50 steps)."""

from collections.abc import Callable

import torch
from torch import Tensor

from mperceiver.config import ConfigError
from mperceiver.config.samplers import Sampler

# (z_t (B, 4, h, w), t (B,)) -> the U-Net's output, epsilon or v, (B, 4, h, w)
Predict = Callable[[Tensor, Tensor], Tensor]


def timesteps(spec: Sampler, total: int) -> list[int]:
    """The timesteps t that a sampler visits, descending, out of a schedule of ``total``.

    ``strength`` < 1 starts at that share of the schedule. Spacing ``leading`` with an offset of 1 is Stable Diffusion's default
    (981 … 1 for 50 of 1000), with 0 the grid of the authors' release (980 … 0); ``trailing`` begins at the last timestep (999 … 19).

    Raises ConfigError if that share of the schedule has fewer timesteps than the sampler has steps.
    """
    first = round(total * spec.strength)
    if spec.spacing == "trailing":
        steps = [round(first - i * first / spec.steps) - 1 for i in range(spec.steps)]
    else:
        steps = [i * (first // spec.steps) + spec.offset for i in reversed(range(spec.steps))]
    if len(set(steps)) < spec.steps or steps[0] >= total:
        raise ConfigError(f"a sampler of {spec.steps} steps does not fit the {first} timesteps from which it starts")
    return steps


def split(output: Tensor, z: Tensor, alpha: Tensor, prediction: str) -> tuple[Tensor, Tensor]:
    """(x0, epsilon), (B, 4, h, w) each, from the U-Net's output at z_t, where alpha-bar is ``alpha``.

    ``prediction``: what the output is, epsilon or v_prediction.
    """
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

    ``last: x0`` returns the x0 that is predicted at the last step. ``last: release`` takes one more step, to alpha-bar_0, as
    the authors' code does, which leaves 2.9 % of the predicted noise in the latent.

    Args:
        predict: the network.
        alphas: cumulative alpha-bar (T,).
        prediction: what the network returns, epsilon or v_prediction.
        spec: the sampler's settings.
        lq_latent: the degraded picture's latent (B, 4, h, w), needed for ``init: lq_noised`` and ``lq_alone``.
        fresh: returns new noise (B, 4, h, w) at each call, needed for ``eta`` > 0.
    """
    if spec.init == "zero":
        return torch.zeros_like(noise)
    if spec.init == "lq_alone":
        assert lq_latent is not None
        return lq_latent.to(noise)
    steps = timesteps(spec, len(alphas))
    z = noise
    if spec.init == "lq_noised":
        assert lq_latent is not None
        z = diffuse(lq_latent, noise, alphas[steps[0]])
    for i, t in enumerate(steps):
        # In single precision, whatever precision the network computes in.
        output = predict(z, torch.full((len(z),), t, device=z.device)).float()
        x0, epsilon = split(output, z, alphas[t], prediction)
        if i + 1 == len(steps) and spec.last == "x0":
            return x0
        before = alphas[steps[i + 1]] if i + 1 < len(steps) else alphas[0]
        sigma = spec.eta * ((1 - before) / (1 - alphas[t]) * (1 - alphas[t] / before)).sqrt()
        z = before.sqrt() * x0 + (1 - before - sigma**2).clamp(min=0).sqrt() * epsilon
        if spec.eta > 0:
            assert fresh is not None
            z = z + sigma * fresh().to(z)
    return z
