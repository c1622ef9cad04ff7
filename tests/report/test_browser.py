"""The page in a real browser: nothing fails, nothing is fetched, everything can be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rubout.report.page import render_search, write
from rubout.report.trials import read_search

from .conftest import BACK, EOS, MADE, MakeRun, figure
from .search_folder import SPACE, make_search, trial

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="there is no chromium, chromium-browser or google-chrome here"
)

# The least contrast of any text with what is behind it, and that text.
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      const parts = numbers(colour);
      if (parts.length === 3 || parts[3] > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let least = [21, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, style, title, desc")) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const pair = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < least[0]) least = [ratio, `${element.tagName} ${walker.currentNode.data}`];
  }
  return [...least, getComputedStyle(document.body).backgroundColor,
          getComputedStyle(document.body).color];
}"""


@dataclass
class Opened:
    """A page in the browser, and all that it did.

    Attributes:
        page: of playwright.
        fetched: addresses.
        said: on the console, and errors.
    """

    page: Any
    fetched: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests; as root it has no sandbox."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def report(page: Callable[..., str], rich_run: MakeRun, make_run: MakeRun, tmp_path: Path) -> Path:
    """A page with everything, and with names and texts that are hard to fit in."""
    long = "antidisestablishmentarianism" * 5
    hard = make_run(
        "hard",
        learner=long,
        rows={"model": {"nll_test": figure(4.2), long: figure(1.0)}},
        words=["a", "<script>alert(1)</script>", long, "שלום", "🦊"],
        samples=[{"text": f"a {long}", "actions": [0, 1, 3, 4, BACK, BACK, BACK, 2, EOS]}],
    )
    groups = [
        rich_run(f"{learner}{seed}", learner=learner, seed=seed)
        for learner in ("mle", "sequence_match")
        for seed in (0, 1)
    ]
    out = tmp_path / "report.html"
    write(out, page(*groups, hard, make_run("other", task="python-docs", updates=9)))
    return out


@pytest.fixture
def search_page(rich_run: MakeRun, tmp_path: Path) -> Path:
    """A page of a search with all that can become of a trial, and with names hard to fit in."""
    long = "antidisestablishmentarianism" * 3
    trials = []
    for number in range(9):
        sample = {"learner.lr": 0.001 * 1.6**number, "learner.kind": "abc"[number % 3]}
        sample |= {"policy.dropout": number / 20, f"task.{long}": ("a", long)[number % 2]}
        figures = {"nll_validation": 2.0 + number % 5, "nll_test": 2.0 + number % 5}
        figures["nll_oracle"] = 9.0 - number
        status = ("whole", "stopped")[number % 2]
        trials.append(trial(number, sample=sample, figures=figures, status=status))
    trials.append(trial(9, None, status="failed", error=f"ValueError: {long}"))
    space = {**SPACE, f"task.{long}": f"Choice(values=('a', {long!r}))"}
    found = read_search(make_search(tmp_path / "search", trials, rich_run("best"), space=space))
    out = tmp_path / "search.html"
    write(out, render_search(found, MADE))
    return out


@pytest.fixture(params=["report", "search_page"])
def either(request: pytest.FixtureRequest) -> Path:
    """Both kinds of page."""
    return Path(request.getfixturevalue(request.param))


