"""The page of `mperceiver app` in a real browser: upload, restore, divider by mouse and keyboard, bad files, two at once.

Needs Chromium and its driver, as the report's tests do.
"""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import sleep
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from support.contrast import CONTRAST
from support.weights import write_stirred_weights, write_training_cards

from mperceiver import commits
from mperceiver.app import work
from mperceiver.files import CHECKSUM_CACHE
from mperceiver.metrics.fidelity import EQUAL_DB
from mperceiver.restoring.console import restore_photographs

COMMIT = ("0" * 40, False)
WAIT_S = 120  # a busy machine reads the model libraries slowly


def photograph(path: Path, seed: int = 0, width: int = 72, height: int = 48) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def written(root: Path) -> dict[Path, int]:
    """{file: time} below a folder. Loading weights brings the checksum cache beside them up to date."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != CHECKSUM_CACHE)
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def app(tiny_root, tiny_run, stock, tmp_path_factory):
    """(address, temporary folder) of the page, served by the command from a tiny world with weights."""
    root = tmp_path_factory.mktemp("app") / "world"
    shutil.copytree(tiny_root, root)
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(commits, "current", lambda: COMMIT)
        write_stirred_weights("tiny", tiny_run, stock)
        write_training_cards("tiny")
        before = written(root)
        command = [sys.executable, "-m", "mperceiver.cli", "app", "--port", "0", "--threads", "1"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)}
        )
        try:
            address = server.stdout.readline().split()[2]
            (folder,) = temporary.glob("mperceiver-app-*")
            yield address, folder
        finally:
            server.terminate()
            assert server.wait(120) == 0
            server.stdout.close()
        assert list(temporary.glob("mperceiver-app-*")) == []
        assert written(root) == before


@pytest.fixture(params=[1440, 390], ids=["desk", "telephone"])
def at(request, driver, app):
    """The page, opened at a width; no error on its console in the end."""
    driver.get(
        "about:blank"
    )  # what the page before says when it is left, its streams still open, is no error of this one
    driver.get_log("browser")
    size = {"width": request.param, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(app[0])
    wait(driver, lambda: find(driver, "#uploads input[type=file]"))
    yield driver
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # Gradio's client says so of a stream that it closed itself.
    assert [message for message in errors if "AbortError: signal is aborted" not in message] == []


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def wait(driver, what):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # The page may draw anew what is being looked at.
    patient = WebDriverWait(driver, WAIT_S, poll_frequency=0.1, ignored_exceptions=[StaleElementReferenceException])
    return patient.until(lambda _: what())


def press(driver, label):
    buttons = find(driver, ".gradio-container button:not([role=tab])")  # a tab may have its label
    button = next(b for b in buttons if b.text == label and b.is_displayed())
    driver.execute_script("arguments[0].click()", button)


def open_tab(driver, label):
    """On a narrow screen the later tabs are in a menu."""
    tabs = [b for b in find(driver, "button[role=tab]") if b.text == label and b.is_displayed()]
    if not tabs:
        find(driver, ".overflow-menu > button")[0].click()
        wait(driver, lambda: any(b.text == label for b in find(driver, ".overflow-dropdown button")))
        tabs = [b for b in find(driver, ".overflow-dropdown button") if b.text == label]
    tabs[0].click()


def upload(driver, where, *files):
    find(driver, f"{where} input[type=file]")[0].send_keys("\n".join(map(str, files)))
    wait(driver, lambda: all(file.name.split(".")[0] in find(driver, where)[0].text for file in files))


def restore(driver, *files):
    upload(driver, "#uploads", *files)
    press(driver, "Restore")
    wait(driver, lambda: len(find(driver, "#restored .mp-result, #restored .mp-error")) == len(files))
    wait(driver, lambda: not find(driver, "#restored .mp-progress"))


def picture(address: str) -> np.ndarray:
    with urlopen(address) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def test_a_photograph_is_restored_as_by_the_command_line(at, tmp_path):
    file = photograph(tmp_path / "one.png")
    restore(at, file)
    assert "72 × 48 px" in find(at, "#restored figcaption")[0].text
    before, after = (image.get_attribute("src") for image in find(at, "#restored .mp-compare img"))
    assert np.array_equal(picture(before), np.asarray(Image.open(file)))
    restore_photographs("tiny", file, tmp_path / "expected.png", {})
    assert np.array_equal(picture(after), np.asarray(Image.open(tmp_path / "expected.png")))
    link = find(at, "#restored .mp-download")[0]
    assert link.get_attribute("download") == "one-restored.png" and link.get_attribute("href") == after
    bars = [float(meter.get_attribute("value")) for meter in find(at, "#restored meter")]
    assert len(bars) >= 2 and bars == sorted(bars, reverse=True) and 0 < sum(bars) <= 1.001


def test_the_divider_by_keyboard_and_by_mouse_and_full_resolution(at, tmp_path):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    restore(at, photograph(tmp_path / "wide.png", width=1600, height=40))
    slider, after = find(at, "#restored .mp-compare input")[0], find(at, "#restored .mp-after")[0]

    def shown():
        return after.value_of_css_property("clip-path"), slider.get_attribute("aria-valuetext")

    for _ in range(4):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert shown() == ("inset(0px 0px 0px 52%)", "52 % before, 48 % after")
    assert find(at, "#restored .mp-compare")[0].value_of_css_property("outline-style") == "solid"
    slider.send_keys(Keys.HOME)
    assert shown()[1] == "0 % before, 100 % after"
    at.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", slider)
    # The pointer's offset counts from the middle of what is visible of the divider, which may be wider than a telephone.
    left, width, screen = at.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return [box.x, box.width, innerWidth]", slider
    )
    aside = round(min(width, screen) / 4)
    ActionChains(at).move_to_element_with_offset(slider, aside, 0).click().perform()
    middle = (max(left, 0) + min(left + width, screen)) / 2
    assert abs(float(slider.get_attribute("value")) - 100 * (middle + aside - left) / width) <= 2
    image = find(at, "#restored .mp-compare img")[0]
    assert image.rect["width"] < 1400
    press(at, "Full resolution")
    assert image.rect["width"] == 1600
    assert at.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


# What is seen of the first result in each frame: the divider, in the picture and for a screen reader, the buttons, and where the keyboard is.
WATCH = """
window.seen = new Set();
const look = () => {
  const figure = document.querySelector("#restored figure"), box = figure?.querySelector(".mp-compare");
  if (!box) return; // the results are gone
  window.seen.add([getComputedStyle(box.querySelector(".mp-after")).clipPath, box.querySelector("input").getAttribute("aria-valuetext"),
    box.classList.contains("full"), figure.querySelector("[data-mp=full]").getAttribute("aria-pressed"),
    document.activeElement.closest("figure")?.getAttribute("aria-label")].join("; "));
  requestAnimationFrame(look);
};
look();
"""


def begun(driver, *files):
    """Begin to restore; return when the first of the photographs is restored and the others are not yet."""
    upload(driver, "#uploads", *files)
    press(driver, "Restore")
    wait(driver, lambda: find(driver, "#restored .mp-result"))
    wait(driver, lambda: find(driver, "#restored .mp-progress"))


def test_a_queue_leaves_what_was_set_as_it_is(at, tmp_path):
    from selenium.webdriver.common.keys import Keys

    files = [photograph(tmp_path / f"queue-{i}.png", i, 224, 160) for i in range(6)]
    begun(at, *files)
    find(at, "#restored [data-mp=full]")[0].send_keys(Keys.ENTER)
    find(at, "#restored .mp-compare input")[0].send_keys(Keys.HOME)
    at.execute_script(WATCH)
    assert len(find(at, "#restored .mp-result")) < len(files) - 1, "the queue was too fast for this test"
    wait(at, lambda: len(find(at, "#restored .mp-result")) == len(files) and not find(at, "#restored .mp-progress"))
    assert at.execute_script("return [...window.seen]") == [
        "inset(0px 0px 0px 0%); 0 % before, 100 % after; true; true; queue-0.png"
    ]
    labels = [figure.get_attribute("aria-label") for figure in find(at, "#restored .mp-result")]
    assert labels == [file.name for file in files]
    restore(at, photograph(tmp_path / "another.png", 9))  # the first element is another picture's now
    assert "0px 50%" in find(at, "#restored .mp-after")[0].value_of_css_property("clip-path")
    assert find(at, "#restored .mp-compare input")[0].get_property("value") == "50"
    assert find(at, "#restored [data-mp=full]")[0].get_attribute("aria-pressed") == "false"


def test_stop_says_so_and_keeps_what_is_finished(at, tmp_path):
    files = [photograph(tmp_path / f"stop-{i}.png", i, 224, 160) for i in range(6)]
    press(at, "Stop")  # nothing runs, so nothing is said
    begun(at, *files)
    assert not find(at, "#restored .mp-stopped")
    press(at, "Stop")
    wait(at, lambda: find(at, "#restored .mp-stopped"))
    assert find(at, "#restored [role=status]")[0].text == "Stopped"
    finished = len(find(at, "#restored .mp-result"))
    assert 1 <= finished < len(files), "the queue was too fast for this test"
    sleep(2)  # nothing that was on its way comes after it
    assert find(at, "#restored .mp-stopped") and not find(at, "#restored .mp-progress")
    assert len(find(at, "#restored .mp-result")) == finished
    press(at, "Restore")
    wait(at, lambda: not find(at, "#restored .mp-stopped") and find(at, "#restored .mp-progress"))
    wait(at, lambda: len(find(at, "#restored .mp-result")) == 2)  # the work that was stopped is not in its way
    press(at, "Stop")
    wait(at, lambda: find(at, "#restored .mp-stopped"))


def test_bad_files_are_told_in_words_and_the_others_are_restored(at, tmp_path):
    text, broken = tmp_path / "letter.txt", tmp_path / "broken.png"
    text.write_text("Dear reader", encoding="utf-8")
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    restore(at, text, broken, photograph(tmp_path / "good.png"))
    first, second = (e.text for e in find(at, "#restored .mp-error"))
    assert "letter.txt: a picture's name ends in" in first and ".jpg" in first
    assert second.startswith("Not restored. broken.png:") and "/" not in second.partition(":")[0]
    assert len(find(at, "#restored .mp-result")) == 1
    labels = [button.get_attribute("aria-label") for button in find(at, "#uploads button")]
    assert "Upload others" in labels and not [label for label in labels if label and label.startswith("common.")]
    (listed,) = find(at, "#uploads .file-preview-holder")
    assert at.execute_script(
        "return arguments[0].scrollHeight <= arguments[0].clientHeight", listed
    )  # three files without a scrollbar


def test_nothing_chosen_is_told(at):
    press(at, "Restore")
    wait(at, lambda: find(at, "#restored .mp-error"))
    assert "Choose a photograph first" in find(at, "#restored .mp-error")[0].text


def test_two_pages_at_once_each_get_their_own(at, app, tmp_path):
    files = [photograph(tmp_path / f"page-{i}.png", seed=i) for i in range(2)]
    handles = [at.current_window_handle]
    at.switch_to.new_window("tab")
    at.get(app[0])
    handles.append(at.current_window_handle)
    wait(at, lambda: find(at, "#uploads input[type=file]"))
    for handle, file in zip(handles, files, strict=True):
        at.switch_to.window(handle)
        upload(at, "#uploads", file)
    for handle in handles:
        at.switch_to.window(handle)
        press(at, "Restore")
    for handle, file in zip(handles, files, strict=True):
        at.switch_to.window(handle)
        wait(at, lambda: find(at, "#restored .mp-result"))
        source = find(at, "#restored .mp-compare img")[0].get_attribute("src")
        assert np.array_equal(picture(source), np.asarray(Image.open(file)))
    folders = {path for path in (app[1] / "restored").iterdir() if any(path.rglob("before.png"))}
    assert len(folders) >= 2
    uploads = [next((app[1] / "uploads").rglob(file.name)) for file in files]
    at.close()
    at.switch_to.window(handles[0])
    wait(at, lambda: sum(path.exists() for path in folders) < len(folders))  # what the closed page had is removed
    wait(at, lambda: not uploads[1].exists())
    assert uploads[0].exists()


def test_a_pair_has_its_scores(at, app):
    open_tab(at, "A dataset's pair")
    wait(at, lambda: any(b.text == "Restore and score" and b.is_displayed() for b in find(at, "button")))
    press(at, "Restore and score")
    wait(at, lambda: find(at, "#pair .mp-result") and not find(at, "#pair .mp-progress"))
    rows = wait(
        at,
        lambda: [[cell.text for cell in row.find_elements("css selector", "td")] for row in find(at, "#pair tbody tr")],
    )
    before, after, target = (
        picture(address)
        for address in (
            *(image.get_attribute("src") for image in find(at, "#pair .mp-compare img")),
            find(at, "#pair [data-mp=target]")[0].get_attribute("data-src")
            and app[0].rstrip("/") + find(at, "#pair [data-mp=target]")[0].get_attribute("data-src"),
        )
    )

    def psnr(one, other):
        if np.array_equal(one, other):  # the first dataset may be one of clean pictures
            return EQUAL_DB
        return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))

    assert float(rows[0][0]) == pytest.approx(psnr(before, target), abs=0.006)
    assert float(rows[1][0]) == pytest.approx(psnr(after, target), abs=0.006)


def test_a_clean_photograph_is_degraded_and_restored(at, tmp_path):
    open_tab(at, "Degrade and restore")
    wait(at, lambda: find(at, "#clean input[type=file]"))
    file = photograph(tmp_path / "clean.png")
    upload(at, "#clean", file)
    press(at, "Degrade and restore")
    wait(at, lambda: find(at, "#degraded .mp-result"))
    from mperceiver.degradations.mix import degrade

    expected, _ = degrade(
        np.asarray(Image.open(file)).astype(np.float32) / 255,
        [("haze", {"beta": 1.5, "airlight": 0.75}), ("gaussian-noise", {"sigma_255": 25.0})],
        seed=0,
    )
    before = picture(find(at, "#degraded .mp-compare img")[0].get_attribute("src"))
    assert np.array_equal(before, expected)
    assert len(find(at, "#degraded tbody tr")) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_page_says_can_be_read(at, app, tmp_path, scheme):
    at.get(f"{app[0]}?__theme={scheme}")
    wait(at, lambda: find(at, "#uploads input[type=file]"))
    assert ("dark" in find(at, "body")[0].get_attribute("class").split()) == (scheme == "dark")
    text = tmp_path / "letter.txt"
    text.write_text("Dear reader", encoding="utf-8")
    restore(at, photograph(tmp_path / "one.png"), text)
    assert at.execute_script(CONTRAST) == []
    open_tab(at, "A dataset's pair")
    wait(at, lambda: any(b.text == "Restore and score" and b.is_displayed() for b in find(at, "button")))
    press(at, "Restore and score")
    wait(at, lambda: find(at, "#pair .mp-scores"))
    assert at.execute_script(CONTRAST) == []
    open_tab(at, "Degrade and restore")
    wait(at, lambda: find(at, "#clean input[type=file]"))
    assert at.execute_script(CONTRAST) == []


def test_the_page_asks_nothing_outside_and_shows_no_code(at, app):
    addresses = at.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert addresses and all(name.startswith((app[0], "data:", "blob:")) for name in addresses)
    assert at.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert not [link for link in find(at, "a") if link.is_displayed() and "gradio" in link.text.lower()]


def test_bounds(tmp_path):
    shop = work.Workshop(tmp_path)
    many = [Path(f"{i}.png") for i in range(work.MOST_PHOTOGRAPHS + 1)]
    with pytest.raises(work.PictureError, match=f"this page takes {work.MOST_PHOTOGRAPHS}"):
        list(shop.photographs("me", many, "tiny", 1))
