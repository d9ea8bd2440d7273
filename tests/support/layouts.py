"""The true layouts of the paper's datasets: which archives there are, how their members are named, which are pairs."""

# ruff: noqa: E501 - the table of layouts has its rows in lines

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mperceiver import config

Files = dict[str, dict[str, bytes]]  # archive, or "" for loose files: {member: bytes}


class Layout(NamedTuple):
    """What lies in data/raw/ and which pairs are to be found there."""

    # archive, or "" for loose files ("/": of the last dataset in `from`): members; `name > archive: members` is one inside another
    files: dict[str, list[str]]
    pairs: dict[str, tuple[str, str | None]]  # id: members with the degraded picture and the ground truth
    tasks: set[str]
    lists: dict[str, str] | None = None  # text files, by archive/member
    sizes: dict[str, tuple[int, int]] | None = None  # of members that are not 8x8


def same(*names: str, lq: str = "{}", gt: str = "{}", id_: str = "{}") -> dict[str, tuple[str, str]]:
    """Pairs whose members' names differ in their folders only."""
    return {id_.format(Path(name).stem): (lq.format(name), gt.format(name)) for name in names}


RAIN = "rainy_image_dataset/{0}/rainy_image/{1}.jpg", "rainy_image_dataset/{0}/ground_truth/{1}.jpg"
RAIN_MEMBERS = [RAIN[0].format("training", n) for n in ("17_14", "17_2", "900_1")]
RAIN_MEMBERS += [RAIN[0].format("testing", n) for n in ("901_1", "1000_14")]
RAIN_MEMBERS += [RAIN[1].format("training", n) for n in ("17", "900")]
RAIN_MEMBERS += [RAIN[1].format("testing", n) for n in ("901", "1000")]
HEAVY = ["in/im_0300_s80_a04.png", "in/im_0301_s80_a04.png", "in/im_0350_s95_a06.png", "in/im_0351_s80_a05.png"]
HEAVY += [f"gt/im_0{n}.png" for n in (300, 301, 350, 351)]
LHP = [f"{side}/{split}.png" for side in ("input", "gt") for split in ("train/2052", "train/9", "test/7")]
SOTS = {
    "SOTS.zip > SOTS/indoor.zip": ["indoor/hazy/1400_1.png", "indoor/hazy/1400_10.png", "indoor/gt/1400.png"],
    "SOTS.zip > SOTS/outdoor.zip": ["outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/gt/0001.png"],
}
HAZES = [f"{n}_{side}.png" for n in (50, 51, 55) for side in ("hazy", "GT")]
DENSE = [f"hazy/{n}_hazy.png" for n in (50, 51, 55)] + [f"GT/{n}_GT.png" for n in (50, 51, 55)]
SNOW = "media/jdway/GameSSD/overlapping/test/Snow100K-{}/{}/{}.jpg"
SNOWY = ("beautiful_smile_00003", "city_0001")
SNOW_MEMBERS = [SNOW.format(size, kind, n) for size in "SML" for kind in ("gt", "synthetic", "mask") for n in SNOWY]
REAL_SNOW = [
    "RealSnow/Real_Snow_training_original_size/video2imgs_{}_re/a.jpg",
    "RealSnow/testing/video2imgs_{}_testing_re/a.jpg",
]
DROPS = {
    "train.zip": ["train/data/0_rain.png", "train/data/10_rain.png", "train/gt/0_clean.png", "train/gt/10_clean.png"],
    "test_a.zip": [f"test_a/{name}.png" for n in (0, 1) for name in (f"data/{n}_rain", f"gt/{n}_clean")],
    "test_b.zip": ["test_b/data/0_rain.jpg", "test_b/gt/0_clean.jpg"],
}
WAYS = ("raindrop", "rainstreak", "rainstreak_raindrop")
DS = "RainDS/RainDS_{}/{}/{}.png"
DS_REAL = [DS.format("real", f"{s}_set", f"{way}/2") for s in ("train", "test") for way in (*WAYS, "gt")]
DS_REAL += [DS.format("real", "test_set", "rainstreak/IMG_7435")]
DS_SYN = ["raindrop/rd-101", "raindrop/pie-rd-101", "rainstreak/rain-101", "rainstreak_raindrop/pie-rd-rain-101"]
DS_SYN = [DS.format("syn", s, n) for s in ("train", "test") for n in (*DS_SYN, "gt/norain-101", "gt/pie-norain-101")]
LOL = [f"LOL-v2/Real_captured/{{}}/{side}0069{n}.png" for n in (0, 1) for side in ("Low/low", "Normal/normal")]
LOL += ["LOL-v2/Synthetic/{}/Low/r0a1t.png", "LOL-v2/Synthetic/{}/Normal/r0a1t.png"]
LOL_MEMBERS = [name.format(split) for split in ("Train", "Test") for name in LOL]
DIV2K = {
    "DIV2K_train_HR.zip": [f"DIV2K_train_HR/{n}.png" for n in ("0001", "0100", "0101", "0800")],
    "DIV2K_valid_HR.zip": ["DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0900.png"],
}
SIDD = "SIDD_Medium_Srgb/Data/0001_001_S6_00100_00060_3200_L/0001_{}_SRGB_010.PNG"
GOPRO = [f"{split}/{kind}/00000{n}.png" for split in ("train/GOPR0372_07_00", "test/GOPR0384_11_00", "test/GOPR0385_11_01")
         for kind in ("blur", "blur_gamma", "sharp") for n in (1, 2)]  # fmt: skip
