"""Degradations, their mixes and the generated pictures: same seed same bytes, the laws they state, and the inputs they refuse."""

import hashlib
import inspect
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal
from typer.testing import CliRunner

from mperceiver.cli import app
from mperceiver.data.raw.generated import GENERATORS, dead_leaves
from mperceiver.degradations import DEGRADATIONS, PLACES, common
from mperceiver.degradations.blur import disc_psf, motion_psf
from mperceiver.degradations.common import convolve, recorded_maps, scatter, segment_kernel
from mperceiver.degradations.display import orders_psf
from mperceiver.degradations.mix import degrade, draw_parameters, draw_recipe, render_layers, render_uint8
from mperceiver.seeds import picture_seed

NAMES = sorted(DEGRADATIONS)
DRAWS_NOTHING = {"defocus", "gaussian-blur", "jpeg", "demosaic"}
# Values just outside the ranges that the functions allow.
OUT_OF_RANGE = [
    ("haze", {"beta": -0.1}),
    ("haze", {"airlight": 1.5}),
    ("snow", {"cover": 2}),
    ("snow", {"opacity": float("nan")}),
    ("gaussian-noise", {"sigma_255": -1}),
    ("rain", {"density": 0.2}),
    ("rain", {"angle_deg": 90}),
    ("motion-blur", {"length_px": 500}),
    ("motion-blur", {"anxiety": -0.1}),
    ("defocus", {"radius_px": -1}),
    ("real-noise", {"shot": 1}),
    ("raindrop", {"cover": 1}),
    ("raindrop", {"radius_px": "10"}),
    ("low-light", {"gamma": 0.5}),
    ("gaussian-blur", {"sigma_px": -1}),
    ("jpeg", {"quality": 0}),
    ("jpeg", {"quality": 10.5}),
    ("jpeg", {"quality": True}),
    ("underwater", {"water_type": 10}),
    ("underwater", {"distance_m": -1}),
    ("demosaic", {"pattern": "RGBG"}),
    ("demosaic", {"fill": "nearest"}),
    ("moire", {"pitch_px": 0}),
    ("moire", {"strength": 1.1}),
    ("under-display", {"panel": "lcd"}),
    ("under-display", {"open_share": 0}),
    ("motion-blur", {"exposure": 0}),
    ("gaussian-blur", {"kernel_px": 20}),
    ("gaussian-noise", {"common_seed": -1}),
    ("raindrop", {"count": 0}),
    ("raindrop", {"reference_px": 1}),
    ("snow", {"reference_px": 1}),
]


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int = 64, width: int = 64, seed: int = 7) -> np.ndarray:
    return np.ascontiguousarray(dead_leaves(seeded(seed), max(height, width))[:height, :width])


def grey(side: int = 64, level: float = 0.5) -> np.ndarray:
    return np.full((side, side, 3), level, np.float32)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a.astype(float) - b.astype(float)) ** 2)))


def is_picture(image: np.ndarray, shape: tuple) -> bool:
    return image.dtype == np.float32 and image.shape == shape and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_and_the_input_is_left_alone(name):
    image = picture(48, 80)
    before = image.copy()
    one, two = DEGRADATIONS[name].apply(image, seeded(3)), DEGRADATIONS[name].apply(image, seeded(3))
    assert one.tobytes() == two.tobytes()
    assert is_picture(one, image.shape)
    assert not np.array_equal(one, image), "the default numbers do something"
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", sorted(set(NAMES) - DRAWS_NOTHING))
def test_another_seed_gives_another_picture(name):
    image = picture()
    assert not np.array_equal(DEGRADATIONS[name].apply(image, seeded(1)), DEGRADATIONS[name].apply(image, seeded(2)))


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(height=st.integers(16, 90), width=st.integers(16, 90), seed=st.integers(0, 2**64 - 1))
def test_any_size_any_seed(height, width, seed):
    image = seeded(seed).random((height, width, 3), np.float32)
    for degradation in DEGRADATIONS.values():
        assert is_picture(degradation.apply(image, seeded(seed)), image.shape)


