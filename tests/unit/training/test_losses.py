"""What the stages minimise: golden values, properties, and which weights a loss moves."""

import math

import pytest
import torch
import torch.nn.functional as F

from mperceiver.config.runs import Losses
from mperceiver.training.losses import (
    PatchDiscriminator,
    PictureLosses,
    colour,
    focal,
    hinge_discriminator,
    hinge_generator,
    negated_psnr,
)


def test_focal_is_cross_entropy_at_gamma_0():
    logits, labels = 3 * torch.randn(20, 9, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 9
    assert focal(logits, labels, 0.0).item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)


def test_focal_is_golden_at_gamma_2():
    """Probabilities 1/2, 1/4, 1/4: (1 - 1/2)^2 ln 2 and (1 - 1/4)^2 ln 4."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log().repeat(2, 1)
    found = focal(logits, torch.tensor([0, 1]), 2.0).item()
    assert found == pytest.approx((0.25 * math.log(2) + 0.5625 * math.log(4)) / 2, rel=1e-6)
    assert found == pytest.approx(0.4765386991, rel=1e-6)


def test_focal_has_a_gradient_when_it_is_sure():
    for logit in (-80.0, 80.0):
        logits = torch.tensor([[logit, 0.0]], requires_grad=True)
        focal(logits, torch.tensor([0]), 2.0).backward()
        assert torch.isfinite(logits.grad).all()


def test_colour_is_one_minus_the_cosine():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    for degrees in (0, 5, 60, 90):
        angle = math.radians(degrees)
        turned = torch.tensor([math.cos(angle), math.sin(angle), 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
        assert colour(turned, red).item() == pytest.approx(1 - math.cos(angle), abs=1e-6)


def test_colour_does_not_see_brightness():
    picture = 0.1 + 0.4 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    light = 0.5 + 1.5 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert colour(picture * light, picture).abs() < 1e-6
    assert colour(picture.flip(1), picture) > 0.01
    grey = torch.full((1, 3, 4, 4), 0.5)
    assert colour(grey, 0.2 * grey).abs() < 1e-6  # mid-grey is a vector like others


def test_colour_of_black_is_finite():
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    for target in (torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))):
        colour(black, target).backward()
        assert torch.isfinite(black.grad).all()


def test_psnr_is_the_mean_of_the_pictures_own():
    """An error of 0.1 everywhere is 20 dB, less what the 40 dB that are added take: 10 log10(0.01 + 0.0001). None at all is 40 dB."""
    target = torch.full((2, 3, 4, 4), 0.5)
    output = target + torch.tensor([0.1, 0.0]).view(2, 1, 1, 1)
    assert negated_psnr(output, target).item() == pytest.approx((10 * math.log10(0.0101) - 40) / 2, rel=1e-5)
    assert negated_psnr(output[:1], target[:1]).item() == pytest.approx(-19.956786, rel=1e-5)


def test_psnr_is_weighted(pair):
    output, target = pair
    found = PictureLosses(Losses(l1=2, psnr=0.5, perceptual=0, colour=0, adversarial=0), "cpu")(output, target, 0)
    assert found["loss_psnr"].item() == pytest.approx(negated_psnr(output, target).item(), rel=1e-6)
    assert found["loss"].item() == pytest.approx(2 * found["loss_l1"].item() + found["loss_psnr"].item() / 2, rel=1e-6)


def test_ssim_is_that_of_the_tables_without_the_borders():
    """skimage's, with the 11x11 Gaussian window of the protocols; five pixels at each border have no whole window."""
    import numpy as np
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(5)
    target = F.interpolate(torch.rand(2, 3, 8, 8, generator=generator), size=32, mode="bicubic").clamp(0, 1)
    output = (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    expected = []
    for ours, theirs in zip(output.double().numpy(), target.double().numpy(), strict=True):
        _, whole = structural_similarity(
            ours,
            theirs,
            channel_axis=0,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected.append(np.asarray(whole)[:, 5:-5, 5:-5].mean())
    found = PictureLosses(Losses(l1=0, ssim=0.5, perceptual=0, colour=0, adversarial=0), "cpu")(output, target, 0)
    assert found["loss_ssim"].item() == pytest.approx(1 - np.mean(expected), abs=1e-4)
    assert found["loss"].item() == pytest.approx(found["loss_ssim"].item() / 2, rel=1e-6)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_ssim_is_whole_under_half_precision(half):
    """In half precision the variances of a window would be rounding errors, and the loss a quarter of what it is."""
    generator = torch.Generator().manual_seed(5)
    target = F.interpolate(torch.rand(2, 3, 8, 8, generator=generator), size=48, mode="bicubic").clamp(0, 1)
    output = target + 0.02 * torch.randn(target.shape, generator=generator)
    losses = PictureLosses(Losses(l1=0, ssim=0.5, perceptual=0, colour=0, adversarial=0), "cpu")
    with torch.autocast("cpu", half):
        found = losses(output, target, 0)
    assert torch.equal(found["loss_ssim"], losses(output, target, 0)["loss_ssim"])


def test_hinges():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 1.0])
    assert hinge_generator(fake).item() == 0.5
    assert hinge_discriminator(real, fake).item() == pytest.approx((0.25 + 1.0) / 2)


