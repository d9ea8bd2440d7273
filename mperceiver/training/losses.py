"""The losses of the three stages (sections 3.1 and 3.3) and of the baselines."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.config.protocols import SSIM_SIDE
from mperceiver.config.runs import Losses
from mperceiver.metrics.fidelity import GAUSSIAN

LEAST_ERROR = 1e-4  # added to the squared error under the logarithm: 40 dB. Without it, nearly perfect crops would dominate the mean
VGG_GROUPS = 3  # of its layers: up to relu1_2, relu2_2 and relu3_3


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Focal loss -(1 - p_y)^gamma log p_y, mean over the batch (Lin et al., arXiv:1708.02002): (B, N), (B,) -> scalar."""
    log_p = F.log_softmax(logits.float(), dim=1).gather(1, labels[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


def colour(output: Tensor, target: Tensor) -> Tensor:
    """1 - cos of the angle between RGB vectors (Wang et al., DeepUPE, CVPR 2019): (B, 3, H, W) in [0, 1] twice -> scalar.

    The range must not be [-1, 1]: there mid-grey is the zero vector, which has no direction.
    """
    return 1 - F.cosine_similarity(output, target, dim=1, eps=1e-3).mean()


def negated_psnr(output: Tensor, target: Tensor) -> Tensor:
    """-PSNR in dB, mean over the batch (Chen et al., NAFNet, ECCV 2022, arXiv:2204.04676): (B, 3, H, W) in [0, 1] twice -> scalar.

    It goes to 40 dB at most, since ``LEAST_ERROR`` is added to the squared errors.
    """
    errors = (output - target).square().mean(dim=(1, 2, 3))
    return 10 * (errors + LEAST_ERROR).log10().mean()


def vgg_distance(groups: nn.ModuleList, output: Tensor, target: Tensor) -> Tensor:
    """Mean over VGG16's groups of the squared error of their features: (B, 3, H, W) in [0, 1] twice -> scalar.

    The pictures are not normalised by ImageNet's mean, since the published losses do not. Gradients flow to both pictures.
    """
    distances = []
    for group in groups:
        output, target = group(output), group(target)
        distances.append(F.mse_loss(output, target))
    return torch.stack(distances).mean()


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """SSIM of each picture: (B, 3, H, W) in [0, 1] twice -> (B,). H and W are 11 px or more.

    Wang et al., IEEE TIP 2004, doi:10.1109/TIP.2003.819861: an 11x11 Gaussian window of sigma 1.5 that lies inside the picture, over the RGB channels.
    """
    gaussian = torch.from_numpy(GAUSSIAN).to(output)
    stacked = torch.cat([output, target, output.square(), target.square(), output * target], dim=1)
    windows = len(stacked[0])
    # A variance is the small difference of two large means, of which half precision would leave nothing.
    with torch.autocast(output.device.type, enabled=False):
        across = F.conv2d(stacked, gaussian.view(1, 1, 1, -1).expand(windows, 1, 1, SSIM_SIDE), groups=windows)
        means = F.conv2d(across, gaussian.view(1, 1, -1, 1).expand(windows, 1, SSIM_SIDE, 1), groups=windows)
    x, y, xx, yy, xy = means.chunk(5, dim=1)
    luminance = (2 * x * y + 0.01**2) / (x * x + y * y + 0.01**2)
    structure = (2 * (xy - x * y) + 0.03**2) / (xx - x * x + yy - y * y + 0.03**2)
    return (luminance * structure).mean((1, 2, 3))


class PatchDiscriminator(nn.Sequential):
    """PatchGAN of three strided layers (Isola et al., arXiv:1611.07004): (B, 3, H, W) -> (B, 1, h, w). 2,765,633 parameters."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, stride in enumerate((2, 2, 1)):
            before, after = width * 2**i, width * 2 ** (i + 1)
            layers += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(width * 8, 1, 4, 1, 1))


def hinge_generator(fake: Tensor) -> Tensor:
    """The restorer's adversarial loss, from the discriminator's scores of restored pictures, (B, 1, h, w) -> scalar."""
    return -fake.float().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss, from its scores of ground truths and of restored pictures, (B, 1, h, w) twice -> scalar."""
    return (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()) / 2


class PictureLosses:
    """Weighted sum of L1, smooth L1, PSNR, SSIM, VGG, perceptual, colour and adversarial losses, for stage 3 and the baselines (section 3.3)."""

    def __init__(self, spec: Losses, device: torch.device | str) -> None:
        from mperceiver.metrics import lpips

        self.spec = spec
        self.perceptual = lpips.load(spec.perceptual_network).to(device) if spec.perceptual else None
        self.vgg = lpips.load("vgg").groups[:VGG_GROUPS].to(device) if spec.vgg else None
        self.discriminator = PatchDiscriminator().to(device) if spec.adversarial else None

    def __call__(self, output: Tensor, target: Tensor, step: int) -> dict[str, Tensor]:
        """Restored pictures and ground truths, (B, 3, H, W) in [0, 1] up to overshoot -> scalar losses by name.

        Returns "loss" (the weighted sum), "loss_*" (its terms without their weights) and, where there is an adversarial loss,
        "adversary" (the discriminator's own loss).
        """
        spec, output = self.spec, output.float()
        losses = {"loss_l1": (output - target).abs().mean()}
        total = spec.l1 * losses["loss_l1"]
        if spec.smooth_l1:
            losses["loss_smooth_l1"] = F.smooth_l1_loss(output, target)
            total = total + spec.smooth_l1 * losses["loss_smooth_l1"]
        if spec.psnr:
            losses["loss_psnr"] = negated_psnr(output, target)
            total = total + spec.psnr * losses["loss_psnr"]
        if spec.ssim:
            losses["loss_ssim"] = 1 - ssim(output, target).mean()
            total = total + spec.ssim * losses["loss_ssim"]
        if self.vgg is not None:
            losses["loss_vgg"] = vgg_distance(self.vgg, output, target)
            total = total + spec.vgg * losses["loss_vgg"]
        if self.perceptual is not None and step % spec.perceptual_every == 0:
            losses["loss_perceptual"] = self.perceptual(output, target).mean()
            total = total + spec.perceptual * spec.perceptual_every * losses["loss_perceptual"]
        if spec.colour:
            losses["loss_colour"] = colour(output, target)
            total = total + spec.colour * losses["loss_colour"]
        if self.discriminator is not None and step >= spec.adversarial_from_step:
            self.discriminator.requires_grad_(False)  # the restorer's loss must not move the discriminator
            losses["loss_adversarial"] = hinge_generator(self.discriminator(output))
            self.discriminator.requires_grad_(True)
            total = total + spec.adversarial * losses["loss_adversarial"]
            losses["adversary"] = hinge_discriminator(self.discriminator(target), self.discriminator(output.detach()))
        return {"loss": total, **losses}