J, R = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref", "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"
BLURS = [f"RealBlur/{kind}/scene{s}/{n}.png" for kind in (J, R) for s in (1, 230) for n in ("blur/blur_7", "gt/gt_7")]
BLUR_LISTS = {
    f"RealBlur.zip/RealBlur/RealBlur_{kind}_{split}_list.txt": f"{folder}/scene{s}/gt/gt_7.png {folder}/scene{s}/blur/blur_7.png \n"
    for kind, folder in (("J", J), ("R", R))
    for split, s in (("train", 1), ("test", 230))
}
DPDD = [f"{{}}/{name}.png" for name in ("inputC/1P0A0933", "inputC/1P0A0917", "inputL/1P0A0917", "target/1P0A0932", "target/1P0A0916")]  # fmt: skip
DPDD_PAIRS = {"1P0A0917": ("{}/inputC/1P0A0917.png", "{}/target/1P0A0916.png"), "1P0A0933": ("{}/inputC/1P0A0933.png", "{}/target/1P0A0932.png")}  # fmt: skip
UIEB = [f"{side}-890/{name}.png" for side in ("raw", "reference") for name in ("104_img_", "583_img_", "1_img_")]
WATER = ["type1_data/underwater_type_1/7.bmp", "type1_data/gt_type_type_1/7.bmp"]
WATERS = ["typeIA_data/underwater_type_IA/7.bmp", "typeIA_data/gt_type_IA/7.bmp"]
MOIRE = [f"{part}Data/{side}/a_{side}.png" for part in ("train", "test") for side in ("source", "target")]


def clean(*names: str) -> dict[str, tuple[str, str]]:
    return {Path(name).stem: (name, name) for name in names}


