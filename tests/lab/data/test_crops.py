from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tavtorch.lab.data.crops import Crops, NoisyCrops, known_noise
from tavtorch.lab.data.images import bundled, pictures
from tavtorch.lab.data.synthetic.leaves import leaves


def plain(level, channels=1, side=60):
    return torch.full((1, channels, side, side), level)


def whole(**options):
    """Crops as they are in their pictures."""
    return Crops([plain(0.2)], [plain(0.8)], contrast=1.0, zoom=1.0, size=16, **options)


def test_a_crop_is_a_truth_with_noise():
    item = whole(sigma=(0.1, 0.1))[3]
    assert item["truth"].shape == (1, 16, 16) and item["inputs"]["sigma"].item() == pytest.approx(0.1)
    noise = item["inputs"]["image"] - item["truth"]
    assert noise.std() == pytest.approx(0.1, rel=0.2)


def test_a_share_is_of_drawings():
    levels = [float(whole(drawn=0.25)[i]["truth"].mean()) for i in range(200)]
    assert sum(level > 0.5 for level in levels) == pytest.approx(50, abs=20)


def test_noise_is_of_all_levels():
    levels = np.log([float(whole(sigma=(0.01, 0.2))[i]["inputs"]["sigma"]) for i in range(200)])
    assert np.exp(levels.min()) == pytest.approx(0.01, rel=0.1) and np.exp(levels.max()) == pytest.approx(0.2, rel=0.1)
    assert np.exp(levels.mean()) == pytest.approx((0.01 * 0.2) ** 0.5, rel=0.2)


def test_contrast_is_lowered_within_the_range():
    crops = Crops([], [torch.linspace(0, 1, 60).expand(1, 1, 60, 60)], drawn=1.0, size=60, contrast=0.5)
    truths = [crops[i]["truth"] for i in range(50)]
    spans = [float(truth.max() - truth.min()) for truth in truths]
    assert 0.5 <= min(spans) < 0.6 and 0.9 < max(spans) <= 1
    assert min(truth.min() for truth in truths) >= 0 and max(truth.max() for truth in truths) <= 1


def test_photographs_are_shrunk_and_their_colours_mixed():
    stripes = (torch.arange(80) // 2 % 2).float().expand(1, 1, 80, 80)
    photograph = torch.cat((stripes, 0 * stripes), 1)
    crops = Crops([photograph], [], drawn=0.0, size=20, zoom=0.25, contrast=1.0)
    truths = [crops[i]["truth"] for i in range(40)]
    assert all(truth.shape == (1, 20, 20) for truth in truths)
    steps = torch.tensor([float((truth.diff().abs() / truth.max()).mean()) for truth in truths])
    assert steps.min() < 0.7 * steps.max()
    greys = torch.stack([truth.mean() for truth in truths])
    assert greys.min() < 0.1 and greys.max() > 0.4


def test_crops_of_small_pictures():
    crops = Crops([plain(0.5, 3, 16)], [plain(0.5, 1, 16)], size=16, zoom=0.1)
    assert all(crops[i]["truth"].shape == (1, 16, 16) for i in range(10))


def test_a_crop_is_the_same_in_any_order():
    first, second = (Crops([torch.rand(1, 3, 50, 50)], [torch.rand(1, 1, 50, 50)], size=16, seed=1) for _ in range(2))
    second.photographs, second.drawings = first.photographs, first.drawings
    second[0]
    assert torch.equal(first[5]["inputs"]["image"], second[5]["inputs"]["image"])
    assert not torch.equal(first[5]["inputs"]["image"], first[6]["inputs"]["image"])


def data(**options):
    return NoisyCrops(
        partial(Crops, size=16),
        partial(leaves, size=32, count=5),
        pictures(partial(known_noise, sigma=0.1), names=["coins"], size=32),
        **({"names": ["camera"], "held_out": ["coins"], "drawings": 8, "per_epoch": 32, "batch_size": 8} | options),
    )


def test_what_validates_is_not_trained_with():
    module = data()
    module.setup("fit")
    assert len(module.train.drawings) == 8 and len(module.val.drawings) == 1
    assert not any(torch.equal(module.val.drawings[0], drawing) for drawing in module.train.drawings)
    assert torch.equal(module.val.photographs[0][0], bundled("coins"))
    with pytest.raises(ValueError, match=r"data.held_out: \['camera'\] are trained with too"):
        data(held_out=["camera"])


def test_batches_to_train_and_to_validate_with():
    module = data()
    module.setup("fit")
    assert isinstance(module.train_dataloader(), DataLoader)
    batch = next(iter(module.train_dataloader()))
    assert batch["inputs"]["image"].shape == (8, 1, 16, 16) and batch["inputs"]["sigma"].shape == (8,)
    assert len(module.train_dataloader()) == 4 and sum(len(batch["truth"]) for batch in module.val_dataloader()) == 4


def test_pictures_to_score_tell_their_noise():
    module = data()
    module.setup("test")
    (item,) = module.test_dataloader()
    assert item["inputs"]["sigma"].tolist() == pytest.approx([0.1]) and item["truth"].shape == (1, 1, 32, 32)


# drawings


def test_leaves_are_a_picture_of_their_own_seed():
    first, again, other = (leaves(torch.Generator().manual_seed(seed), size=64, count=60) for seed in (0, 0, 1))
    assert first.shape == (1, 1, 64, 64) and first.dtype == torch.float32
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_leaves_have_edges_and_flat_parts_as_photographs_have():
    """Differences of neighbours are mostly small, and large ones far more frequent than in noise."""
    kurtosis = []
    for seed in range(4):
        steps = leaves(torch.Generator().manual_seed(seed), size=128, count=200).diff()
        kurtosis.append(float((steps.square().square().mean() / steps.square().mean().square()).log()))
    assert np.mean(kurtosis) > np.log(8)
