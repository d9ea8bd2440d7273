"""How latents are sampled: a key of runs (for training latents) and of methods."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Positive, Share


class Sampler(Model):
    """DDIM sampling with the foundation's noise schedule (section 4.1 of the paper: 50 steps)."""

    steps: Positive = Field(50, description="number of DDIM steps")
    eta: float = Field(0.0, ge=0, le=1, description="noise that is added at each step: 0 is DDIM, 1 is DDPM")
    spacing: Literal["leading", "trailing"] = Field(
        "leading",
        description="how the steps are spaced over the schedule's time steps, as in diffusers; trailing starts at the last "
        "time step",
    )
    offset: int = Field(
        1,
        ge=0,
        description="for spacing leading: added to every time step, as in diffusers; 1: 981 to 1 for 50 of 1000 steps; "
        "0: 980 to 0, the grid of the authors' release",
    )
    init: Literal["noise", "lq_noised", "lq_alone", "zero"] = Field(
        "noise",
        description="where sampling starts; noise: from pure noise; lq_noised: from the degraded picture's latent with the noise "
        "of the first time step added. Two controls take no step of diffusion at all; lq_alone: the degraded picture's latent "
        "itself; zero: zeros. They show what the diffusion brings to the DRM",
    )
    strength: Share = Field(
        1.0, description="share of the schedule that is sampled; below 1 only with `init: lq_noised`"
    )
    last: Literal["x0", "release"] = Field(
        "x0", description="what sampling returns: the predicted x0, or as in the authors' release the latent at alpha_0"
    )
    seed: int = Field(
        42, description="a picture's start noise is seeded by a hash of the dataset, the picture's id and this number"
    )

    @property
    def predictions(self) -> int:
        """How many times the network predicts."""
        return self.steps if self.init in ("noise", "lq_noised") else 0

    @model_validator(mode="after")
    def _check_schedule(self) -> "Sampler":
        if self.strength < 1 and self.init != "lq_noised":
            raise ValueError("`strength` below 1 starts from the degraded picture: it needs `init: lq_noised`")
        if self.spacing == "trailing" and self.offset != 1:
            raise ValueError("`offset` belongs to `spacing: leading`; trailing always starts at the last time step")
        return self
