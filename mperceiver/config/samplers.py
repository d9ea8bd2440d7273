"""How latents are sampled: a key of runs (training latents) and of methods."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Positive, Share


class Sampler(Model):
    """DDIM on the foundation's schedule (section 4.1: 50 steps)."""

    steps: Positive = Field(50, description="steps of DDIM")
    eta: float = Field(0.0, ge=0, le=1, description="noise put back at each step: 0 is DDIM, 1 is DDPM")
    spacing: Literal["leading", "trailing"] = Field(
        "leading", description="which of the schedule's steps are gone through; trailing begins at the very last one"
    )
    init: Literal["noise", "lq_noised"] = Field(
        "noise", description="pure noise, or the LQ latent noised to the first t"
    )
    strength: Share = Field(1.0, description="share of the schedule gone through; below 1 only with init lq_noised")
    last: Literal["x0", "release"] = Field(
        "x0", description="return the predicted x0, or stop at alpha_0 as the release"
    )
    seed: int = Field(
        42, description="a picture's start noise comes from a hash of the dataset, the picture's id and this"
    )

    @model_validator(mode="after")
    def _start(self):
        if self.strength < 1 and self.init == "noise":
            raise ValueError("`strength` below 1 starts from the picture: it needs `init: lq_noised`")
        return self
