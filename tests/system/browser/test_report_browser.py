"""The report in a real browser, opened from disk: sorting, sliders, colours, links, at a desk's and a telephone's width.

Needs Chromium and its driver (apt-get install chromium chromium-driver); without them these tests fail, they do not skip.
"""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
from selenium.webdriver.support.ui import WebDriverWait
from support import reports
from support.contrast import CONTRAST

from mperceiver import commits, images
from mperceiver.report import figures, site, tables


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a small report's folder."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(commits, "current", lambda: reports.COMMIT)
        reports.build_world()
        reports.build_blocks()
        experiment = {"title": "An <experiment> & more", "tables": ["toys", "blocks"]}
        reports.dump(".", "toy", experiment | {"figures": ["side-by-side", "bars", "curves"]})
        tables.write("toys")
        for name in ("side-by-side", "bars", "curves"):
            figures.write(name)
        site.write("config/toy.yaml")
    return (folder / "results/report/toy").as_uri()


@pytest.fixture(params=[1440, 390], ids=["desk", "telephone"])
def at(request, driver, address):
    """Opens a page of the site at a width: at("index.html"); all console messages must be none in the end."""

    def open_page(page, scheme="light"):
        size = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        # without motion, or a click is aimed at where an element still is while the page scrolls smoothly
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = {"features": [{"name": name, "value": value} for name, value in features.items()]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        driver.get(f"{address}/{page}")
        return driver

    driver.get_log("browser")
    yield open_page
    driver.execute_script("try { localStorage.clear() } catch {}")
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def order(driver):
    rows = find(driver, "#table-toys tbody tr:not(.group)")
    return [row.find_element("css selector", "th").text.rstrip("†‡") for row in rows]


PRINTED = ["Degraded input", "Ground truth through the VAE", "One & <only>", "Two_50%"]


def test_sorting_by_click(at):
    driver = at("index.html")
    head = find(driver, "#table-toys th[data-metric=psnr]")[1]  # rain
    button = head.find_element("css selector", "button")
    assert order(driver) == PRINTED and head.get_attribute("aria-sort") == "none"
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert order(driver) == [PRINTED[1], PRINTED[0], PRINTED[2], PRINTED[3]]
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert order(driver) == [PRINTED[3], PRINTED[2], PRINTED[0], PRINTED[1]]
    assert not any(row.is_displayed() for row in find(driver, "#table-toys .group"))
    button.click()
    assert head.get_attribute("aria-sort") == "none" and order(driver) == PRINTED
    assert all(row.is_displayed() for row in find(driver, "#table-toys .group"))


def test_sorting_by_keyboard_begins_with_the_best(at):
    from selenium.webdriver.common.keys import Keys

    driver = at("index.html")
    find(driver, ".switch input[value=all]")[0].send_keys(Keys.SPACE)
    head = find(driver, "#table-toys th[data-metric=lpips]")[1]
    button = head.find_element("css selector", "button")
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"  # a small LPIPS is good
    assert order(driver)[0] == "Ground truth through the VAE"
    button.send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending" and order(driver)[0] == "Degraded input"
    assert len([h for h in find(driver, "#table-toys th[aria-sort]") if h.get_attribute("aria-sort") != "none"]) == 1


def test_one_metric_at_a_time(at):
    driver = at("index.html")
    find(driver, ".switch input[value=ssim]")[0].click()
    assert {e.get_attribute("data-metric") for e in find(driver, "#table-toys [data-metric]") if e.is_displayed()} == {
        "ssim"
    }
    cells = [c for c in find(driver, "#table-toys tbody:last-of-type tr:last-child td") if c.is_displayed()]
    heads = [h for h in find(driver, "#table-toys .head") if h.is_displayed()]
    assert len(cells) == len(heads) == 3
    for head, cell in zip(heads, cells, strict=True):  # the headings stand over their numbers
        assert abs(head.rect["x"] + head.rect["width"] - cell.rect["x"] - cell.rect["width"]) < 2
    find(driver, ".switch input[value=all]")[0].click()
    assert len([c for c in find(driver, "#table-toys tbody:last-of-type tr:last-child td") if c.is_displayed()]) == 9


def test_one_metric_at_a_time_in_blocks(at):
    driver = at("index.html")

    def seen():
        return [
            (
                table.find_element("css selector", "caption").text,
                {
                    h.get_attribute("data-metric")
                    for h in table.find_elements("css selector", "th.metric")
                    if h.is_displayed()
                },
            )
            for table in find(driver, "#blocks table")
        ]

    psnr, ssim, everything = find(driver, "#blocks .switch input")
    driver.execute_script("arguments[0].click()", psnr)
    assert seen() == [("(a) Haze", {"psnr"}), ("(b) Rain", {"psnr"})]
    driver.execute_script("arguments[0].click()", ssim)
    assert seen() == [("(a) Haze", {"ssim"}), ("(b) Rain", set())]  # which has none
    driver.execute_script("arguments[0].click()", everything)
    assert seen() == [("(a) Haze", {"psnr", "ssim"}), ("(b) Rain", {"psnr"})]
    haze, rain = find(driver, "#blocks table")
    button = haze.find_element("css selector", "th.metric button")
    driver.execute_script("arguments[0].click()", button)
    names = [
        [
            row.find_element("css selector", "th").text
            for row in table.find_elements("css selector", "tbody tr:not(.group)")
        ]
        for table in (haze, rain)
    ]
    assert names[0] == ["Both", "Two_50%", "Degraded input‡", "Four"]  # what has not been run comes last
    assert names[1] == ["Degraded input‡", "Two_50%", "Both", "Four"]  # as printed: each block sorts for itself


def test_what_is_not_here_says_how_to_run_it(at):
    driver = at("index.html")
    assert find(driver, "#toys .pending") == []
    (details,) = find(driver, "#blocks .pending")
    assert not details.find_element("css selector", "ul").is_displayed()
    details.find_element("css selector", "summary").click()
    assert (
        "snakemake --cores all results/scores/four/toys.json" in details.text
        and "Waiting for restoring" in details.text
    )


def test_a_mean_leads_to_its_runs(at):
    driver = at("index.html")
    cell = find(driver, "#table-blocks tbody:last-of-type tr:nth-child(3) td")[0]
    assert cell.text.startswith("21.00 ± 1.41")
    cell.find_element("css selector", "a").click()
    assert [e.text for e in find(driver, "main th.name a")] == ["One & <only>", "Three"]
    find(driver, "main th.name a")[1].click()
    assert driver.current_url.endswith("cells/blocks/three/toys--haze.html")
    find(driver, ".gain a")[0].click()
    assert driver.current_url.endswith("cells/blocks/both/toys--haze.html")


def test_intervals_are_shown_on_demand(at):
    driver = at("index.html")
    find(driver, ".switch input[value=all]")[0].click()
    interval = find(driver, "#table-toys .interval")[0]
    assert not interval.is_displayed()
    find(driver, ".intervals")[0].click()
    assert interval.is_displayed() and interval.text == "12.00–13.00"


def test_a_number_leads_to_its_pictures_and_back(at):
    driver = at("index.html")
    find(driver, "#table-toys td.best a")[0].click()
    assert "/cells/toys/" in driver.current_url
    find(driver, ".bar a")[1].click()
    assert driver.current_url.endswith("index.html#toys")


def test_the_slider_by_keyboard(at):
    from selenium.webdriver.common.keys import Keys

    driver = at("cells/toys/one/toys--haze.html")
    slider = find(driver, ".compare input")[0]
    box = find(driver, ".compare")[0]
    after = find(driver, ".compare .after")[0]

    def shown():
        return after.value_of_css_property("clip-path"), slider.get_attribute("aria-valuetext")

    assert slider.get_attribute("aria-label").startswith("Divider between degraded input (left) and restored picture")
    assert shown() == ("inset(0px 0px 0px 50%)", "50 % input, 50 % restored")
    for _ in range(5):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert shown() == ("inset(0px 0px 0px 55%)", "55 % input, 45 % restored")
    assert box.value_of_css_property("outline-style") == "solid"  # focus is to be seen
    slider.send_keys(Keys.HOME)
    assert shown()[0] == "inset(0px 0px 0px 0%)" or shown()[0] == "inset(0px)"
    slider.send_keys(Keys.END)
    assert shown()[1] == "100 % input, 0 % restored"


def test_the_slider_by_mouse(at):
    from selenium.webdriver import ActionChains

    driver = at("cells/toys/one/toys--haze.html")
    slider = find(driver, ".compare input")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", slider)
    ActionChains(driver).move_to_element_with_offset(slider, round(-slider.rect["width"] / 4), 0).click().perform()
    assert abs(int(slider.get_attribute("value")) - 25) <= 2


PANES = """
return [...arguments[0].querySelectorAll('.pane img')].filter((i) => i.offsetParent).map((i) => {
  const m = new DOMMatrix(getComputedStyle(i).transform), box = i.closest('.pane').getBoundingClientRect();
  return [m.a, m.d, m.e / box.width, m.f / box.height];
});
"""


def panes(driver, pair):
    """[scale across, scale down, x, y in pane sizes] of the pictures that are shown; the same for all of them."""
    found = [pytest.approx(part, abs=0.006) for part in driver.execute_script(PANES, pair)]
    assert len(found) == 3 and all(part.expected == found[0] for part in found)
    return found[0]


def test_zoom_by_buttons_and_keys_enlarges_every_pane_alike(at):
    from selenium.webdriver.common.keys import Keys

    driver = at("cells/toys/one/toys--haze.html")
    pair = find(driver, ".pair")[0]
    less, whole, more = pair.find_elements("css selector", "[data-zoom]")
    assert panes(driver, pair) == [1, 1, 0, 0] and not less.is_enabled() and not whole.is_enabled()
    more.click()
    assert panes(driver, pair) == [2, 2, -0.5, -0.5] and whole.text == "2×"
    assert pair.find_element("css selector", "img").value_of_css_property("image-rendering") == "pixelated"
    more.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)  # to what is further left
    assert panes(driver, pair) == [2, 2, -0.375, -0.5]
    for _ in range(9):
        more.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    assert panes(driver, pair) == [2, 2, 0, -0.5]  # no further than its edge
    slider = pair.find_element("css selector", "input")
    slider.send_keys("+")
    assert panes(driver, pair).expected[0] == 4
    slider.send_keys(Keys.ARROW_RIGHT)  # without the shift key arrows are the divider's
    assert slider.get_attribute("value") == "51" and panes(driver, pair).expected[0] == 4
    for _ in range(3):
        slider.send_keys("+")
    assert panes(driver, pair).expected[0] == 16 and not more.is_enabled()
    slider.send_keys("0")
    assert panes(driver, pair) == [1, 1, 0, 0]
    assert panes(driver, find(driver, ".pair")[1]) == [1, 1, 0, 0]


