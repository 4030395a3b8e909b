"""The page in a real browser: sorting, keyboard, phone, dark mode, no network."""

import json
import shutil
from pathlib import Path

import pytest

from benchmark import leaderboard
from tests.support.synthetic import golden_cases, suite

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("leaderboard")
    for name, records in (
        ("default", suite(rounds=20)),
        ("mixed", golden_cases()["leaderboard-mixed"]),
    ):
        html = leaderboard.to_html(leaderboard.build(records, name), records)
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return folder


@pytest.fixture
def page(driver, pages):
    show(driver, pages / "default.html")
    return driver


def show(driver, path, width=1280, scheme="light", media=""):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    driver.get(path.as_uri())


def defenses(driver):
    return driver.find_element(By.CSS_SELECTOR, "table.sortable")


def column(table, index):
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.XPATH, "./*")[index].get_attribute("data-key") for row in rows]


def sorts(table):
    return [h.get_attribute("aria-sort") for h in table.find_elements(By.CSS_SELECTOR, "thead th")]


def test_click_sorts_both_ways_and_says_so(page):
    table = defenses(page)
    before = column(table, 1)
    button = table.find_elements(By.CSS_SELECTOR, "thead th button")[1]
    button.click()
    found = [float(key) for key in column(table, 1)]
    assert found == sorted(found)
    assert column(table, 1) != before  # the collapsed model leads only where the reader asks
    assert [s for s in sorts(table) if s] == ["ascending"]
    assert sorts(table)[1] == "ascending"
    button.click()
    found = [float(key) for key in column(table, 1)]
    assert found == sorted(found, reverse=True)
    assert sorts(table)[1] == "descending"


def test_keyboard_alone_reaches_and_sorts(page):
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the report"
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if page.switch_to.active_element.text.split()[:3] == ["Main", "accuracy", "attacked"]:
            break
    focused = page.switch_to.active_element
    assert focused.tag_name == "button"
    assert focused.value_of_css_property("outline-style") == "solid"
    focused.send_keys(Keys.ENTER)
    table = defenses(page)
    found = [float(key) for key in column(table, 5)]
    assert found == sorted(found, reverse=True)
    assert sorts(table)[5] == "descending"
    focused.send_keys(Keys.SPACE)
    assert sorts(table)[5] == "ascending"


def test_missing_numbers_sort_last_both_ways(driver, pages):
    show(driver, pages / "mixed.html")
    table = driver.find_elements(By.CSS_SELECTOR, "table.sortable")[5]  # frequency 5, defenses
    button = table.find_elements(By.CSS_SELECTOR, "thead th button")[1]
    for _ in range(2):
        button.click()
        keys = column(table, 1)
        assert keys[-1] == ""
        assert "" not in keys[:-1]


@pytest.mark.parametrize("name", ["default", "mixed"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_never_scrolls_sideways(driver, pages, name, width):
    show(driver, pages / f"{name}.html", width)
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    boxes = driver.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(box.size["width"] <= width for box in boxes)
    assert all(box.get_attribute("tabindex") == "0" for box in boxes)


CONTRAST = """
const parse = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
const light = (c) => { const [r, g, b] = parse(c).map((v) => {
  v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const paper = getComputedStyle(document.body).backgroundColor;
return [...document.querySelectorAll(arguments[0])].map((e) => {
  const [a, b] = [light(getComputedStyle(e).color), light(paper)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05); });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast(driver, pages, scheme):
    show(driver, pages / "default.html", scheme=scheme)
    kinds = "p, a, td, th, .unit, .note, .status, .hot, figcaption, dt, summary"
    ratios = driver.execute_script(CONTRAST, kinds)
    assert len(ratios) > 100
    assert min(ratios) >= 4.5


def test_dark_mode_turns_page_and_figures(driver, pages):
    def colors():
        return driver.execute_script(
            """const css = (q, p) => getComputedStyle(document.querySelector(q))[p];
            return [css("body", "backgroundColor"), css("body", "color"),
                    css("svg text", "fill")]"""
        )

    show(driver, pages / "default.html", scheme="light")
    light = colors()
    show(driver, pages / "default.html", scheme="dark")
    dark = colors()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert light[0] == "rgb(255, 255, 255)"


def test_no_request_leaves_the_page_and_the_console_is_silent(driver, pages):
    driver.get_log("performance")
    driver.get_log("browser")
    show(driver, pages / "default.html")
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert requests
    assert all(url.startswith(("file:", "data:")) for url in requests), requests
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.get_log("browser") == []


def test_entry_leads_to_its_runs_and_command(page):
    link = page.find_element(By.CSS_SELECTOR, "td.heat a")
    target = page.find_element(By.ID, link.get_attribute("href").split("#")[1])
    assert target.get_attribute("open") is None
    page.execute_script("arguments[0].click()", link)
    WebDriverWait(page, 10).until(lambda _: target.get_attribute("open") is not None)
    command = target.find_element(By.TAG_NAME, "pre")
    assert command.is_displayed()
    assert command.text.startswith("python -m benchmark run attack=none defense=mean")
    button = target.find_element(By.CSS_SELECTOR, ".copy")
    button.click()
    WebDriverWait(page, 10).until(lambda _: button.text in ("Copied", "Selected"))


def test_details_open_by_keyboard(page):
    summary = page.find_element(By.CSS_SELECTOR, "td summary")
    assert not summary.find_element(By.XPATH, "..//ul").is_displayed()
    summary.send_keys(Keys.ENTER)
    assert summary.find_element(By.XPATH, "..//ul").is_displayed()


def test_without_scripts_everything_can_be_read(driver, pages):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(driver, pages / "default.html")
        assert driver.find_elements(By.CSS_SELECTOR, "th button, .copy") == []
        summary = driver.find_element(By.CSS_SELECTOR, "details[id] summary")
        summary.click()
        assert summary.find_element(By.XPATH, "..//pre").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
