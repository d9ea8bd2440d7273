"""What the rivals' trainings compute, against the same worked out by hand: AirNet's contrast, DA-CLIP's losses, and the bank of a task."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.by_name import fill, picture

from mperceiver.config.runs import OWN_LOSSES
from mperceiver.models.baselines import ARCHITECTURES
from mperceiver.models.baselines.airnet import MomentumContrast
from mperceiver.models.baselines.da_clip import Controller, DaClip
from mperceiver.models.baselines.network import TaskNetwork
from mperceiver.models.baselines.wgws import WGWSNet
from mperceiver.models.image_tower import ImageTower, build_clip_tower
from mperceiver.models.tiling import Tiles


def test_airnets_key_encoder_follows_and_its_queue_keeps_the_latest_keys():
    torch.manual_seed(0)
    moco = MomentumContrast(4, queue=5)
    for p in moco.encoder_k.parameters():
        p.data.add_(0.1)
    for turn in range(3):  # 3 x 2 keys wrap round a queue of 5
        query, key = torch.rand(2, 2, 3, 16, 16)
        expected = copy.deepcopy(moco.encoder_k)
        for own, other in zip(expected.parameters(), moco.encoder_q.parameters(), strict=True):
            own.data = 0.999 * own.data + 0.001 * other.data
        before = moco.queue.clone()
        _, logits = moco(query, key)
        for own, right in zip(moco.encoder_k.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(own, right)
        with torch.no_grad():
            keys, found = expected(key)[1], moco.encoder_q(query)[1]
        torch.testing.assert_close(0.07 * logits, torch.cat([(found * keys).sum(1, keepdim=True), found @ before], 1))
        at = [(2 * turn + i) % 5 for i in range(2)]
        torch.testing.assert_close(moco.queue[:, at], keys.T)
        others = [i for i in range(5) if i not in at]
        assert torch.equal(moco.queue[:, others], before[:, others])


def test_each_picture_of_a_batch_is_restored_with_its_own_tasks_weights():
    restorer = TaskNetwork(fill(WGWSNet(width=6, blocks=1, banks=2)), 4, "cpu", 4, ["haze", "rain"])
    pictures, tiles = picture(16, 16, 3), Tiles((16, 16), [0], [0], (16, 16), batch=3)
    tasks = ["rain", "", "haze"]
    together = restorer.restore(pictures, restorer.look(pictures, tasks), [0, 1, 2], tiles)
    for i, task in enumerate(tasks):
        one = pictures[i : i + 1]
        assert torch.equal(together[i : i + 1], restorer.restore(one, restorer.look(one, [task]), [0], tiles))
        other = tasks[i - 1]
        assert not torch.equal(together[i : i + 1], restorer.restore(one, restorer.look(one, [other]), [0], tiles))


def test_a_vits_last_block_steers_its_first():
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}
    cfg = {
        "embed_dim": 16,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    }
    tower = build_clip_tower(cfg).eval()
    controller, view = Controller(ImageTower(tower, 32)).eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        content, degradation = controller(tower, view)
        assert torch.equal(content, tower(view)) and torch.equal(content, degradation)
        for number in range(3):
            for p in controller.zero.parameters():
                p.zero_()
            bias = controller.zero[number].map.bias.normal_()
            handle = tower.transformer.resblocks[2 - number].register_forward_hook(
                lambda _, __, out, bias=bias: out + bias
            )
            expected = tower(view)
            handle.remove()
            torch.testing.assert_close(controller(tower, view)[0], expected)
            assert not torch.allclose(expected, content)


@pytest.mark.parametrize("predicts", ["noise", "residual"])
def test_the_losses_of_da_clip(foundation, predicts):
    network = DaClip(
        ImageTower(foundation.clip, foundation.clip_px), 2, 32, (1, 1), predicts=predicts, controller_steps=1
    )
    gt = picture(32, 32, 2).float()
    lq, diffusion = gt.flip(-1), network.diffusion
    tower = network.clip[0]
    batch = {
        "lq": lq,
        "gt": gt,
        "task": torch.tensor([1, 0]),
        "clip_view": tower.view(lq),
        "clip_view_gt": tower.view(gt),
    }

    class Knowing(torch.nn.Module):
        error = 0.0

        def forward(self, state, lq, time, degradation, content):
            decay, sigma = (table[time.long()][:, None, None, None] for table in (diffusion.decay, diffusion.sigma))
            right = gt - lq if predicts == "residual" else (state - lq - (gt - lq) * decay) / sigma
            return (right + self.error).float()

    network.unet = Knowing()
    assert network(batch, 1, torch.Generator().manual_seed(0))["loss"] < 1e-3
    network.unet.error = 1.0
    assert network(batch, 1, torch.Generator().manual_seed(0))["loss"] > 1e-2
    assert "da-clip" in OWN_LOSSES  # of a run's losses it takes none, and the configuration refuses them
    found = ARCHITECTURES["da-clip"].losses(network, batch, pytest.fail, 0, torch.Generator())
    with torch.no_grad():
        degraded, clean = (F.normalize(tower.tower(batch[name]), dim=1) for name in ("clip_view", "clip_view_gt"))
        logits = degraded @ clean.T / 0.07
        of_content = -(logits.log_softmax(1).diag().mean() + logits.log_softmax(0).diag().mean()) / 2
        likeness = degraded @ F.normalize(network.degradations, dim=1).T / 0.07
        of_degradation = -likeness.log_softmax(1)[[0, 1], [1, 0]].mean()
    torch.testing.assert_close(found["loss_content"], of_content)
    torch.testing.assert_close(found["loss_degradation"], of_degradation)
    torch.testing.assert_close(found["loss"], of_content + of_degradation)