def test_zoom_by_wheel_and_drag(at):
    from selenium.webdriver import ActionChains

    driver = at("cells/toys/one/toys--haze.html")
    pair = find(driver, ".pair")[0]
    target = pair.find_element("css selector", ".target")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", pair)
    wheel = (
        "arguments[0].dispatchEvent(new WheelEvent('wheel', {bubbles: true, cancelable: true, deltaY: -50, "
        "ctrlKey: arguments[1], clientX: arguments[2], clientY: arguments[3]}))"
    )
    box = driver.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", target
    )
    corner = [box[0], box[1]]
    assert driver.execute_script(f"return {wheel}", target, False, *corner)  # the page may scroll
    assert panes(driver, pair).expected[0] == 1
    assert not driver.execute_script(f"return {wheel}", target, True, *corner)
    scale, _, x, y = panes(driver, pair).expected
    assert 1.2 < scale < 1.4 and (x, y) == pytest.approx((0, 0), abs=0.006)  # about where the pointer is
    pair.find_element("css selector", "[data-zoom='+']").click()
    before = panes(driver, pair).expected
    move = round(box[2] / 8)
    ActionChains(driver).drag_and_drop_by_offset(target, move, 0).perform()
    after = panes(driver, pair).expected
    assert after[2] - before[2] == pytest.approx(move / box[2], abs=0.01) and after[3] == before[3]
    slider, compare = pair.find_element("css selector", "input"), pair.find_element("css selector", ".compare")
    width = driver.execute_script("return arguments[0].clientWidth", compare)
    ActionChains(driver).drag_and_drop_by_offset(compare, round(width / 4), 0).perform()  # it begins on the divider
    assert abs(int(slider.get_attribute("value")) - 75) <= 2 and after == panes(driver, pair)