@pytest.fixture
def opened(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Opened]]:
    """Opens the page in a window of its own."""
    contexts = []

    name = "either" if "either" in request.fixturenames else "report"
    address = Path(request.getfixturevalue(name)).as_uri()

    def opened(width: int = 1280, scheme: str = "light", *, scripts: bool = True) -> Opened:
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("request", lambda request: found.fetched.append(request.url))
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.goto(address)
        return found

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_window_and_fetches_nothing(opened, either, width):
    found = opened(width)
    for details in found.page.query_selector_all("details"):
        details.evaluate("element => element.open = true")
    size = "() => [document.documentElement.scrollWidth, innerWidth]"
    inner, outer = found.page.evaluate(size)
    assert inner <= outer == width
    wide = (
        "() => [...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )
    assert found.page.evaluate(wide), "no table was wide enough to tell"
    assert [address for address in found.fetched if not address.startswith("data:")] == [
        either.as_uri()
    ]
    assert found.said == []


def test_light_and_dark_differ_and_both_can_be_read(opened, either):
    looks = {}
    for scheme in ("light", "dark"):
        ratio, text, background, colour = opened(scheme=scheme).page.evaluate(CONTRAST)
        assert ratio >= 4.5, text
        looks[scheme] = (background, colour)
    assert looks["light"][0] != looks["dark"][0]
    assert looks["light"][1] != looks["dark"][1]


def test_charts_follow_the_scheme(opened):
    def colours(scheme: str) -> list[str]:
        return opened(scheme=scheme).page.eval_on_selector_all(
            ".chart .line, .chart .tick",
            "found => found.map(e => getComputedStyle(e)[e.matches('.line') ? 'stroke' : 'fill'])",
        )

    light, dark = colours("light"), colours("dark")
    assert len(light) == len(dark) > 10
    assert all(one != other for one, other in zip(light, dark, strict=True))


def test_paper_is_white_without_buttons_and_with_all_options(opened):
    found = opened(scheme="dark").page
    assert found.locator("button").first.is_visible()
    found.emulate_media(media="print")
    assert not any(button.is_visible() for button in found.locator("button").all())
    assert not found.locator("nav").is_visible()
    assert found.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shared = found.locator("details.printed", has_text="that all of them share")
    assert shared.locator("td").first.is_visible()
    assert found.evaluate(CONTRAST)[0] >= 4.5


def test_tables_are_not_cut_on_paper(opened, either):
    found = opened(width=700).page  # what is left of A4 between the margins
    found.emulate_media(media="print")
    assert found.evaluate("() => document.documentElement.scrollWidth") <= 700


def test_a_sample_is_typed_key_by_key_and_then_stands_as_before(opened):
    found = opened().page
    sample = found.locator(".sample[data-keys*='dog']").first
    typed, button = sample.locator(".typed"), sample.locator("button")
    before = typed.inner_html()
    found.evaluate(
        """() => {
          window.seen = [];
          const typed = document.querySelector(".sample[data-keys*='dog'] .typed");
          new MutationObserver(() => window.seen.push(typed.textContent))
            .observe(typed, {childList: true, characterData: true, subtree: true});
        }"""
    )
    button.click()
    assert "Stop" in button.inner_text()
    assert button.get_attribute("aria-label") == "Stop sample 1 of mle on oracle"
    sync_api.expect(button).to_have_text("▶ Play", timeout=15000)
    seen = [text for text in dict.fromkeys(found.evaluate("window.seen")) if text]
    assert seen == ["a", "a cat", "a dog", "a dog sits", "a cat dog sits"]
    assert typed.inner_html() == before


def test_stop_gives_the_sample_back_at_once(opened):
    found = opened().page
    sample = found.locator(".sample").first
    before = sample.locator(".typed").inner_html()
    sample.locator("button").click()
    assert sample.locator(".typed").inner_html() != before
    sample.locator("button").click()
    assert sample.locator(".typed").inner_html() == before


def test_without_scripts_the_text_stands_struck_through(opened):
    found = opened(scripts=False).page
    struck = found.locator(".sample s").first
    assert struck.is_visible()
    assert struck.inner_text().strip() == "cat"
    assert not any(button.is_visible() for button in found.locator("button").all())


def test_the_strike_is_drawn(opened):
    line = "element => getComputedStyle(element).textDecorationLine"
    assert opened().page.locator(".sample s").first.evaluate(line) == "line-through"


def test_what_a_run_wrote_is_text(opened):
    found = opened().page
    assert found.locator(".sample script").count() == 0
    assert found.locator(".sample", has_text="<script>alert(1)</script>").count() == 1


@pytest.mark.parametrize(
    ("width", "shown", "other"), [(360, "stacked", "upright"), (1280, "upright", "stacked")]
)
@pytest.mark.parametrize("either", ["search_page"], indirect=True)
def test_axes_lie_on_a_phone_and_stand_elsewhere(opened, either, width, shown, other):
    found = opened(width, scripts=False).page
    assert found.locator(f".{shown}").is_visible()
    assert not found.locator(f".{other}").is_visible()
    least = "found => Math.min(...found.map(e => e.getBoundingClientRect().height))"
    assert found.eval_on_selector_all(f".{shown} text", least) >= 10