@pytest.mark.parametrize("stamped_per_pixel", [0.0, np.inf])
def test_scattered_kernels_are_a_convolution_of_points(monkeypatch, stamped_per_pixel):
    monkeypatch.setattr(common, "STAMPED_PER_PIXEL", stamped_per_pixel)
    kernel = segment_kernel(9.0, 2.0, 30.0)
    height, width, k = 40, 70, kernel.shape[0]
    scattered = scatter(seeded(3), height, width, 25.0, kernel)
    rng, shape = seeded(3), (height + k - 1, width + k - 1)
    n = rng.poisson(25.0 * shape[0] * shape[1] / (height * width))
    points = np.zeros(shape)
    np.add.at(points.ravel(), rng.integers(0, points.size, n), rng.uniform(0.4, 1, n))
    expected = np.clip(signal.convolve2d(points, kernel, mode="valid"), 0, 1)
    assert 0.1 < (expected > 0).mean() < 0.9, "neither empty nor full"
    np.testing.assert_allclose(scattered, expected, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_black_and_white_stay_in_range(name, level):
    assert is_picture(DEGRADATIONS[name].apply(grey(20, level), seeded()), (20, 20, 3))


@pytest.mark.parametrize("name", NAMES)
def test_border_refuses_what_is_not_a_picture(name):
    degradation = DEGRADATIONS[name].apply
    with pytest.raises(ValueError, match=rf"{name}.*float64.*float32"):
        degradation(np.zeros((32, 32, 3)), seeded())
    with pytest.raises(ValueError, match=r"\(3, 32, 32\)"):
        degradation(np.zeros((3, 32, 32), np.float32), seeded())
    with pytest.raises(ValueError, match=r"\(15, 32, 3\)"):
        degradation(np.zeros((15, 32, 3), np.float32), seeded())
    with pytest.raises(ValueError, match=r"\[-0.5, 2\].*\[0, 1\]"):
        degradation(np.linspace(-0.5, 2, 3072, dtype=np.float32).reshape(32, 32, 3), seeded())
    with pytest.raises(ValueError, match=r"nan"):
        degradation(grey(32, np.nan), seeded())
    with pytest.raises(TypeError, match="list"):
        degradation([[0.0]], seeded())


@pytest.mark.parametrize(("name", "numbers"), OUT_OF_RANGE)
def test_numbers_out_of_range_are_named(name, numbers):
    (key,) = numbers
    with pytest.raises(ValueError, match=rf"{name}: {key} is .*allowed is"):
        DEGRADATIONS[name].apply(grey(), seeded(), **numbers)


def test_numbers_are_keyword_only_with_defaults():
    for degradation in DEGRADATIONS.values():
        image, rng, *numbers = inspect.signature(degradation.apply).parameters.values()
        assert (image.name, rng.name) == ("image", "rng")
        assert all(n.kind is n.KEYWORD_ONLY and n.default is not n.empty for n in numbers)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("haze", {"beta": 0}),
        ("snow", {"cover": 0}),
        ("gaussian-noise", {"sigma_255": 0}),
        ("rain", {"density": 0}),
        ("motion-blur", {"length_px": 0}),
        ("defocus", {"radius_px": 0, "sigma_px": 0}),
        ("real-noise", {"shot": 0, "read": 0}),
        ("gaussian-blur", {"sigma_px": 0}),
        ("low-light", {"alpha": 1, "light": 1, "gamma": 1, "noise_255": 0}),
        ("underwater", {"distance_m": 0, "below_surface_m": 0}),
        ("gaussian-blur", {"sigma_px": 2, "kernel_px": 1}),
        ("motion-blur", {"length_px": 0, "exposure": 0.1}),
    ],
)
def test_none_of_it_is_the_identity(name, numbers):
    image = picture()
    np.testing.assert_allclose(DEGRADATIONS[name].apply(image, seeded(), **numbers), image, atol=2e-6)