def drawn(driver, canvas):
    """What a page shows of a picture's error, at the middle of each pixel of the picture: uint8 (H, W, 3)."""
    WebDriverWait(driver, 20).until(lambda _: canvas.get_attribute("data-drawn"))
    tags = "document.querySelectorAll('.tag').forEach((tag) => { tag.style.visibility = arguments[0]; })"
    driver.execute_script(tags, "hidden")  # they lie over it
    shown = images.decode(canvas.screenshot_as_png)
    driver.execute_script(tags, "")
    height, width = (int(canvas.get_attribute(name)) for name in ("height", "width"))
    rows, columns = (
        (np.arange(n) + 0.5) * size // n for n, size in ((height, shown.shape[0]), (width, shown.shape[1]))
    )
    return shown[rows.astype(int)[:, None], columns.astype(int)].astype(int)


def error_colours_of(restored, target):
    """The colours of absolute errors by their definition: mean over the channels, matplotlib's inferno, white from 64 of 255 on."""
    import matplotlib

    error = np.abs(restored.astype(float) - target).mean(axis=2) * 255 / 64
    colours = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3].copy()
    colours[-1] = 255
    return colours[np.minimum(np.rint(error), 255).astype(int)].astype(int)


def test_the_difference_by_button_and_key(at):
    driver = at("cells/toys/one/toys--haze.html")
    pair = find(driver, ".pair")[0]
    difference, button = (pair.find_element("css selector", name) for name in (".difference", ".differs"))
    tag = pair.find_element("css selector", ".target .tag")
    assert not difference.is_displayed() and button.get_attribute("aria-pressed") == "false"
    assert "white for 64 of 255 or more" in difference.get_attribute("aria-label")
    button.click()
    assert difference.is_displayed() and button.get_attribute("aria-pressed") == "true" and tag.text == "absolute error"
    shown = drawn(driver, difference)
    restored, target = (
        images.decode(Path(url2pathname(urlsplit(pair.find_element("css selector", name).get_attribute("src")).path)))
        for name in (".after img", ".target img")
    )
    assert shown == pytest.approx(error_colours_of(restored, target), abs=6)
    button.send_keys("d")
    assert not difference.is_displayed() and tag.text == "ground truth"
    pair.find_element("css selector", "input").send_keys("d")
    assert difference.is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "page",
    [
        "index.html",
        "cells/toys/one/toys--haze.html",
        "cells/blocks/both/toys--haze.html",
        "chains/one/toys.html",
        "files/results/tables/toys.html",
    ],
)
def test_pages_are_readable_and_fit(at, page, scheme):
    driver = at(page, scheme)
    assert driver.execute_script(CONTRAST) == []
    assert (
        driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    )
    text = [float(e.value_of_css_property("font-size")[:-2]) for e in find(driver, "p, td, th") if e.is_displayed()]
    assert min(text) >= 10.5