LAYOUTS = {
    "rain1400-train": Layout({"d.zip": RAIN_MEMBERS}, {
        n: (RAIN[0].format("training", n), RAIN[1].format("training", n.split("_")[0])) for n in ("17_2", "17_14", "900_1")
    }, {"rain"}),
    "rain1400-test": Layout({"d.zip": RAIN_MEMBERS}, {
        n: (RAIN[0].format("testing", n), RAIN[1].format("testing", n.split("_")[0])) for n in ("901_1", "1000_14")
    }, {"rain"}),
    "outdoor-rain-train": Layout({"outdoor-rain.zip": HEAVY}, {
        n: (f"in/{n}.png", f"gt/{n[:7]}.png") for n in ("im_0300_s80_a04", "im_0351_s80_a05")
    }, {"rain"}),
    "outdoor-rain-test1": Layout({"Test1.zip": [f"Test1/{name}".replace("/in/", "/input/") for name in HEAVY[1:3] + HEAVY[5:7]]}, {
        n: (f"Test1/input/{n}.png", f"Test1/gt/{n[:7]}.png") for n in ("im_0301_s80_a04", "im_0350_s95_a06")
    }, {"rain"}),
    "ssid-test": Layout({"": ["x/ssid_real_test/001.jpg", "x/ssid_real_test/200.jpg", "x/ssid_real_train/9.jpg"]}, {
        n: (f"x/ssid_real_test/{n}.jpg", None) for n in ("001", "200")
    }, {"rain"}),
    "lhp-rain-train": Layout({"LHP-Rain.zip": LHP}, same("9", lq="input/train/{}.png", gt="gt/train/{}.png"), {"rain"},
                             sizes={"gt/train/2052.png": (8, 9)}),
    "lhp-rain-test": Layout({"LHP-Rain.zip": LHP}, same("7", lq="input/test/{}.png", gt="gt/test/{}.png"), {"rain"}),
    "its-train": Layout({"ITS.zip": ["ITS/train/ITS_haze/1_1_0.90179.png", "ITS/train/ITS_haze/1_10_0.9.png", "ITS/train/ITS_clear/1.png",
                                     "ITS/val/haze/1_1_0.9.png", "ITS/val/clear/1.png"]}, {
        n: (f"ITS/train/ITS_haze/{n}.png", "ITS/train/ITS_clear/1.png") for n in ("1_1_0.90179", "1_10_0.9")
    }, {"haze"}),
    "ots-train": Layout({"OTS.zip": ["OTS/0025_0.8_0.04.jpg", "OTS/0025_1_0.2.jpg"], "clear_images.zip": ["clear_images/0025.jpg"]},
                        {"0025_0.8_0.04": ("OTS/0025_0.8_0.04.jpg", "clear_images/0025.jpg")}, {"haze"},
                        {"/hazy_outside.txt": "synthetic/part1/0025_0.8_0.04.jpg\n"}),
    "sots-indoor": Layout(SOTS, {n: (f"indoor/hazy/{n}.png", "indoor/gt/1400.png") for n in ("1400_1", "1400_10")}, {"haze"},
                          sizes={"indoor/gt/1400.png": (28, 28)}),
    "sots-outdoor": Layout(SOTS, {"0001_0.8_0.2": ("outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/gt/0001.png")}, {"haze"}),
    "nh-haze-train": Layout({"NH-HAZE.zip": [f"NH-HAZE/{name}" for name in HAZES]}, same("50", lq="NH-HAZE/{}_hazy.png", gt="NH-HAZE/{}_GT.png"), {"haze"}),
    "nh-haze-test": Layout({"NH-HAZE.zip": HAZES}, same("51", "55", lq="{}_hazy.png", gt="{}_GT.png"), {"haze"}),
    "dense-haze-train": Layout({"D.zip": DENSE}, same("50", lq="hazy/{}_hazy.png", gt="GT/{}_GT.png"), {"haze"}),
    "dense-haze-test": Layout({"D.zip": [f"Dense/{name}" for name in DENSE]}, same("51", "55", lq="Dense/hazy/{}_hazy.png", gt="Dense/GT/{}_GT.png"), {"haze"}),
    "snow100k-train": Layout({"Snow100K-training.tar.gz.zip": ["all/synthetic/a.jpg", "all/gt/a.jpg", "all/mask/a.jpg"]},
                             {"a": ("all/synthetic/a.jpg", "all/gt/a.jpg")}, {"snow"}),
    **{f"snow100k-{size.lower()}": Layout({"Snow100K-testset.zip": SNOW_MEMBERS}, {
        n: (SNOW.format(size, "synthetic", n), SNOW.format(size, "gt", n)) for n in SNOWY
    }, {"snow"}) for size in "SML"},
    "realsnow-train": Layout({"RealSnow.zip": [n.format(s) for n in REAL_SNOW for s in ("IN", "GT")]}, {"a": tuple(REAL_SNOW[0].format(s) for s in ("IN", "GT"))}, {"snow"}),
    "realsnow-test": Layout({"RealSnow.zip": [n.format(s) for n in REAL_SNOW for s in ("IN", "GT")]}, {"a": tuple(REAL_SNOW[1].format(s) for s in ("IN", "GT"))}, {"snow"}),
    "raindrop-train": Layout(DROPS, same("0", "10", lq="train/data/{}_rain.png", gt="train/gt/{}_clean.png"), {"raindrop"}),
    "raindrop-a": Layout(DROPS, same("0", "1", lq="test_a/data/{}_rain.png", gt="test_a/gt/{}_clean.png"), {"raindrop"}),
    "raindrop-b": Layout(DROPS, same("0", lq="test_b/data/{}_rain.jpg", gt="test_b/gt/{}_clean.jpg"), {"raindrop"}),
    **{f"rainds-real-{split}": Layout({"RainDS.zip": DS_REAL}, {
        f"{way}_2": (DS.format("real", f"{split}_set", f"{way}/2"), DS.format("real", f"{split}_set", "gt/2")) for way in WAYS
    }, {"raindrop", "rain", "rain-raindrop"}) for split in ("train", "test")},
    "rainds-real-both": Layout({"RainDS.zip": DS_REAL}, {
        f"{WAYS[2]}_2": (DS.format("real", "test_set", f"{WAYS[2]}/2"), DS.format("real", "test_set", "gt/2"))
    }, {"rain-raindrop"}),
    **{f"rainds-syn-{split}": Layout({"RainDS.zip": DS_SYN}, {
        f"{way}_{pie}101": (DS.format("syn", split, f"{way}/{pie}{kind}-101"), DS.format("syn", split, f"gt/{pie}norain-101"))
        for way, pie, kind in (("raindrop", "", "rd"), ("raindrop", "pie-", "rd"), ("rainstreak", "", "rain"), ("rainstreak_raindrop", "pie-", "rd-rain"))
    }, {"raindrop", "rain", "rain-raindrop"}) for split in ("train", "test")},
    **{f"lol-v2-real-{split.lower()}": Layout({"LOL-v2.zip": LOL_MEMBERS}, {f"0069{n}": (LOL[2 * n].format(split), LOL[2 * n + 1].format(split)) for n in (0, 1)}, {"low-light"}) for split in ("Train", "Test")},
    **{f"lol-v2-syn-{split.lower()}": Layout({"LOL-v2.zip": LOL_MEMBERS}, {"r0a1t": (LOL[4].format(split), LOL[5].format(split))}, {"low-light"}) for split in ("Train", "Test")},
    "cbsd400": Layout({"": ["100075.jpg", "100080.jpg"], "/": ["200.jpg"]}, clean("100075.jpg", "100080.jpg", "200.jpg"), {"clean"}),
    "urban100": Layout({"Urban100_HR.zip": ["Urban100_HR/img_001.png", "Urban100_HR/img_100.png"]}, clean("Urban100_HR/img_001.png", "Urban100_HR/img_100.png"), {"clean"}),
    "wed": Layout({"w.zip": ["exploration_database_and_code/pristine_images/00001.bmp", "exploration_database_and_code/x.bmp"]},
                  clean("exploration_database_and_code/pristine_images/00001.bmp"), {"clean"}),
    "div2k-train": Layout(DIV2K, clean(*DIV2K["DIV2K_train_HR.zip"]), {"clean"}),
    "div2k-valid": Layout(DIV2K, clean(*DIV2K["DIV2K_valid_HR.zip"]), {"clean"}),
    "div2k-first100": Layout(DIV2K, clean(*DIV2K["DIV2K_train_HR.zip"][:2]), {"clean"}),
    "flickr2k": Layout({"F.zip": ["Flickr2K/000001.png", "Flickr2K/002650.png"]}, clean("Flickr2K/000001.png", "Flickr2K/002650.png"), {"clean"}),
    "sidd-train": Layout({"SIDD_Medium_Srgb.zip": [SIDD.format(s) for s in ("NOISY", "GT")]}, {"0001_010": tuple(SIDD.format(s) for s in ("NOISY", "GT"))}, {"real-noise"}),
    "gopro-train": Layout({"GOPRO_Large.zip": GOPRO}, {f"GOPR0372_07_00-00000{n}": tuple(f"train/GOPR0372_07_00/{k}/00000{n}.png" for k in ("blur", "sharp")) for n in (1, 2)}, {"motion-blur"}),
    "gopro-test": Layout({"GOPRO_Large.zip": GOPRO}, {
        f"{s}-00000{n}": tuple(f"test/{s}/{k}/00000{n}.png" for k in ("blur", "sharp")) for s in ("GOPR0384_11_00", "GOPR0385_11_01") for n in (1, 2)
    }, {"motion-blur"}),
    **{f"realblur-{kind.lower()}-{split}": Layout({"RealBlur.zip": BLURS}, {
        f"scene{s}_7": tuple(f"RealBlur/{folder}/scene{s}/{k}/{k}_7.png" for k in ("blur", "gt"))
    }, {"motion-blur"}, BLUR_LISTS) for kind, folder, split, s in (("J", J, "train", 1), ("J", J, "test", 230), ("R", R, "test", 230))},
    **{f"dpdd-{split}": Layout({f"{split}.zip": [name.format(split) for name in DPDD]}, {
        id_: (lq.format(split), gt.format(split)) for id_, (lq, gt) in DPDD_PAIRS.items()
    }, {"defocus"}) for split in ("train", "val", "test")},
    "uieb-90": Layout({"raw-890.zip": UIEB[:3], "reference-890.zip": UIEB[3:]}, same("104_img_", "583_img_", lq="raw-890/{}.png", gt="reference-890/{}.png"),
                      {"underwater"}, {"/LIST_full_test_90.TXT": "104_img_.png\n583_img_.png\n"}),
    "uwcnn-110": Layout({"type1_data.zip": WATER, "typeIA_data.zip": WATERS}, {"1-7": tuple(WATER), "IA-7": tuple(WATERS)}, {"underwater"}),
    **{f"tip2018-{split}": Layout({"x.zip": MOIRE}, {"a": (f"{part}Data/source/a_source.png", f"{part}Data/target/a_target.png")}, {"moire"})
       for split, part in (("train", "train"), ("test", "test"), ("5-percent", "train"))},
}  # fmt: skip
ARRAYS = {
    "sidd-val": ("", "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb", ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb")),
    "toled-test": ("UDC/", "toled_test_display", "toled_test_gt", ("test_display", "test_gt")),
    "poled-test": ("UDC/", "poled_test_display", "poled_test_gt", ("test_display", "test_gt")),
}  # fmt: skip
RESIZED = {"tip2018-train", "tip2018-test", "tip2018-5-percent"}


def encoded(name: str, picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as a file of the member's suffix."""
    form = {"jpg": "jpeg", "tif": "tiff"}.get(Path(name).suffix[1:].lower(), Path(name).suffix[1:])
    Image.fromarray(picture).save(buffer := io.BytesIO(), form)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def raw_files(name: str, layout: Layout, file: Callable[[str], bytes]) -> dict[str, Files]:
    """What is downloaded for a dataset, by raw dataset; ``file`` gives the bytes of a member that is a picture."""
    origins = config.load("datasets", name).from_
    found: dict[str, Files] = {}
    for archive, members in layout.files.items():
        outer, _, inner = archive.partition(" > ")
        made = {member: file(member) for member in members}
        archives = found.setdefault(origins[-1] if outer == "/" else origins[0], {})
        archives.setdefault(outer.strip("/"), {}).update({inner: zipped(made)} if inner else made)
    for place, text in (layout.lists or {}).items():
        archive, _, member = place.partition("/")  # a list outside archives has a raw dataset of its own
        found.setdefault(origins[0 if archive else -1], {}).setdefault(archive, {})[member] = text.encode()
    return found


def array_files(name: str, arrays: Iterable[np.ndarray]) -> Files:
    """What is downloaded for a dataset in MATLAB files: degraded pictures and ground truths, (..., H, W, 3) uint8."""
    from scipy.io import savemat

    folder, lq, gt, keys = ARRAYS[name]
    members = {}
    for file, key, array in zip((lq, gt), keys, arrays, strict=True):
        savemat(buffer := io.BytesIO(), {key: array})
        members[f"{folder}{file}.mat"] = buffer.getvalue()
    return {"udc.zip" if folder else "": members}


def write(folder: Path, files: Files) -> None:
    for archive, members in files.items():
        for name, data in ({archive: zipped(members)} if archive else members).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