def test_haze_follows_its_law():
    image = picture()
    out = DEGRADATIONS["haze"].apply(image, seeded(), beta=1.2, airlight=0.8, depth=np.full((64, 64), 0.5))
    t = np.exp(-1.2 * 0.5)
    np.testing.assert_allclose(out, image * t + 0.8 * (1 - t), atol=1e-6)
    with pytest.raises(ValueError, match=r"depth is \(2, 2\)"):
        DEGRADATIONS["haze"].apply(image, seeded(), depth=np.zeros((2, 2)))


def test_low_light_follows_its_law_and_darkens():
    image = picture()
    out = DEGRADATIONS["low-light"].apply(image, seeded(), alpha=0.9, light=0.6, gamma=3.0, noise_255=0)
    np.testing.assert_allclose(out, 0.6 * (0.9 * image) ** 3, atol=1e-6)
    assert (out <= image).all()
    assert DEGRADATIONS["low-light"].apply(image, seeded()).mean() < 0.6 * image.mean()


@pytest.mark.parametrize("name", ["rain", "snow"])
def test_rain_and_snow_only_brighten(name):
    image = picture()
    out = DEGRADATIONS[name].apply(image, seeded())
    assert (out >= image).all()
    assert out.mean() > image.mean() + 0.01


@pytest.mark.parametrize("cover", [0.05, 0.3])
def test_snow_covers_about_what_is_asked(cover):
    mask = DEGRADATIONS["snow"].apply(grey(256, 0), seeded(), cover=cover, opacity=1.0)[..., 0]
    assert 0.4 * cover < mask.mean() < 1.2 * cover  # flakes are soft, dim and over one another


@pytest.mark.parametrize("angle_deg", [-40, 0, 40])
def test_rain_falls_along_its_angle(angle_deg):
    out = DEGRADATIONS["rain"].apply(grey(128, 0), seeded(), angle_deg=angle_deg, density=0.002)[..., 0]
    gy, gx = np.gradient(out)
    # Structure tensor: streaks run across the strongest gradient.
    across = 0.5 * np.arctan2(2 * (gx * gy).sum(), (gx**2).sum() - (gy**2).sum())
    assert np.rad2deg(across) == pytest.approx(-angle_deg, abs=8)


def test_raindrop_changes_only_some_pixels():
    image = picture(128, 128)
    touched = np.abs(DEGRADATIONS["raindrop"].apply(image, seeded(), cover=0.15) - image).max(-1) > 1e-3
    assert 0.03 < touched.mean() < 0.3


def test_gaussian_noise_has_the_deviation_asked():
    out = DEGRADATIONS["gaussian-noise"].apply(grey(256), seeded(), sigma_255=25)
    assert (out - 0.5).std() * 255 == pytest.approx(25, rel=0.01)
    assert psnr(out, grey(256)) == pytest.approx(20.17, abs=0.3)
    assert abs(np.corrcoef(out[..., 0].ravel(), out[..., 1].ravel())[0, 1]) < 0.02