def test_colours_can_be_switched_and_are_remembered(at):
    driver = at("index.html", "light")

    def dark():
        return driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 20, 18)"

    assert not dark()
    find(driver, "#theme")[0].click()
    assert dark()
    driver.refresh()
    assert dark() and find(driver, "#theme")[0].text == "Light"
    find(driver, "#theme")[0].click()
    assert not dark()


def test_the_keyboard_reaches_everything(at):
    from selenium.webdriver.common.keys import Keys

    driver = at("index.html")
    reached = []
    for _ in range(90):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        active = driver.switch_to.active_element
        reached.append(active.get_attribute("class") or active.get_attribute("id") or active.tag_name)
        if active.tag_name == "body":
            break
    assert reached[0] == "skip"
    assert {"theme", "scroll", "intervals", "plate"} <= {name.split()[0] for name in reached}


def test_every_link_and_picture_resolves(at, address):
    driver = at("index.html")
    seen, waiting = set(), [f"{address}/index.html"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        driver.get(page)
        driver.execute_script("document.querySelectorAll('img').forEach((i) => { i.loading = 'eager' })")
        broken = driver.execute_async_script(
            "const done = arguments[0]; const all = [...document.images];"
            "Promise.all(all.map((i) => i.decode().then(() => '', () => i.src))).then((r) => done(r.filter(Boolean)))"
        )
        assert broken == [], page
        links = driver.execute_script("return [...document.links].map((a) => a.href)")
        for link in {link.partition("#")[0] for link in links}:
            assert link.startswith(address), f"{page}: {link}"
            assert Path(link.removeprefix("file://")).is_file(), f"{page}: {link}"
            if link.endswith(".html"):
                waiting.append(link)
    # the index, a page a cell and a run, the lineage of each method, each table alone, and two methods beside each other on each task
    alone = {page for page in seen if page.startswith(f"{address}/files/results/tables/")}
    assert len(alone) == 2 and len(seen) == 1 + 8 + 2 * 5 + 5 + len(alone) + 2 * 2


def shown_order(driver, selector):
    return [element.get_attribute("data-picture") for element in find(driver, selector)]


def test_two_methods_picture_by_picture(at):
    from selenium.webdriver.support.ui import Select

    driver = at("compare/toys/toys--haze.html")  # picture 0 is haze-1, picture 1 is haze-0
    said = lambda: find(driver, ".sum")[0].text  # noqa: E731
    row = lambda: [cell.text for cell in find(driver, "#scores-table tr[data-picture='0'] td")]  # noqa: E731
    assert said() == ("One & <only> is better on 1 of 2 pictures in PSNR, Two_50% on 1. The mean of A − B is +0.01 dB.")
    assert row()[:3] == ["21.01", "20.49", "+0.52"]
    button = find(driver, "#scores-table th[data-at='0'] button")[0]
    assert shown_order(driver, "#scores-table tbody tr") == shown_order(driver, ".pair") == ["0", "1"]
    button.click()  # where A is better
    assert shown_order(driver, ".pair") == ["0", "1"]
    button.click()  # where B is better
    assert shown_order(driver, "#scores-table tbody tr") == shown_order(driver, ".pair") == ["1", "0"]
    find(driver, "#scores-table th[data-at='2'] button")[0].click()  # LPIPS, where both pictures differ by nothing
    assert [h.get_attribute("aria-sort") for h in find(driver, "#scores-table th[data-at]")] == [
        "none",
        "none",
        "other",
    ]

    find(driver, "#swap")[0].click()
    assert row()[:3] == ["20.49", "21.01", "−0.52"] and driver.current_url.endswith("#a-two&b-one")
    Select(find(driver, "#a")[0]).select_by_visible_text("One & <only>")  # it is B: the two change places
    assert row()[:3] == ["21.01", "20.49", "+0.52"]
    Select(find(driver, "#b")[0]).select_by_visible_text("Degraded input")
    assert row()[:3] == ["21.01", "13.00", "+8.01"] and said().startswith("One & <only> is better on 2 of 2 pictures")

    pair = find(driver, ".pair")[0]
    image = pair.find_element("css selector", ".compare img.a")
    source = image.get_attribute("src")
    assert "/toys/haze-" in source and image.get_property("naturalWidth") > 0
    driver.execute_script("document.querySelector('#errors').click()")
    canvas = pair.find_element("css selector", ".compare canvas.a")
    assert canvas.is_displayed() and not image.is_displayed()
    WebDriverWait(driver, 20).until(
        lambda _: (canvas.get_attribute("data-drawn") or "").startswith(f"../..{source.partition('/toy')[2]} ")
    )
    assert "absolute error of One & <only>" in canvas.get_attribute("aria-label")
    driver.execute_script("document.querySelector('input[value=beside]').click()")
    second = pair.find_element("css selector", ".second canvas")
    assert second.is_displayed() and not pair.find_element("css selector", ".compare .after").is_displayed()
    assert driver.execute_script("return document.documentElement.scrollWidth") <= driver.execute_script(
        "return innerWidth"
    )
    assert driver.execute_script(CONTRAST) == []


def test_a_cell_leads_to_its_method_beside_another(at):
    driver = at("cells/toys/two/toys--haze.html")
    link = find(driver, "a[href*='compare/']")[0]
    driver.get(link.get_attribute("href"))
    assert (
        find(driver, "#a option:checked")[0].text == "Two_50%"
        and find(driver, "#b option:checked")[0].text == "One & <only>"
    )
