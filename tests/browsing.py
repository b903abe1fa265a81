"""A real browser for tests of the audit's page, and what they look at in it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

# What a page may be on paper and on the screen. Elements that are not seen are left out.
CONTRASTS = r"""() => {
  const rgb = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const light = ({r, g, b}) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
      if (colour.a > 0) throw new Error("half transparent: " + at.outerHTML.slice(0, 80));
    }
    return {r: 255, g: 255, b: 255};
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const found = [];
  const add = (kind, element, colour, words) => {
    if (colour === "none" || colour.startsWith("url")) return;
    found.push([kind, Math.round(ratio(rgb(colour), behind(element)) * 100) / 100, words]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, words = walker.currentNode.data.trim();
    if (!words || !element.checkVisibility() || element.closest("script, style, .unseen")) continue;
    const style = getComputedStyle(element);
    add("text", element, element.closest("svg") ? style.fill : style.color, words.slice(0, 40));
  }
  for (const element of document.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest(".unseen")) continue;
    for (const pseudo of ["::before", "::after"]) {
      const style = getComputedStyle(element, pseudo);
      if (!["none", "normal"].includes(style.content) && style.opacity !== "0") {
        add("text", element, style.color, pseudo + " of " + element.tagName + style.content);
      }
    }
  }
  for (const element of document.querySelectorAll("input[placeholder]")) {
    const style = getComputedStyle(element, "::placeholder");
    if (element.checkVisibility()) add("text", element, style.color, "placeholder");
  }
  for (const element of document.querySelectorAll("path:not(.tick, .ground, .hatch)")) {
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    add("mark", element, style.stroke === "none" ? style.fill : style.stroke, "mark " + element.getAttribute("class"));
  }
  for (const element of document.querySelectorAll("input[type=search], select, button:not(.sort, .open), .chip span")) {
    if (element.checkVisibility()) add("mark", element.parentElement, getComputedStyle(element).borderTopColor, "edge");
  }
  return found;
}"""


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """The distribution's Chromium, without a window. folder: its home."""
    path = shutil.which("chromium")
    assert path, "expected Chromium on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, env={**os.environ, "HOME": str(folder)})
        try:
            yield running
        finally:
            running.close()


class Watched:
    """A page that has to be silent: no request but for itself, no message, no error, no dialog."""

    def __init__(self, running: Browser, path: Path, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        self.context = running.new_context(**options)
        self.page: Page = self.context.new_page()
        self.address = path.as_uri()
        self.requests: list[str] = []
        self.noise: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda problem: self.noise.append(f"error: {problem}"))
        self.page.on("dialog", lambda dialog: (self.noise.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self) -> Page:
        """Load it."""
        self.page.goto(self.address)
        return self.page

    def close(self) -> None:
        """Close it, and complain when it was not silent."""
        self.context.close()
        assert set(self.requests) == {self.address}
        assert self.noise == []


def shown(page: Page) -> list[str]:
    """The names of the databases that can be seen, from top to bottom."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("#list > tbody")].filter((body) => body.getClientRects().length)
        .map((body) => body.querySelector("th").firstChild.nextSibling.textContent)"""
    )
    return found


def findings(page: Page) -> list[str]:
    """The evidence of the findings that can be seen, from top to bottom."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("#found .evidence")].filter((each) => each.getClientRects().length)
        .map((each) => each.textContent)"""
    )
    return found


def marks(page: Page, selector: str) -> dict[str, list[float]]:
    """Where each kind of mark of a timeline begins, in its drawing: x of every subpath."""
    found: dict[str, list[float]] = page.evaluate(
        r"""(selector) => Object.fromEntries([...document.querySelectorAll(selector + " path")].map((path) => {
          const starts = path.getAttribute("d").matchAll(/M([-\d.]+)/g);
          return [path.getAttribute("class"), [...starts].map((found) => +found[1])];
        }))""",
        selector,
    )
    return found