def test_real_noise_grows_with_light_and_is_grainy():
    def noise(level, **numbers):
        linear = np.float32(level)
        display = 1.055 * linear ** (1 / 2.4) - 0.055
        out = DEGRADATIONS["real-noise"].apply(grey(192, display), seeded(), **numbers)
        return ((out + 0.055) / 1.055) ** 2.4 - linear

    # In linear light the variance of green is shot * x + read^2.
    green = noise(0.3, shot=0.004, read=0.02, grain_px=0.5)[..., 1]
    assert green.std() == pytest.approx(np.sqrt(0.004 * 0.3 + 0.02**2), rel=0.03)
    assert np.corrcoef(green[:, :-1].ravel(), green[:, 1:].ravel())[0, 1] > 0.1
    assert noise(0.4, shot=0.01, read=0.0)[..., 1].std() > 1.8 * noise(0.1, shot=0.01, read=0.0)[..., 1].std()
    # Red and blue carry their white balance gain.
    plain = noise(0.3, shot=0.0, read=0.02, red_gain=2.0, blue_gain=1.0)
    assert plain[..., 0].std() == pytest.approx(2 * plain[..., 2].std(), rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_point_spread_functions_sum_to_one_and_do_not_shift(seed):
    rng = seeded(seed)
    for psf in (motion_psf(rng, length_px=20, anxiety=0.008), disc_psf(radius_px=1 + seed / 2, sigma_px=0.4)):
        k = psf.shape[0]
        assert k % 2 == 1
        assert psf.shape == (k, k)
        assert psf.min() >= 0
        assert psf.sum() == pytest.approx(1)
        place = np.arange(k) - k // 2
        assert (psf.sum(0) @ place, psf.sum(1) @ place) == pytest.approx((0, 0), abs=0.02)


def test_calm_hand_draws_a_line_of_its_length():
    psf = motion_psf(seeded(2), length_px=24, anxiety=0)
    place = np.arange(psf.shape[0]) - psf.shape[0] // 2
    spread = psf.sum(0) @ place**2 + psf.sum(1) @ place**2
    assert np.sqrt(12 * spread) == pytest.approx(24, rel=0.05)  # a uniform line has variance length^2 / 12


def test_convolution_agrees_with_the_plain_sum():
    image, psf = picture(24, 31), seeded().random((5, 5))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    wanted = sum(psf[4 - i, 4 - j] * padded[i : i + 24, j : j + 31] for i in range(5) for j in range(5))
    np.testing.assert_allclose(convolve(image, psf), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["motion-blur", "defocus", "gaussian-blur"])
def test_blur_keeps_the_mean_and_takes_detail(name):
    image = picture(96, 96)
    out = DEGRADATIONS[name].apply(image, seeded())
    assert out.mean() == pytest.approx(image.mean(), abs=5e-3)
    assert np.abs(np.diff(out, axis=0)).mean() < 0.8 * np.abs(np.diff(image, axis=0)).mean()
    np.testing.assert_allclose(DEGRADATIONS[name].apply(grey(), seeded()), grey(), atol=1e-5)


def test_jpeg_quality_orders_pictures():
    image = picture(96, 96)
    scores = [psnr(DEGRADATIONS["jpeg"].apply(image, seeded(), quality=q), image) for q in (5, 10, 40, 90)]
    assert scores == sorted(scores)


def test_underwater_takes_red_first():
    out = DEGRADATIONS["underwater"].apply(grey(64, 0.6), seeded(), water_type=3, backscatter=0.5).mean((0, 1))
    assert out[0] < out[1] < out[2]


def test_underwater_follows_its_law():
    image = picture()
    out = DEGRADATIONS["underwater"].apply(
        image, seeded(), water_type=7, distance_m=4, below_surface_m=2, backscatter=0.6, depth=np.full((64, 64), 0.5)
    )
    left = np.array([0.67, 0.73, 0.67])  # Jerlov's coastal type 3
    t, light = left ** (4 * (0.1 + 0.9 * 0.5)), (left / 0.73) ** 2
    np.testing.assert_allclose(out, light * (image * t + 0.6 * (1 - t)), atol=1e-6)


def test_demosaic_keeps_the_measured_colours():
    image = picture(33, 50)
    out = DEGRADATIONS["demosaic"].apply(image, seeded())
    np.testing.assert_array_equal(out[0::2, 0::2, 0], image[0::2, 0::2, 0])
    np.testing.assert_array_equal(out[0::2, 1::2, 1], image[0::2, 1::2, 1])
    np.testing.assert_array_equal(out[1::2, 1::2, 2], image[1::2, 1::2, 2])
    np.testing.assert_allclose(DEGRADATIONS["demosaic"].apply(grey(), seeded()), grey(), atol=1e-6)


def bayer(image: np.ndarray, **numbers) -> np.ndarray:
    return DEGRADATIONS["demosaic"].apply(image, seeded(), **numbers)


@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_each_pattern_keeps_what_it_measures(pattern):
    image = picture(34, 51)
    zeros = bayer(image, pattern=pattern, fill="zeros")
    assert np.array_equal((zeros > 0).sum(-1), np.minimum(1, (zeros > 0).any(-1)))  # one colour a pixel
    for place, colour in enumerate("RGB".index(letter) for letter in pattern):
        at = np.s_[place // 2 :: 2, place % 2 :: 2, colour]
        for fill in ("zeros", "bilinear", "malvar"):
            np.testing.assert_array_equal(bayer(image, pattern=pattern, fill=fill)[at], image[at])
    assert psnr(bayer(image, pattern=pattern, fill="malvar"), image) > psnr(bayer(image, pattern=pattern), image)


def test_malvar_is_exact_where_there_is_no_curvature():
    y, x = np.mgrid[0:32, 0:40] / 100
    ramp = np.repeat((0.1 + x + 0.5 * y)[..., None], 3, -1).astype(np.float32)
    np.testing.assert_allclose(bayer(ramp, fill="malvar")[4:-4, 4:-4], ramp[4:-4, 4:-4], atol=1e-6)
    # Golden, by hand: a lone green of 0.8 among zeros lends 2/8 of it to the red pixels beside it.
    image = np.zeros((16, 16, 3), np.float32)
    image[8, 9, 1] = 0.8
    out = bayer(image, fill="malvar")
    assert out[8, 8, 1] == out[8, 10, 1] == out[7, 9, 1] == pytest.approx(0.2)
    assert out[8, 9].tolist() == pytest.approx([0.5, 0.8, 0.5])  # 5/8 of it for red and blue in its own place


def test_moire_has_fringes_where_the_pitch_is_near_the_mosaics():
    image = grey(128, 0.5)

    def fringes(**numbers) -> float:
        """Standard deviation of the picture smoothed over 8 px, in which neither grid is left."""
        out = DEGRADATIONS["moire"].apply(image, seeded(), **numbers)
        assert out.mean() == pytest.approx(0.5, abs=0.02)  # light is moved, not taken
        return out.reshape(16, 8, 16, 8, 3).mean((1, 3)).std((0, 1)).max()

    assert fringes(pitch_px=2.05) > 3 * fringes(pitch_px=2.9)
    assert fringes(pitch_px=2.05) > 2 * fringes(pitch_px=2.05, blur_px=1)
    np.testing.assert_allclose(DEGRADATIONS["moire"].apply(image, seeded(), strength=0), image, atol=1e-6)
    colours = DEGRADATIONS["moire"].apply(image, seeded(), pitch_px=2.05).reshape(16, 8, 16, 8, 3).mean((1, 3))
    assert np.ptp(colours, axis=-1).max() > 0.05  # they have colours


def test_display_spreads_light_across_its_slits_and_dims_it():
    point = np.zeros((65, 65, 3), np.float32)
    point[32, 32] = 1
    numbers = {
        "light": 1.0,
        "warmth": 0.0,
        "shot": 0.0,
        "read": 0.0,
        "order_px": 6.0,
        "open_share": 0.3,
        "spot_px": 0.5,
    }
    slits, grid = (DEGRADATIONS["under-display"].apply(point, seeded(), panel=p, **numbers) for p in ("toled", "poled"))
    assert slits[32, 38, 1] > 0.2 > 1e-3 > slits[38, 32, 1]  # the first order of green is 6 px beside, not above
    assert grid[32, 38, 1] == pytest.approx(grid[38, 32, 1]) and grid[38, 38, 1] > 0.1
    assert slits[32, 39, 0] > slits[32, 39, 2]  # red goes farther than blue
    plain = {"shot": 0.0, "read": 0.0, "panel": "poled"}
    out = DEGRADATIONS["under-display"].apply(grey(), seeded(), light=0.2, warmth=0.5, **plain)
    linear = ((0.5 + 0.055) / 1.055) ** 2.4
    wanted = [1.055 * (linear * 0.2 * share) ** (1 / 2.4) - 0.055 for share in (1, 0.75, 0.5)]
    np.testing.assert_allclose(out[30, 30], wanted, atol=1e-4)
    for order_px, share in ((0, 1), (2.3, 0.21), (7.0, 0.5)):
        psf = orders_psf(order_px, share, 0.7)
        assert psf.sum() == pytest.approx(1) and psf.min() >= 0 and np.allclose(psf, psf[::-1])


def test_a_common_seed_is_restormers_noise():
    noisy = DEGRADATIONS["gaussian-noise"].apply(grey(), seeded(1), sigma_255=15, common_seed=0)
    np.random.seed(0)
    np.testing.assert_allclose(noisy, grey() + np.random.normal(0, 15 / 255, grey().shape), atol=1e-6)
    assert np.array_equal(noisy, DEGRADATIONS["gaussian-noise"].apply(grey(), seeded(2), sigma_255=15, common_seed=0))


def test_a_shorter_exposure_draws_the_path_less_far():
    for exposure in (0.1, 0.5, 1):
        psf = motion_psf(seeded(4), length_px=60, anxiety=0, exposure=exposure)
        place = np.arange(psf.shape[0]) - psf.shape[0] // 2
        spread = psf.sum(0) @ place**2 + psf.sum(1) @ place**2
        assert psf.sum() == pytest.approx(1) and np.sqrt(12 * spread) == pytest.approx(60 * exposure, abs=1)


def test_the_kernel_of_gaussian_blur_can_be_cut():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    out = DEGRADATIONS["gaussian-blur"].apply(point, seeded(), sigma_px=5, kernel_px=21)
    assert out.sum() == pytest.approx(3, rel=1e-5) and out[20, 30, 0] > 0 == out[20, 31, 0] == out[9, 20, 0]


@pytest.mark.parametrize(("sigma_px", "kernel_px"), [(1.2, None), (5.0, 21), (50.0, None), (2.0, 401), (0.0, 21)])
def test_gaussian_blur_is_scipys(sigma_px, kernel_px):
    """Also where the kernel is larger than the picture, which is then mirrored more than once."""
    image = picture()[:17, :33]
    radius = int(4 * sigma_px + 0.5) if kernel_px is None else kernel_px // 2
    expected = ndimage.gaussian_filter(image, (sigma_px, sigma_px, 0), mode="reflect", radius=(radius, radius, 0))
    out = DEGRADATIONS["gaussian-blur"].apply(image, seeded(), sigma_px=sigma_px, kernel_px=kernel_px)
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["raindrop", "snow"])
def test_sizes_can_grow_with_the_picture(name):
    numbers = {"raindrop": {"count": 12, "radius_px": 12.0}, "snow": {"cover": 0.1, "radius_px": 4.0}}[name]

    def masks(side: int, **more) -> np.ndarray:
        image = grey(side)
        return render_layers(image, draw_recipe([(name, numbers | more)], 3)).layers[f"1-{name}-mask"]

    small, large, same = masks(96, reference_px=96), masks(288, reference_px=96), masks(96)
    assert np.array_equal(small, same)
    shares = (small > 0.5).mean(), (large > 0.5).mean()
    assert shares[1] == pytest.approx(shares[0], rel=0.5)
    sharp = [np.abs(np.diff(mask, axis=0)).sum() / (mask > 0.5).sum() for mask in (small, large)]
    assert sharp[1] < 0.6 * sharp[0]  # fewer and larger: less outline to the area


def test_opencv_writes_the_same_jpeg():
    import cv2

    image = np.round(picture(96, 120) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 10])
    ours = DEGRADATIONS["jpeg"].apply(image.astype(np.float32) / np.float32(255), seeded(), quality=10)
    assert np.array_equal(np.round(ours * 255).astype(np.uint8), cv2.imdecode(data, 1)[..., ::-1])