def test_patches_of_the_discriminator():
    assert PatchDiscriminator(8)(torch.rand(2, 3, 64, 48)).shape == (2, 1, 6, 4)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=generator).requires_grad_(), torch.rand(2, 3, 32, 32, generator=generator)


def test_picture_losses_are_weighted(pair, metric_weights, monkeypatch):
    monkeypatch.chdir(metric_weights)
    spec = Losses(
        l1=2.0,
        perceptual=0.3,
        perceptual_network="alex",
        perceptual_every=2,
        colour=0.7,
        adversarial=0.05,
        adversarial_from_step=5,
    )
    torch.manual_seed(0)
    losses = PictureLosses(spec, "cpu")
    output, target = pair
    for step in (0, 1, 5, 6):
        found = losses(output, target, step)
        parts = {key for key in found if key.startswith("loss_")}
        expected = 2.0 * (output - target).abs().mean() + 0.7 * colour(output, target)
        assert ("loss_perceptual" in parts) == (step % 2 == 0)
        if step % 2 == 0:  # counted at every second step, twice as heavy
            expected = expected + 2 * 0.3 * losses.perceptual(output, target).mean()
        assert ("loss_adversarial" in parts) == ("adversary" in found) == (step >= 5)
        if step >= 5:
            expected = expected + 0.05 * hinge_generator(losses.discriminator(output))
        assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert {"loss_l1", "loss_colour"} <= parts


def test_picture_losses_move_only_whom_they_should(pair):
    torch.manual_seed(0)
    losses = PictureLosses(Losses(perceptual=0, adversarial_from_step=0), "cpu")
    output, target = pair
    found = losses(output, target, 0)
    found["loss"].backward()
    assert output.grad.any() and all(p.grad is None for p in losses.discriminator.parameters())
    output.grad = None
    found["adversary"].backward()
    *weights, _ = losses.discriminator.parameters()  # the last bias is pulled up and down alike
    assert output.grad is None and all(p.grad.any() for p in weights)


def test_a_switched_off_term_costs_nothing(pair):
    losses = PictureLosses(Losses(perceptual=0, colour=0, adversarial=0), "cpu")
    assert losses.perceptual is None and losses.discriminator is None
    found = losses(*pair, step=1000)
    assert set(found) == {"loss", "loss_l1"} and found["loss"].item() == found["loss_l1"].item()


def test_the_paper_scale_weights_are_the_defaults():
    found = Losses()
    assert (found.l1, found.perceptual, found.perceptual_network, found.colour) == (1.0, 0.1, "vgg", 0.2)
    assert (found.adversarial, found.adversarial_from_step) == (0.025, 500)


def test_smooth_l1_and_vgg_are_weighted(pair, metric_weights, monkeypatch):
    """Half the square below 1; and VGG16's features at three depths, of pictures as they are."""
    monkeypatch.chdir(metric_weights)
    output, target = pair
    from mperceiver.metrics import lpips

    spec = Losses(l1=0, smooth_l1=2.0, vgg=0.5, perceptual=0, colour=0, adversarial=0)
    found = PictureLosses(spec, "cpu")(output, target, 0)
    smooth = ((output - target) ** 2 / 2).mean()
    assert found["loss_smooth_l1"].item() == pytest.approx(smooth.item(), rel=1e-5)
    ours, theirs, distances = output, target, []
    for group in lpips.load("vgg").groups[:3]:
        ours, theirs = group(ours), group(theirs)
        distances.append(((ours - theirs) ** 2).mean().item())
    assert found["loss_vgg"].item() == pytest.approx(sum(distances) / 3, rel=1e-5)
    assert found["loss"].item() == pytest.approx(2 * smooth.item() + 0.5 * sum(distances) / 3, rel=1e-5)
