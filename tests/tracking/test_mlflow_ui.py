"""What a person sees who opens the MLflow UI on a tracked suite."""

import shutil
from pathlib import Path

import pytest

from benchmark.tracking import Tracker
from tests.support.serving import stop
from tests.tracking.test_tracker import make_record, serve, written

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="no Chromium with its driver"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), "--window-size=1400,1000"]:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'browser'}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


def test_suite_cells_metrics_and_figure_are_visible(tmp_path, browser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "partition"
    card.mkdir()
    (card / "manifest.json").write_text('{"users": 100}')
    records = [make_record(f"boosted-mean-s{seed}-abc", seed=seed) for seed in range(2)]
    tracker = Tracker(uri="sqlite:///mlflow.db")
    tracker.open_suite("default-suite", {"axes": {"attack": ["*"]}, "seeds": [0, 1]})
    for record in records:
        tracker.finish(written(tmp_path, record), card)
    numbers = {"1_worst_backdoor/norm_clip norm_bound 1": 0.276, "cells": 2}
    tracker.result(lambda: (numbers, [("leaderboard.html", "<h1>Ranks</h1>")]))
    assert tracker.close() == []

    def shows(*texts):
        def visible(driver):
            seen = driver.find_element(By.TAG_NAME, "body").text
            return all(text in seen for text in texts)

        WebDriverWait(browser, 90).until(visible, f"{texts} not in {browser.current_url}")

    def click(text):
        link = f"//*[text()='{text}']"
        WebDriverWait(browser, 90).until(lambda driver: driver.find_elements(By.XPATH, link))
        browser.find_element(By.XPATH, link).click()

    # as a user starts it: in the working directory, on the database alone
    server, address = serve("sqlite:///mlflow.db", tmp_path)
    try:
        browser.get(f"{address}/#/experiments")
        click("fedbackdoor")
        click("Model training")  # MLflow 3 opens every experiment as one of generative AI
        shows("default-suite", "3 matching runs")
        screenshot(browser, tmp_path, "experiment")
        click("default-suite")
        shows("mean · boosted · s0", "mean · boosted · s1", "seeds", "[0, 1]", "axes.attack")
        shows("1_worst_backdoor/norm_clip norm_bound 1", "0.276", "Finished")
        screenshot(browser, tmp_path, "suite")
        click("Artifacts")
        shows("leaderboard.html")
        click("Overview")
        click("mean · boosted · s1")
        shows(
            "1_main_accuracy", "0.88", "main_accuracy", "attack.name", "digits5k (0123456789abcdef"
        )
        screenshot(browser, tmp_path, "cell")
        click("Artifacts")
        shows("record.json", "partition")
        click("curves.png")
        figure = "//img[contains(@src, 'blob:') or contains(@src, 'curves.png')]"
        WebDriverWait(browser, 90).until(
            lambda driver: any(
                int(image.get_property("naturalWidth")) == 800
                for image in driver.find_elements(By.XPATH, figure)
            ),
            "curves.png is not drawn",
        )
        screenshot(browser, tmp_path, "figure")
    finally:
        stop(server)


def screenshot(browser, folder: Path, name):
    """For a person to look at: pytest keeps the folder."""
    assert browser.save_screenshot(str(folder / f"{name}.png"))