def test_the_recipe_says_whether_depth_was_given():
    image = picture()
    near, far = np.zeros((64, 64)), np.ones((64, 64))
    haze = DEGRADATIONS["haze"].apply
    assert np.array_equal(haze(image, seeded(), depth=near), image)
    assert haze(image, seeded(), beta=5, depth=far).std() < haze(image, seeded(), beta=1, depth=far).std()
    depth = render_layers(image, draw_recipe([("haze", {})], 1)).layers["1-haze-depth"]
    assert depth.shape == (64, 64) and 0 <= depth.min() < depth.max() <= 1
    assert depth[:16].mean() > depth[-16:].mean()  # far above, near below
    assert draw_recipe([("haze", {})], 1)["layers"][0]["depth"] == "analytic"


def test_one_of_several_is_drawn_and_recorded():
    spec = [("blur", {"one_of": {"defocus": {"radius_px": [1, 3]}, "gaussian-blur": {"sigma_px": [0.5, 2.0]}}})]
    names = [draw_recipe(spec, seed)["layers"][0]["name"] for seed in range(200)]
    assert 70 < names.count("defocus") < 130 and set(names) == {"defocus", "gaussian-blur"}
    out, recipe = degrade(picture(), spec, 4)
    assert np.array_equal(render_uint8(picture(), recipe), out) and list(recipe["layers"][0]) == [
        "name",
        "numbers",
        "seed",
    ]
    with pytest.raises(ValueError, match="blur: one_of is"):
        draw_recipe([("blur", {"one_of": ["defocus"]})], 0)


