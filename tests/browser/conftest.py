"""A real browser without a window: one for all tests, and for each a page that is watched for what it must not do."""

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
# Of its own accord a browser asks its maker for updates and the like.
ARGUMENTS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def browser(environment: Environment) -> Iterator[Browser]:
    """Start the machine's Chromium, or playwright's own where that was installed.

    For one module, because playwright keeps an event loop running, beside which no asynchronous test can run.
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
class Watched:
    """A page in a browser, with all that it said on the console, asked for, or broke its policy with."""

    tab: Tab
    file: Path
    trouble: list[str] = field(default_factory=list)

    def open(self, page: Page) -> Tab:
        """Show a run's page, and return it once its table is there."""
        with self.file.open("w", encoding="utf-8", newline="") as file:
            file.writelines(render_page(page))
        self.tab.goto(self.file.as_uri())
        self.tab.locator("#place").filter(has_text="Page").wait_for()
        return self.tab


@pytest.fixture
def watched(browser: Browser, tmp_path: Path) -> Iterator[Watched]:
    """Return an empty page; at the end nothing may have been asked for, and the console has to be empty."""
    context = browser.new_context()
    watched = Watched(context.new_page(), tmp_path / "report.html")
    own = watched.file.as_uri()
    watched.tab.on("console", lambda message: watched.trouble.append(f"console: {message.text}"))
    watched.tab.on("pageerror", lambda error: watched.trouble.append(f"error: {error}"))
    watched.tab.on(
        "request", lambda request: None if request.url in {own, "data:,"} else watched.trouble.append(request.url)
    )
    watched.tab.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"
    )
    yield watched
    context.close()
    assert not watched.trouble
