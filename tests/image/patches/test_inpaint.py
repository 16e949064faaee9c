import math
from functools import partial

import pytest
import skimage.data
import torch

from tavtorch import Stop, inpaint_harmonic, inpaint_patches
from tavtorch.image.patches import apply
from tavtorch.image.patches.nearest import (
    describe,
    describe_targets,
    exact_search,
    list_patches,
    patch_match,
    principal_components,
)
from tavtorch.image.patches.pixels import copy_pixels
from tavtorch.image.patches.regions import Region, list_regions

METHODS = ["random", "priority", "multiscale", "turned"]


def box(h, w, top, left, height, width, b=1):
    hole = torch.zeros(b, 1, h, w, dtype=torch.bool)
    hole[..., top : top + height, left : left + width] = True
    return hole


def photo(h=64, w=72, **kind):
    pixels = torch.from_numpy(skimage.data.coffee()[100 : 100 + 2 * h : 2, 150 : 150 + 2 * w : 2].copy())
    return pixels.movedim(-1, 0)[None].to(**kind) / 255


def psnr(value, truth, hole):
    return -10 * (value - truth).square()[hole.expand_as(truth)].mean().log10().item()


def fill(image, hole, method="multiscale", **options):
    return inpaint_patches(image, hole, method=method, generator=torch.Generator().manual_seed(0), **options)


# truth