def test_maps_are_recorded_only_inside_the_block():
    image = picture(48, 48)
    recipe = draw_recipe([("rain", {}), ("snow", {}), ("motion-blur", {}), ("defocus", {})], 2)
    layers = render_layers(image, recipe).layers
    assert list(layers) == ["1-rain-streaks", "2-snow-mask", "3-motion-blur-psf", "4-defocus-psf"]
    assert all(array.dtype == np.float32 for array in layers.values())
    assert layers["3-motion-blur-psf"].sum() == pytest.approx(1, abs=1e-5)
    with recorded_maps() as maps:
        pass
    DEGRADATIONS["rain"].apply(image, seeded())
    assert maps == {}


def test_the_verb_lists_degradations_and_explains_their_parameters():
    listed = CliRunner().invoke(app, ["degradations"], env={"COLUMNS": "200"}).stdout
    assert all(name in listed for name in NAMES) and "beta: 1.5" in listed
    explained = CliRunner().invoke(app, ["degradations", "haze"]).stdout
    assert explained.startswith("haze (scene)\n\nAtmospheric scattering")
    assert "beta: scattering per unit depth" in explained and "beta: a number in [0, 5]" in explained
    unknown = CliRunner().invoke(app, ["degradations", "fog"])
    assert unknown.exit_code == 1 and "unknown degradation 'fog'; the degradations are" in unknown.stderr


