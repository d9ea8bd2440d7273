"""DDIM: an oracle's answer, diffusers' scheduler step by step, both targets, seeds."""

import pytest
import torch

from mperceiver.config import ConfigError
from mperceiver.config.samplers import Sampler
from mperceiver.models.sampling import ddim, diffuse, split, timesteps, velocity


def scheduler(**changes):
    from diffusers import DDIMScheduler

    defaults = {"steps_offset": 1, "timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False}
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return DDIMScheduler(**betas, **(defaults | changes))


@pytest.fixture(scope="module")
def alphas() -> torch.Tensor:
    return scheduler().alphas_cumprod


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the schedule


def test_schedule_is_that_of_the_notes(alphas, foundation):
    assert [round(alphas[t].item(), 6) for t in (0, 980, 999)] == [0.99915, 0.005844, 0.00466]
    assert torch.equal(foundation.alphas(), alphas)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 1000},  # leading's offset of 1 would ask for t = 1000
        {"steps": 50, "strength": 0.02},  # fifty times the same t
        {"steps": 50, "strength": 0.02, "spacing": "trailing"},
        {"steps": 1001, "spacing": "trailing"},
    ],
)
def test_steps_that_do_not_fit_the_schedule_are_refused(wrong):
    with pytest.raises(ConfigError, match=rf"{wrong['steps']} steps does not fit the"):
        timesteps(Sampler(init="lq_noised", **wrong), 1000)


def test_fifty_steps_of_stable_diffusion():
    assert timesteps(Sampler(), 1000) == list(range(981, 0, -20))
    assert timesteps(Sampler(spacing="trailing"), 1000) == list(range(999, 0, -20))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (50, list(range(999, 0, -20))),
        (20, list(range(999, 0, -50))),
        (10, list(range(999, 0, -100))),
        (4, [999, 749, 499, 249]),
        (1, [999]),
    ],
)
def test_presets_begin_at_pure_noise(steps, expected):
    assert timesteps(Sampler(steps=steps, spacing="trailing"), 1000) == expected


def test_one_step_from_noise_is_the_schedules_last(alphas):
    """With `trailing`; the one `leading` step, t = 1, takes what it is given for a latent that is nearly clean."""
    assert timesteps(Sampler(steps=1), 1000) == [1]
    z0, noise = random(1, 4, 4, 4), random(1, 4, 4, 4, seed=1)
    found = ddim(
        lambda z, t: noise, diffuse(z0, noise, alphas[999]), alphas, "epsilon", Sampler(steps=1, spacing="trailing")
    )
    assert (found - z0).abs().max() < 1e-4


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 12, 20, 25, 30, 50, 100, 500])
@pytest.mark.parametrize("strength", [1.0, 0.75, 0.5])
def test_timesteps_are_diffusers(spacing, steps, strength):
    """A strength below 1 is the schedule of that share of the thousand steps."""
    theirs = scheduler(timestep_spacing=spacing, num_train_timesteps=round(1000 * strength))
    theirs.set_timesteps(steps)
    spec = Sampler(steps=steps, spacing=spacing, strength=strength, init="lq_noised")
    assert timesteps(spec, 1000) == theirs.timesteps.tolist()


@pytest.mark.parametrize("offset", [0, 1, 2, 5])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 25, 50])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_offsets_are_diffusers(offset, steps, strength):
    theirs = scheduler(steps_offset=offset, num_train_timesteps=round(1000 * strength))
    theirs.set_timesteps(steps)
    spec = Sampler(steps=steps, offset=offset, strength=strength, init="lq_noised")
    assert timesteps(spec, 1000) == theirs.timesteps.tolist()


