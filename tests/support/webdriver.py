"""A real browser that tests drive (selenium, Chromium, chromedriver), skipped visibly where one of the three is absent.

with opened(tmp_path) as browser:
    look(browser, url, width=390, dark=True)
    browser.save_screenshot(...)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from tests.support.browser import NAMES

PHONE = 390
DESKTOP = 1280


@contextmanager
def opened(folder: Path) -> Iterator[webdriver.Chrome]:
    """Return a browser that sees this machine alone, and that says in its log what a page was refused.

    Args:
        folder: An empty one, for its profile.
    """
    chromium = next((found for name in NAMES if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser here that can be driven: want chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    switches = [
        "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--hide-scrollbars", "--host-resolver-rules=MAP * 127.0.0.1",
        f"--user-data-dir={folder}",
    ]  # fmt: skip
    if os.geteuid() == 0:
        # As root it does not start in its own sandbox; the pages are ours.
        switches.append("--no-sandbox")
    for switch in switches:
        options.add_argument(switch)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


def look(browser: webdriver.Chrome, url: str, *, width: int, dark: bool, media: str = "screen") -> None:
    """Open a page as somebody with such a screen does."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width <= PHONE},
    )
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(url)


def whole(browser: webdriver.Chrome, file: Path) -> None:
    """Keep a picture of a whole page, however long it is."""
    import base64

    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    file.write_bytes(base64.b64decode(shot["data"]))
