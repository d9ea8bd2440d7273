"""IR-SDE (Luo et al., ICML 2023, arXiv:2301.11699): a diffusion between a clean picture and its degraded one."""

import math

import torch
from torch import Tensor


class MeanRevertingDiffusion:
    """A diffusion from the clean picture to the degraded one plus noise, and back.

    Args:
        steps: of the diffusion; time runs from 1 to this.
        max_sigma: standard deviation of the noise at the end, for pictures in [0, 1].
        eps: how much of the clean picture is left at the end.
    """

    def __init__(self, steps: int = 100, max_sigma: float = 50 / 255, eps: float = 0.005) -> None:
        self.steps, self.max_sigma = steps, max_sigma
        # cosine schedule of the rate of reversion, with two steps cut off
        at = torch.arange(steps + 3, dtype=torch.float64) / (steps + 2)
        kept = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        self.theta = 1 - (kept / kept[0])[1:-1]
        cumulated = self.theta.cumsum(0) - self.theta[0]
        self.dt = -math.log(eps) / cumulated[-1].item()
        self.decay = torch.exp(-cumulated * self.dt)  # share of the clean picture left at each time
        self.sigma = max_sigma * (1 - self.decay**2).sqrt()

    def noised(self, gt: Tensor, lq: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """The state at ``time`` (B,) of clean pictures (B, 3, H, W): Eq. 6 of IR-SDE."""
        decay, sigma = (table[time].to(gt)[:, None, None, None] for table in (self.decay, self.sigma))
        return lq + (gt - lq) * decay + sigma * noise

    def clean(self, state: Tensor, lq: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """The clean picture from which ``noised`` makes ``state``, with this noise: the inverse of ``noised``."""
        decay, sigma = (table[time].to(state)[:, None, None, None] for table in (self.decay, self.sigma))
        return lq + (state - lq - sigma * noise) / decay

    def before(self, state: Tensor, gt: Tensor, lq: Tensor, time: Tensor) -> Tensor:
        """Mean of the state one step before, given the clean picture: Eq. 14 of IR-SDE."""
        step = torch.exp(-self.theta * self.dt)
        now, then = self.decay[time], self.decay[time - 1]
        of_state = step[time] * (1 - then**2) / (1 - now**2)
        of_clean = then * (1 - step[time] ** 2) / (1 - now**2)
        of_state, of_clean = (share.to(state)[:, None, None, None] for share in (of_state, of_clean))
        return lq + of_state * (state - lq) + of_clean * (gt - lq)

    def expected(self, state: Tensor, lq: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Mean of the state one step before by the reverse equation, given the noise in ``state``: Eq. 8 of IR-SDE."""
        theta, sigma = (table[time].to(state)[:, None, None, None] for table in (self.theta, self.sigma))
        score = -noise / sigma
        return state - (theta * (lq - state) - 2 * self.max_sigma**2 * theta * score) * self.dt

    def spread(self, time: Tensor) -> Tensor:
        """Standard deviation of the state one step before, (B,)."""
        step = torch.exp(-2 * self.theta[time] * self.dt)
        now, then = self.decay[time] ** 2, self.decay[time - 1] ** 2
        variance = (1 - step) * (1 - then) / (1 - now)
        return variance.clamp_min(1e-20 * self.dt).sqrt() * self.max_sigma