@pytest.mark.parametrize("method", METHODS)
def test_a_pattern_is_continued_exactly(method, device, dtype):
    y, x = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    tiles = torch.stack(((x // 3 + y // 3) % 2, x % 4 // 2)).to(dtype=dtype, device=device)[None]
    found = fill(tiles, box(40, 48, 12, 14, 13, 15).to(device), method)
    assert found.value.dtype == dtype and found.converged.all()
    assert torch.equal(found.value, tiles) or method == "random"


@pytest.mark.parametrize("margin", [6, 12])
def test_a_hole_in_something_that_is_there_twice_is_filled_exactly(margin):
    image = photo(96, 128)
    n = 20 + 2 * margin
    image[..., 40 : 40 + n, 71 : 71 + n] = image[..., 5 : 5 + n, 8 : 8 + n]
    hole = box(96, 128, 5 + margin, 8 + margin, 20, 20)
    assert torch.equal(fill(image, hole).value, image)


def test_every_missing_pixel_is_a_copy_of_a_usable_one():
    image = torch.arange(40.0 * 44).reshape(1, 1, 40, 44) / 1000
    hole, exclude = box(40, 44, 10, 12, 12, 12), box(40, 44, 0, 0, 40, 10)
    for method in METHODS:
        value = fill(image, hole, method, exclude=exclude).value
        assert torch.isin(value[hole], image[~hole & ~exclude]).all()


@pytest.mark.parametrize("method", METHODS)
def test_known_pixels_are_kept_to_the_bit_and_missing_ones_do_not_count(method):
    image, hole = photo(), box(64, 72, 20, 0, 14, 17)
    value = fill(image, hole, method).value
    assert torch.equal(value[~hole.expand_as(image)], image[~hole.expand_as(image)])
    assert torch.equal(fill(image.masked_fill(hole, torch.nan), hole, method).value, value)


@pytest.mark.parametrize(
    "hole",
    [
        box(48, 56, 0, 0, 14, 20),
        box(48, 56, 20, 0, 9, 56),
        box(48, 56, 0, 30, 48, 26),
        ~box(48, 56, 18, 20, 12, 13),
        (torch.arange(48)[:, None] % 16 < 3) & (torch.arange(56) % 14 < 4) & torch.ones(1, 1, 48, 56, dtype=torch.bool),
    ],
    ids=["at a corner", "whole rows", "half of the picture", "few known pixels", "many"],
)
@pytest.mark.parametrize("method", ["priority", "multiscale"])
def test_holes_of_any_place_and_number(hole, method):
    image = photo(48, 56)
    found = fill(image.masked_fill(hole, torch.nan), hole, method)
    assert found.value.isfinite().all() and torch.equal(apply(found.sources, image), found.value)
    assert not hole.flatten()[found.sources[hole]].any()


def test_an_empty_hole_gives_the_image_back():
    image, hole = photo(), torch.zeros(1, 1, 64, 72, dtype=torch.bool)
    for method in (*METHODS, "auto"):
        found = fill(image, hole, method)
        assert torch.equal(found.value, image) and found.iterations.item() == 0 and found.converged.all()


def test_an_edge_is_continued():
    x = torch.arange(64.0).expand(64, 64)
    for angle in (0.0, 0.3, 1.1):
        side = ((x - 31.5) * math.cos(angle) + (x.T - 31.5) * math.sin(angle)).sigmoid()[None, None]
        hole = box(64, 64, 22, 22, 20, 20)
        wrong = ((fill(side, hole).value > 0.5) != (side > 0.5)).sum() / 20
        assert wrong < 0.5, angle


@pytest.mark.parametrize("method", ["multiscale", "turned"])
def test_an_arc_is_continued_by_its_mirror_images(method):
    y, x = torch.meshgrid(*(2 * [torch.arange(128.0) - 63.5]), indexing="ij")
    hole = box(128, 128, 52, 52, 24, 24)
    for angle in (0.0, 2.0):
        away = (torch.hypot(x - 45 * math.cos(angle), y - 45 * math.sin(angle)) - 45)[None, None]

        def misplaced(method, away=away):
            """Area on the wrong side, over the length of the arc."""
            wrong = (fill((away / 0.7).sigmoid(), hole, method).value > 0.5) != (away > 0)
            return wrong.sum() / (hole & (away.abs() < 0.5)).sum()

        assert misplaced(method) < 1.2 < misplaced("priority"), angle


def test_a_junction_is_continued():
    y, x = torch.meshgrid(*(2 * [torch.arange(96.0) - 47.5]), indexing="ij")
    bar, stem = (y + 0.3 * x)[None, None], (x - 0.2 * y)[None, None]
    hole = box(96, 96, 36, 36, 24, 24)
    levels = torch.where(bar < 0, 0.0, torch.where(stem < 0, 0.5, 1.0))
    assert ((fill(levels, hole).value - levels).abs() > 0.2).sum() / 36 < 1.5  # 36 pixels of edges in the hole


@pytest.mark.parametrize("rim", [0, 3, -1, -2])
def test_what_was_pasted_is_removed(rim):
    """A hole that is exact, larger, or too small by a rim of the object, which `dilate` includes."""
    truth, (y, x) = photo(96, 100), torch.meshgrid(torch.arange(96.0), torch.arange(100.0), indexing="ij")
    away = torch.hypot(x - 52, y - 45)[None, None]
    image = torch.where(away < 13, torch.tensor([0.0, 1.0, 0.2])[:, None, None], truth)
    value = fill(image, away < 13 + rim, dilate=max(0, -rim)).value
    green = value[:, 1] - value[:, 0] > 0.5
    assert not green.any() and psnr(value, truth, away < 13) > 12.5


# sources


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_the_sources_give_the_value_back_to_the_bit(method, kind):
    image = torch.cat((photo(), photo())).to(kind)
    hole = torch.cat((box(64, 72, 20, 30, 16, 17), box(64, 72, 40, 10, 3, 40)))
    exclude = box(64, 72, 0, 0, 64, 20, b=2)
    missing = image.masked_fill(hole, torch.nan)
    found = fill(missing, hole, method, exclude=exclude)
    again = apply(found.sources, missing)
    assert again.dtype == kind and torch.equal(again, found.value)
    place = torch.arange(64 * 72).reshape(1, 1, 64, 72).expand_as(found.sources)
    assert torch.equal(found.sources[~hole], place[~hole])  # a known pixel is its own
    copied = found.sources[hole & (found.sources >= 0)]
    assert (~(hole | exclude)[:1].flatten() | ~(hole | exclude)[1:].flatten())[copied].all()
    assert (found.sources[1][hole[1]] < 0).all() == (method == "auto")


def test_another_picture_is_filled_by_the_same_copies():
    image, hole = photo(), box(64, 72, 20, 30, 16, 17)
    found = fill(image, hole)
    place = torch.arange(64.0 * 72).reshape(1, 1, 64, 72)
    assert torch.equal(apply(found.sources, place), found.sources.float())
    assert torch.equal(apply(found.sources, 2 * image + 1), 2 * found.value + 1)


def test_a_grown_hole_has_sources_outside_of_it():
    image, hole = photo(), box(64, 72, 24, 30, 12, 12)
    found = fill(image, hole, dilate=2)
    grown = box(64, 72, 22, 28, 16, 16)
    assert not torch.isin(found.sources[hole], torch.arange(64 * 72)[grown.flatten()]).any()
    assert torch.equal(apply(found.sources, image), found.value)


def test_a_gradient_through_the_sources_is_that_of_the_value():
    image, hole = torch.rand(1, 1, 16, 16, dtype=torch.float64, requires_grad=True), box(16, 16, 6, 6, 3, 3)
    weights = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    found = fill(image, hole, size=3)
    (direct,) = torch.autograd.grad((found.value * weights).sum(), image)
    (through,) = torch.autograd.grad((apply(found.sources, image) * weights).sum(), image)
    assert torch.equal(direct, through) and direct[hole].eq(0).all()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (torch.zeros(1, 1, 4, 6, dtype=torch.int64), r"sources: expected one a pixel of the image, \(1, 1, 4, 5\)"),
        (torch.zeros(1, 1, 4, 5), "sources: expected int64 from -1 to 19"),
        (torch.full((1, 1, 4, 5), 20), "sources: expected int64 from -1 to 19"),
        (torch.full((1, 1, 4, 5), -2), "sources: expected int64 from -1 to 19"),
    ],
)
def test_sources_of_another_picture_are_refused(sources, message):
    with pytest.raises(ValueError, match=message):
        apply(sources, torch.rand(1, 3, 4, 5))


# optimality


def search(size=5):
    image, hole = photo(48, 48), box(48, 48, 18, 20, 10, 9)
    patches = list_patches(hole, ~hole, size)
    bases = principal_components(image.masked_fill(hole, 0), patches)
    features = describe(image.masked_fill(hole, 0), patches, bases)
    return image, hole, patches, features, describe_targets(image, patches, bases)


def test_sources_have_no_missing_pixel_and_targets_do():
    hole = box(30, 31, 10, 11, 5, 6)
    patches = list_patches(hole, ~hole, 5)
    windows = torch.nn.functional.unfold(hole.float(), 5).any(1)[0].reshape(26, 27)
    assert windows.sum() == len(patches.targets) and (~windows).sum() == len(patches.sources)
    y, x = patches.targets // 31 - 2, patches.targets % 31 - 2
    assert windows[y, x].all()


def test_the_exact_search_finds_the_least_distance():
    _, _, patches, features, wanted = search()
    nnf, distance = exact_search(wanted, patches.sources, features[patches.sources])
    every = torch.cdist(wanted, features[patches.sources])
    torch.testing.assert_close(distance.sqrt(), every.amin(1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((features[nnf] - wanted).norm(dim=1), every.amin(1), rtol=1e-3, atol=1e-3)


def test_components_keep_the_distances_of_patches():
    image, _, patches, features, _ = search(size=3)  # 27 numbers, 24 of them kept
    windows = torch.nn.functional.unfold(image, 3)[0].mT.reshape(46, 46, -1)
    at = patches.sources[::50]
    around = windows[at // 48 - 1, at % 48 - 1]
    torch.testing.assert_close(torch.cdist(features[at], features[at]), torch.cdist(around, around), atol=0.1, rtol=0.1)


def test_patch_match_comes_close_to_the_exact_search():
    _, _, patches, features, wanted = search()
    least = exact_search(wanted, patches.sources, features[patches.sources])[1].sum()
    nnf, generator, before = torch.arange(48 * 48), torch.Generator().manual_seed(0), torch.inf
    for _ in range(8):
        found, distance = patch_match(wanted, features, patches, nnf, generator)
        nnf[patches.targets] = found
        assert patches.is_source[found].all() and distance.sum() <= before
        before = distance.sum()
    assert least * 0.999 <= before < 1.3 * least


def test_priority_follows_the_edge_and_chance_does_not():
    x = torch.arange(64.0).expand(64, 64)
    step = (x > 31).float()[None, None]
    hole = box(64, 64, 12, 22, 40, 20)
    errors = [(fill(step, hole, method).value - step).abs().sum() / 40 for method in ("priority", "random")]
    assert errors[0] == 0 < errors[1]


# symmetry


@pytest.mark.parametrize("method", METHODS)
def test_colours_may_be_scaled_and_moved(method):
    image, hole = photo(dtype=torch.float64), box(64, 72, 20, 30, 16, 17)
    value = fill(image, hole, method).value
    torch.testing.assert_close(fill(4 * image - 1, hole, method).value, 4 * value - 1)


def test_a_generator_makes_it_reproducible():
    image, hole = photo(), box(64, 72, 20, 30, 16, 17)
    one, again, other = (
        inpaint_patches(image, hole, method="random", generator=torch.Generator().manual_seed(k)).value
        for k in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def grass(h=96, w=100):
    from skimage import data

    return torch.from_numpy(data.grass()[:h, :w]).float()[None, None] / 255


@pytest.mark.parametrize("method", METHODS)
def test_several_fillings_are_different_ones_of_the_same_hole(method):
    image, hole = grass(), box(96, 100, 30, 36, 30, 28)
    several, again, single = (
        inpaint_patches(image, hole, method=method, n=n, generator=torch.Generator().manual_seed(5))
        for n in (3, 3, None)
    )
    for part, same, one in zip(several, again, single, strict=True):
        assert part.shape == (1, 3, *one.shape[1:]) and torch.equal(part, same) and torch.equal(part[:, 0], one)
    for k in range(3):
        assert torch.equal(apply(several.sources[:, k], image), several.value[:, k])
        assert torch.equal(several.value[:, k].masked_fill(hole, 0), image.masked_fill(hole, 0))
    apart = torch.cdist(several.value[0].flatten(1), several.value[0].flatten(1)) / hole.sum().sqrt()
    assert apart[~torch.eye(3, dtype=torch.bool)].min() > 0.2 * image.std()


def test_several_fillings_of_an_image_do_not_depend_on_its_batch():
    image, hole = torch.cat((grass(), grass().flip(-1))), box(96, 100, 30, 36, 30, 28, b=2)
    several = partial(inpaint_patches, n=2)
    together = several(image, hole, generator=torch.Generator().manual_seed(5))
    for i in range(2):
        alone = several(image[i : i + 1], hole[i : i + 1], generator=torch.Generator().manual_seed(5))
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[i])


def test_what_leaves_no_choice_is_filled_alike():
    stripes = torch.tensor([0.0, 1.0]).repeat(24).expand(1, 1, 40, 48)
    found = inpaint_patches(stripes, box(40, 48, 12, 14, 12, 13), n=3)
    assert torch.equal(found.value, stripes[:, None].expand(1, 3, 1, 40, 48))


# batch


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_alone_is_together_and_nothing_is_edited(method):
    image = torch.cat(
        (photo(96, 100), photo(96, 100).flip(-1), photo(96, 100).mT[..., :96, :96].repeat(1, 1, 1, 2)[..., :100])
    )
    hole = torch.cat((box(96, 100, 30, 30, 30, 33), box(96, 100, 10, 0, 3, 90), box(96, 100, 50, 60, 12, 40)))
    before = image.clone()
    together = fill(image, hole, method)
    for i in range(3):
        alone = fill(image[i : i + 1], hole[i : i + 1], method)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[i])
    assert torch.equal(image, before)


def test_large_and_small_holes_are_searched_in_one_batch(monkeypatch):
    monkeypatch.setattr("tavtorch.image.patches.nearest.EXACT", 100_000)
    image = torch.cat((photo(96, 100), photo(96, 100).flip(-1)))
    hole = torch.cat((box(96, 100, 30, 30, 30, 33), box(96, 100, 40, 40, 3, 3)))
    together = fill(image, hole)
    for i in range(2):
        assert torch.equal(fill(image[i : i + 1], hole[i : i + 1]).value[0], together.value[i])


# regions


def wide():
    """A photograph with two holes at its ends, the second one wider."""
    image = photo(48, 220)
    return image, box(48, 220, 20, 30, 12, 13) | box(48, 220, 24, 160, 16, 20)


@pytest.mark.parametrize("method", METHODS)
def test_holes_far_apart_are_filled_each_for_itself(method):
    image, hole = wide()
    found = fill(image, hole, method, search=24)
    for left, right in ((6, 67), (136, 204)):
        part = fill(image[..., left:right], hole[..., left:right], method, search="all")
        assert torch.equal(found.value[..., left:right], part.value)
        assert (part.iterations <= found.iterations).all() and (part.gap <= found.gap).all()
    column = found.sources[hole] % 220
    assert ((column >= 6) & (column < 67) | (column >= 136) & (column < 204)).all()
    assert torch.equal(apply(found.sources, image), found.value)


def test_the_area_that_is_worked_on_follows_the_holes():
    for n in (1000, 4000):
        hole = box(n, n, 300, 310, 40, 50) | box(n, n, 320, 380, 4, 9) | box(n, n, 700, 900, 5, 6)
        regions = list_regions(hole, ~hole, 7, 100)
        assert regions == [Region(0, 200, 210, 440, 489), Region(0, 600, 800, min(805, n), min(1006, n))]


def test_near_holes_are_filled_together():
    holes = box(400, 2000, 100, 300, 20, 20), box(400, 2000, 110, 390, 20, 20)
    (region,) = list_regions(holes[0] | holes[1], ~(holes[0] | holes[1]), 7, 50)
    assert all(region.of(hole).sum() == hole.sum() for hole in holes)


def test_every_missing_pixel_is_in_a_region():
    hole = (torch.rand(3, 1, 500, 700) < 2e-5) & (torch.arange(3) < 2)[:, None, None, None]
    regions = list_regions(hole, ~hole, 7, 20)
    seen = torch.zeros_like(hole)
    for region in regions:
        region.of(seen).fill_(True)
    assert (seen | ~hole).all() and not seen[2].any() and sum(region.area for region in regions) < 0.9 * 700_000


def test_where_no_source_is_near_all_of_the_picture_is_searched():
    image, hole = wide()
    exclude = box(48, 220, 0, 0, 48, 130)
    found, whole = (fill(image, hole, exclude=exclude, search=search) for search in (24, "all"))
    assert (found.sources[hole] % 220 >= 130).all() and torch.equal(found.value, whole.value)


def test_the_default_reaches_as_far_as_a_hole_is_large():
    hole = box(1500, 3000, 600, 1000, 400, 900)
    (region,) = list_regions(hole, ~hole, 7, "near")
    assert region == Region(0, 0, 400, 1500, 2500)
    assert list_regions(hole, ~hole, 7, "all") == [Region(0, 0, 0, 1500, 3000)]


# precision


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_half_precision_chooses_the_copies_of_single_and_so_does_autocast(method):
    image = torch.cat((photo(), photo())).bfloat16()
    hole = torch.cat((box(64, 72, 20, 30, 16, 17), box(64, 72, 40, 10, 3, 40)))
    single = fill(image.float(), hole, method).value
    assert torch.equal(fill(image, hole, method).value, single.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fill(image.float(), hole, method).value, single)


# gradient


@pytest.mark.parametrize("method", METHODS)
def test_gradient_goes_to_the_pixels_that_were_copied(method):
    image, hole = torch.rand(1, 1, 16, 16, dtype=torch.float64, requires_grad=True), box(16, 16, 6, 6, 3, 3)
    assert torch.autograd.gradcheck(lambda u: fill(u, hole, method, size=3).value, image, fast_mode=True)
    (slope,) = torch.autograd.grad(fill(image, hole, method, size=3).value[hole].sum(), image)
    assert slope.sum() == 9 and slope[hole].eq(0).all()


# options


def test_a_grown_hole_removes_the_rim():
    image, hole = photo(), box(64, 72, 24, 30, 12, 12)
    image[..., 23:37, 29:43] = 2.0  # the object is a pixel larger than the hole
    value = fill(image, hole, dilate=1).value
    assert value[..., 23:37, 29:43].max() <= 1.0
    assert torch.equal(value[..., :23, :], image[..., :23, :])


def test_thin_holes_are_filled_smoothly_and_wide_ones_by_patches():
    image = torch.cat((photo(), photo()))
    hole = torch.cat((box(64, 72, 30, 5, 3, 60), box(64, 72, 20, 20, 20, 20)))
    value = fill(image, hole, "auto").value
    torch.testing.assert_close(value[:1], inpaint_harmonic(image[:1], hole[:1], order=2).value)
    assert torch.equal(value[1:], fill(image[1:], hole[1:]).value)


def test_no_steps_still_fill_the_hole():
    image, hole = photo(), box(64, 72, 24, 30, 12, 12)
    assert torch.isin(fill(image, hole, stop=Stop(max_iter=0)).value[:, :1][hole], image[:, :1][~hole]).all()


# reference


def test_copies_keep_the_texture_that_diffusion_loses():
    brick = torch.from_numpy(skimage.data.brick()[100:228, 100:228].copy())[None, None] / 255
    hole = box(128, 128, 40, 44, 34, 30)
    smooth, copied = inpaint_harmonic(brick, hole).value, fill(brick, hole).value

    def energy(u):
        return (u.diff(dim=-1)[..., :-1, :].square() + u.diff(dim=-2)[..., :-1].square())[hole[..., :-1, :-1]].sum()

    assert energy(smooth) < 0.4 * energy(brick) < 0.7 * energy(copied) < 1.3 * energy(brick)
    assert psnr(copied, brick, hole) > psnr(smooth, brick, hole)


def test_copies_by_index():
    image = torch.rand(2, 3, 4, 5)
    index = torch.randint(20, (2, 20))
    expected = torch.stack([u.flatten(1)[:, i].reshape(3, 4, 5) for u, i in zip(image, index, strict=True)])
    assert torch.equal(copy_pixels(image, index), expected)


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "best"}, "method: expected one of random, priority, multiscale, turned or auto"),
        ({"size": 4}, "size: expected an odd number"),
        ({"search": 0}, "search: expected 'near', 'all' or a whole number of pixels"),
        ({"search": "far"}, "search: expected 'near', 'all' or a whole number of pixels"),
        ({"size": 1}, "size: expected an odd number"),
        ({"n": 0}, "n: expected a whole number of fillings >= 1"),
        ({"size": 31}, "size: expected at most the 24 pixels"),
        ({"dilate": -1}, "dilate"),
        ({"dilate": 100}, "hole: covers a whole image"),
        ({"hole": torch.ones(1, 1, 24, 30, dtype=torch.bool)}, "hole: covers a whole image"),
        ({"hole": torch.zeros(1, 1, 24, 31, dtype=torch.bool)}, "hole: expected a bool mask"),
        ({"hole": torch.zeros(1, 1, 24, 30)}, "hole: expected a bool mask"),
        ({"hole": (torch.arange(30) % 5 == 0).expand(1, 1, 24, 30)}, "hole: leaves no whole patch"),
        ({"exclude": torch.ones(1, 1, 24, 30, dtype=torch.bool)}, "hole: leaves no whole patch"),
        ({"exclude": torch.ones(1, 1, 24, 29, dtype=torch.bool)}, "exclude: expected a bool mask"),
        ({"image": torch.full((1, 2, 24, 30), torch.nan)}, "image: some pixels are NaN"),
        ({"image": torch.zeros(1, 2, 24, 30, dtype=torch.uint8)}, "image: expected floating point"),
        ({"image": torch.zeros(0, 2, 24, 30), "hole": torch.zeros(0, 1, 24, 30, dtype=torch.bool)}, "image"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    arguments = {"image": torch.rand(1, 2, 24, 30), "hole": box(24, 30, 8, 8, 5, 5), **change}
    with pytest.raises(ValueError, match=message):
        inpaint_patches(**arguments)