def test_every_degradation_has_a_place():
    assert {degradation.place for degradation in DEGRADATIONS.values()} == set(PLACES)


def test_draw_keeps_to_its_ranges_and_to_plain_numbers():
    spec = {"whole": [2, 4], "real": [0.5, 1], "fixed": 3, "chosen": {"choices": [0.1, 7]}}
    draws = [draw_parameters(spec, seeded(i)) for i in range(200)]
    assert {d["whole"] for d in draws} == {2, 3, 4}
    assert all(0.5 <= d["real"] <= 1 and type(d["real"]) is float for d in draws)
    assert {d["fixed"] for d in draws} == {3}
    assert {d["chosen"] for d in draws} == {0.1, 7}
    assert all(type(d["whole"]) is int for d in draws)
    assert draw_parameters(dict(reversed(spec.items())), seeded(1)) == draws[1], "the order of the keys does not matter"


@pytest.mark.parametrize(
    "spec",
    [
        [2, 1],
        [1, 2, 3],
        ["a", "b"],
        None,
        {"choices": []},
        {"choices": [None]},
        {"low": 1},
        [1.0, float("inf")],
        [-float("inf"), 0],
        [0, float("nan")],
        float("nan"),
        {"choices": [float("inf")]},
        [-1.7e308, 1.7e308],
        [0, 10**30],
    ],
)
def test_draw_refuses_what_is_no_specification(spec):
    with pytest.raises(ValueError, match="beta is"):
        draw_parameters({"beta": spec}, seeded())


def test_picture_seed_is_golden():
    # First 8 bytes of `printf 'mid6|0001|42' | sha256sum`.
    assert picture_seed("mid6", "0001", 42) == 0x1766E2C28E47FFD6
    assert picture_seed("mid6", "0001", 43) != picture_seed("mid6", "0001", 42)
    assert picture_seed("", "é", 0) == int(hashlib.sha256("|é|0".encode()).hexdigest()[:16], 16)