def test_the_grid_of_the_release():
    """980 … 0: uniform stride of 20; the default is what it was."""
    assert timesteps(Sampler(offset=0), 1000) == list(range(980, -1, -20))
    assert timesteps(Sampler(), 1000)[::49] == [981, 1]
    with pytest.raises(ConfigError, match="does not fit"):
        timesteps(Sampler(steps=50, offset=20), 1000)  # would begin at t = 1000
    for wrong in ({"offset": -1}, {"offset": 0, "spacing": "trailing"}):
        with pytest.raises(ValueError):
            Sampler(**wrong)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_grid_of_the_release_is_diffusers_step_by_step(alphas, prediction):
    """With `last: release`: the step at t = 0 goes to alpha_0, which changes nothing."""
    theirs = scheduler(steps_offset=0, prediction_type=prediction)
    theirs.set_timesteps(50)

    def network(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (z * 0.7).sin() + t.view(-1, 1, 1, 1) / 1000

    start = z = random(2, 4, 6, 5)
    for t in theirs.timesteps:
        before, z = z, theirs.step(network(z, t.expand(2)), t, z).prev_sample
    found = ddim(network, start, alphas, prediction, Sampler(offset=0, last="release"))
    assert torch.allclose(found, z, atol=1e-5)
    assert torch.allclose(z, before, atol=1e-5)


# ---------------------------------------------------------------- targets


def test_split_undoes_both_targets(alphas):
    z0, noise = random(3, 4, 4, 4), random(3, 4, 4, 4, seed=1)
    for t in (0, 1, 500, 999):
        a = alphas[t]
        z = diffuse(z0, noise, a)
        for output, prediction in ((noise, "epsilon"), (velocity(z0, noise, a), "v_prediction")):
            x0, epsilon = split(output, z, a, prediction)
            assert (x0 - z0).abs().max() < 2e-5 and (epsilon - noise).abs().max() < 1e-5
    with pytest.raises(ValueError, match="expected epsilon or v_prediction"):
        split(noise, z, a, "sample")


def test_targets_are_diffusers(alphas):
    """What training makes of a latent is what diffusers makes of it, one t for each picture."""
    z0, noise, t = random(3, 4, 4, 4), random(3, 4, 4, 4, seed=1), torch.tensor([0, 400, 999])
    a = alphas[t].view(-1, 1, 1, 1)
    theirs = scheduler()
    assert torch.allclose(diffuse(z0, noise, a), theirs.add_noise(z0, noise, t), atol=1e-6)
    assert torch.allclose(velocity(z0, noise, a), theirs.get_velocity(z0, noise, t), atol=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("last", ["x0", "release"])
@pytest.mark.parametrize("steps", [50, 20, 10, 4])
def test_oracle(alphas, spacing, prediction, last, steps):
    """A model that knows the noise: z0 comes back, or, as the release stops at alpha_0, 0.9996 z0 + 0.029 epsilon."""
    z0, noise = random(2, 4, 8, 12), random(2, 4, 8, 12, seed=1)
    spec = Sampler(steps=steps, spacing=spacing, last=last)
    calls = []

    def oracle(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append(t.tolist())
        return noise if prediction == "epsilon" else velocity(z0, noise, alphas[t].view(-1, 1, 1, 1))

    start = diffuse(z0, noise, alphas[timesteps(spec, 1000)[0]])
    found = ddim(oracle, start, alphas, prediction, spec)
    expected = z0 if last == "x0" else 0.9996 * z0 + 0.029 * noise
    assert (found - expected).abs().max() < (1e-4 if last == "x0" else 1.5e-3)
    exact = z0 if last == "x0" else alphas[0].sqrt() * z0 + (1 - alphas[0]).sqrt() * noise
    assert (found - exact).abs().max() < 1e-4
    assert calls == [[t, t] for t in timesteps(spec, 1000)]


def test_start_from_the_noised_degraded_latent(alphas):
    """init lq_noised: the first z is the degraded latent at the first t, whatever part of the schedule is gone through."""
    lq, noise = random(1, 4, 4, 4), random(1, 4, 4, 4, seed=1)
    for strength in (1.0, 0.5):
        seen = []
        spec = Sampler(steps=4, init="lq_noised", strength=strength)
        ddim(lambda z, t, seen=seen: seen.append((z, t)) or z, noise, alphas, "epsilon", spec, lq_latent=lq)
        z, t = seen[0]
        assert t.item() == timesteps(spec, 1000)[0] <= 1000 * strength
        assert torch.equal(z, diffuse(lq, noise, alphas[t.item()]))
    seen = []
    ddim(lambda z, t: seen.append(z) or z, noise, alphas, "epsilon", Sampler(steps=4), lq_latent=lq)
    assert torch.equal(seen[0], noise)


@pytest.mark.parametrize("init", ["lq_alone", "zero"])
def test_controls_take_no_step_of_diffusion(alphas, init):
    lq, noise = random(1, 4, 4, 4), random(1, 4, 4, 4, seed=1)
    found = ddim(None, noise, alphas, "epsilon", Sampler(steps=4, init=init), lq_latent=lq)
    assert torch.equal(found, lq if init == "lq_alone" else torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match="needs `init: lq_noised`"):
        Sampler(init=init, strength=0.5)


# ---------------------------------------------------------------- against diffusers, with a real network


@pytest.fixture(scope="module")
def network():
    """A small U-Net of random weights, and its context."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()
    context = random(2, 3, 8, seed=3)

    @torch.no_grad()
    def predict(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return unet(z, t, context).sample

    return predict


def through_diffusers(predict, noise, prediction, spec, eta_noise=None):
    """(z before each step and at the end) by diffusers' DDIMScheduler."""
    theirs = scheduler(timestep_spacing=spec.spacing, prediction_type=prediction, set_alpha_to_one=spec.last == "x0")
    theirs.set_timesteps(spec.steps)
    z, seen = noise, [noise]
    for i, t in enumerate(theirs.timesteps):
        extra = {"variance_noise": eta_noise[i]} if eta_noise is not None else {}
        z = theirs.step(predict(z, t.expand(len(z))), t, z, eta=spec.eta, **extra).prev_sample
        seen.append(z)
    return seen


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("last", ["x0", "release"])
def test_every_step_is_diffusers(network, alphas, spacing, prediction, last):
    noise = random(2, 4, 8, 12)
    spec = Sampler(steps=10, spacing=spacing, last=last)
    seen = []
    found = ddim(lambda z, t: (seen.append(z), network(z, t))[1], noise, alphas, prediction, spec)
    expected = through_diffusers(network, noise, prediction, spec)
    for ours, theirs in zip([*seen, found], expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * max(1, theirs.abs().max())
    assert (found - noise).abs().max() > 0.1


def test_both_targets_agree(network, alphas):
    """The same network read as epsilon, and translated to v: the same latent."""
    noise = random(2, 4, 8, 8)

    def as_v(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a, epsilon = alphas[t].view(-1, 1, 1, 1), network(z, t)
        return velocity(split(epsilon, z, a, "epsilon")[0], epsilon, a)

    for last in ("x0", "release"):
        spec = Sampler(steps=10, last=last)
        one, other = ddim(network, noise, alphas, "epsilon", spec), ddim(as_v, noise, alphas, "v_prediction", spec)
        assert (one - other).abs().max() < 1e-4 * one.abs().max()


# ---------------------------------------------------------------- randomness


@pytest.mark.parametrize("last", ["x0", "release"])
def test_noise_of_eta_is_seeded_and_is_diffusers(network, alphas, last):
    noise = random(2, 4, 8, 8)
    spec = Sampler(steps=10, eta=0.7, last=last)

    def sample(seed: int, spec: Sampler = spec) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return ddim(
            network, noise, alphas, "epsilon", spec, fresh=lambda: torch.randn(noise.shape, generator=generator)
        )

    first = sample(1)
    torch.manual_seed(99)  # no global randomness is used
    assert torch.equal(first, sample(1))
    assert not torch.allclose(first, sample(2), atol=1e-2)
    plain = Sampler(steps=10, last=last)
    assert torch.equal(sample(1, plain), sample(2, plain))  # eta 0 draws nothing

    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(noise.shape, generator=generator) for _ in range(spec.steps)]
    expected = through_diffusers(network, noise, "epsilon", spec, drawn)[-1]
    assert (first - expected).abs().max() < 1e-5 * max(1, expected.abs().max())


def test_no_gradient_is_kept(alphas):
    weight = torch.ones(1, requires_grad=True)
    found = ddim(lambda z, t: z * weight, random(1, 4, 4, 4), alphas, "epsilon", Sampler(steps=2))
    assert not found.requires_grad
