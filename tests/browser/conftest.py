"""A headless browser, and for each test a page that is monitored for requests, errors and policy violations."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from bulkshare.report.html import render_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

    from bulkshare.report.html import Page
    from tests.environment import Environment

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell")
# By default a browser contacts its vendor, for updates among others.
ARGUMENTS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def browser(environment: Environment) -> Iterator[Browser]:
    """Start the machine's Chromium, or playwright's own if that is installed.

    One per module: playwright keeps an event loop running, beside which no asynchronous test can run.
    """
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            message = "no Chromium or Chrome: install one, or run `playwright install chromium`"
            if environment.variables.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        # Chromium refuses to put root's processes into its sandbox.
        arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else ARGUMENTS
        browser = playwright.chromium.launch(executable_path=found, args=arguments, env=dict(environment.variables))
        yield browser
        browser.close()


@dataclass
class MonitoredPage:
    """A page in a browser, with its console output, requests and policy violations."""

    tab: Tab
    file: Path
    violations: list[str] = field(default_factory=list)

    def open(self, page: Page) -> Tab:
        """Open a run's page, and return it once its table is rendered."""
        with self.file.open("w", encoding="utf-8", newline="") as file:
            file.writelines(render_page(page))
        self.tab.goto(self.file.as_uri())
        self.tab.locator("#place").filter(has_text="Page").wait_for()
        return self.tab


@pytest.fixture
def monitored(browser: Browser, tmp_path: Path) -> Iterator[MonitoredPage]:
    """Return an empty page; checks at the end that it made no request and that the console is empty."""
    context = browser.new_context()
    monitored = MonitoredPage(context.new_page(), tmp_path / "report.html")
    own = monitored.file.as_uri()
    monitored.tab.on("console", lambda message: monitored.violations.append(f"console: {message.text}"))
    monitored.tab.on("pageerror", lambda error: monitored.violations.append(f"error: {error}"))
    monitored.tab.on(
        "request", lambda request: None if request.url in {own, "data:,"} else monitored.violations.append(request.url)
    )
    monitored.tab.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"
    )
    yield monitored
    context.close()
    assert not monitored.violations