MIX = [
    ("rain", {"angle_deg": [-30, 30], "strength": [0.6, 0.9]}),
    ("raindrop", {"cover": [0.1, 0.2]}),
    ("motion-blur", {"anxiety": {"choices": [0.003, 0.01]}}),
    ("real-noise", {}),
    ("jpeg", {"quality": [30, 60]}),
]


def test_recipe_renders_the_same_picture_again():
    image, seed = picture(), picture_seed("mid6", "0001", 42)
    out, recipe = degrade(image, MIX, seed)
    assert out.dtype == np.uint8
    assert out.shape == image.shape
    assert recipe["version"] == 1
    assert recipe["seed"] == seed
    assert [layer["name"] for layer in recipe["layers"]] == [name for name, _ in MIX]
    assert len({layer["seed"] for layer in recipe["layers"]}) == len(MIX)
    assert np.array_equal(render_uint8(image, json.loads(json.dumps(recipe))), out)
    again, same = degrade(image, MIX, seed)
    assert np.array_equal(again, out)
    assert same == recipe
    assert not np.array_equal(degrade(image, MIX, seed + 1)[0], out)


def test_every_degradation_can_be_replayed():
    image = picture(32, 40)
    for name in NAMES:
        out, recipe = degrade(image, [(name, {})], 5)
        assert np.array_equal(render_uint8(image, json.loads(json.dumps(recipe))), out), name


def test_mix_rounds_once_and_does_not_truncate():
    image = grey(32, 100.6 / 255)
    out, _ = degrade(image, [], 0)
    assert (out == 101).all()
    # A step of 0.3 / 255 twice is seen, which it would not be were the picture rounded in between.
    image = grey(32, 100.9 / 255)
    layer = ("low-light", {"alpha": 1, "light": 1 - 0.3 / 100.9, "gamma": 1, "noise_255": 0})
    assert (degrade(image, [layer, layer], 0)[0] == 100).all()


def test_mix_refuses_the_wrong_order_and_unknown_names():
    with pytest.raises(ValueError, match=r"gaussian-noise \(noise\) is before haze \(scene\).*scene -> lens -> blur"):
        degrade(picture(), [("gaussian-noise", {}), ("haze", {})], 0)
    with pytest.raises(ValueError, match=r"unknown degradation 'fog'; the degradations are .*haze"):
        degrade(picture(), [("fog", {})], 0)
    with pytest.raises(ValueError, match="haze: beta is 9"):
        degrade(picture(), [("haze", {"beta": 9})], 0)
    with pytest.raises(ValueError, match="version 2"):
        render_uint8(picture(), {"version": 2, "seed": 0, "layers": []})
    with pytest.raises(ValueError, match="degrade: image is uint8"):
        degrade(np.zeros((32, 32, 3), np.uint8), [], 0)


def test_dead_leaves_are_seeded_pictures():
    assert GENERATORS["dead-leaves"] is dead_leaves
    one = dead_leaves(seeded(5), 96)
    assert is_picture(one, (96, 96, 3))
    assert one.tobytes() == dead_leaves(seeded(5), 96).tobytes()
    assert not np.array_equal(one, dead_leaves(seeded(6), 96))
    assert is_picture(dead_leaves(seeded(), 16), (16, 16, 3))


def test_dead_leaves_refuse_a_picture_that_is_too_small():
    with pytest.raises(ValueError, match=r"dead_leaves: size_px is 8, allowed"):
        dead_leaves(seeded(), 8)


def test_dead_leaves_have_the_spectrum_of_photographs():
    side = 256
    window = np.outer(np.hanning(side), np.hanning(side))
    y, x = np.indices((side, side)) - side // 2
    radius = np.hypot(x, y).astype(int).ravel()
    slopes = []
    for seed in range(8):
        light = dead_leaves(seeded(seed), side).mean(-1)
        power = np.abs(np.fft.fftshift(np.fft.fft2((light - light.mean()) * window))) ** 2
        mean_power = np.bincount(radius, power.ravel()) / np.bincount(radius)
        frequency = np.arange(4, 100)
        slopes.append(np.polyfit(np.log(frequency), np.log(mean_power[4:100]), 1)[0])
    assert -3 < np.mean(slopes) < -1.5
