"""The audit's page in a real browser: what it shows, what it does, and for whom it works."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import auditing
import pytest
from browsing import CONTRASTS, Watched, browser, findings, marks, shown
from playwright.sync_api import Browser, Page, expect

from litekeep import reporthtml
from litekeep.reporttext import plain

EVIL = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "\u202etxt.elif\x00\n",
    "{{constructor}} ${1} \\u003c",
)
DAY = 86_400
EDGE = 7
Open = Callable[..., Page]


def evil() -> auditing.Report:
    databases, found = [], []
    for text in EVIL:
        gap = {"from": auditing.ago(9000), "to": auditing.ago(800), "reason": text}
        backups = [{**auditing.backup(60, 1), "id": text}, {**auditing.backup(90, 1), "state": "damaged"}]
        drills = [auditing.drill(5, text)]
        databases.append(
            auditing.database(text, text, backups, path=f"/srv/{text}", seen_by=[text], gaps=[gap], drills=drills)
        )
        found.append(auditing.finding("LK03", "critical", text, text, text, f"litekeep backup {text}"))
    report = auditing.report([auditing.host(text, "failed", text) for text in EVIL], databases, found)
    report["controls"][2].update(name=EVIL[0], title=EVIL[2])
    return report


def short() -> auditing.Report:
    return auditing.large(800, 3)


def many() -> auditing.Report:
    return auditing.large(1000, 60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("home")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], auditing.Report]], Path]:
    """The file with the page of what a function reports, made once."""
    folder = tmp_path_factory.mktemp("pages")

    def of(make: Callable[[], auditing.Report]) -> Path:
        path = folder / f"{make.__name__}.html"
        if not path.exists():
            path.write_text(reporthtml.page(make()))
        return path

    return of


@pytest.fixture
def watched(running: Browser, pages: Any) -> Iterator[Callable[..., Watched]]:
    """A page that is not loaded yet. Each is silent to the end, or the test fails."""
    made: list[Watched] = []

    def make(report: Callable[[], auditing.Report] = auditing.small, **options: Any) -> Watched:
        made.append(Watched(running, pages(report), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def opened(watched: Callable[..., Watched]) -> Open:
    """Load the page of a report, by default of the small fleet."""
    return lambda *report, **options: watched(*report, **options).open()


def count(page: Page) -> str:
    return page.locator("#count").inner_text()


def press_details(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Details of {name} ").click()


def test_the_verdict_and_the_numbers_stand_first(opened: Open) -> None:
    page = opened()
    assert page.title() == "Not compliant: Litekeep audit, 2026-11-23 14:40 UTC"
    expect(page.get_by_role("heading", level=1)).to_have_text("Not compliant")
    header = page.get_by_role("banner").inner_text()
    assert "7 databases on 5 hosts (1 did not answer)" in header
    assert "4 critical findings, 4 warnings and 2 notices. A critical finding or a warning fails this audit." in header
    assert "23 November 2026, 14:40 UTC" in header


def test_the_page_says_how_old_it_is(watched: Callable[..., Watched]) -> None:
    waiting = watched()
    for later, words, old in [
        (dt.timedelta(seconds=20), "just now", ""),
        (dt.timedelta(minutes=3), "3 minutes ago", ""),
        (dt.timedelta(hours=1, minutes=59), "1 hour ago", ""),
        (dt.timedelta(days=5), "5 days ago", "old"),
    ]:
        waiting.page.clock.set_fixed_time(auditing.NOW + later)
        since = waiting.open().locator("#since")
        assert (since.inner_text(), since.get_attribute("class")) == (f", {words}", old)


def test_the_filter_finds_hosts_databases_and_paths(opened: Open) -> None:
    page = opened()
    for words, names, number in [
        ("db1", ["events", "empty", "shop", "notes"], 4),
        ("DB3", ["ledger"], 2),
        (" orders ", ["orders"], 1),
        ("/lib/no", ["notes"], 0),
        ("nowhere", [], 0),
    ]:
        page.get_by_role("searchbox").fill(words)
        assert shown(page) == names
        assert len(findings(page)) == number
        assert count(page) == f"{len(names)} of 7 databases, {number} of 10 findings"
        assert page.get_by_text("No database fits the filter.").is_visible() is not bool(names)
        assert page.get_by_text("No finding fits the filter.").is_visible() is not bool(number)
    page.get_by_role("button", name="Clear the filter").click()
    assert count(page) == "7 of 7 databases, 10 of 10 findings"
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_the_filter_finds_severities_and_controls_in_findings_and_databases(opened: Open) -> None:
    page = opened()
    small = auditing.small()

    def expected(severities: set[str], control: str | None) -> tuple[set[str], set[str]]:
        found = {each["evidence"] for each in small["findings"]
                 if each["severity"] in severities and control in (None, each["id"])}  # fmt: skip
        names = set()
        for each in small["databases"]:
            states = each["controls"]
            asked = set(states.values()) if control is None else {states.get(control)}
            wholly = each["worst"] if control is None else states.get(control)
            if asked & (severities - {"ok"}) or ("ok" in severities and wholly == "ok"):
                names.add(each["database"])
        return names, found

    for boxes, control in [
        (["Critical"], None), (["Warning"], None), (["Notice"], None), (["OK"], None), (["Critical", "OK"], None),
        (["Warning"], "LK10"), (["OK"], "LK06"), (["Notice", "Warning"], "LK10"),
    ]:  # fmt: skip
        for box in boxes:
            page.get_by_role("checkbox", name=box).check()
        page.get_by_role("combobox", name="Control").select_option(control or "")
        names, found = expected({box.lower() for box in boxes}, control)
        assert (set(shown(page)), set(findings(page))) == (names, found), (boxes, control)
        assert names
        page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Control").select_option("LK04")
    assert set(shown(page)) == {"events", "ledger"}
    assert findings(page) == ["one backup is damaged, one is unreadable"]


SORTED = {
    "Host": ("events shop orders cache ledger empty notes", "empty notes ledger orders cache events shop"),
    "Database": ("cache empty events ledger notes orders shop", "shop orders notes ledger events empty cache"),
    "Newest verified backup": (
        "empty ledger events orders cache shop notes",
        "orders cache shop notes events ledger empty",
    ),
    "Any moment until": ("orders shop events ledger empty cache notes", "shop orders events ledger empty cache notes"),
    "Size": ("cache notes orders ledger events shop empty", "events shop ledger orders notes cache empty"),
    "Backups": ("empty cache ledger orders events shop notes", "shop notes events orders ledger cache empty"),
    "Last drill": ("ledger empty cache events orders notes shop", "shop notes orders events ledger empty cache"),
    "State": ("events ledger empty orders cache shop notes", "shop notes cache orders events ledger empty"),
}


def test_each_column_sorts_up_and_down_by_what_it_means(opened: Open) -> None:
    page = opened()
    expect(page.locator("#list [aria-sort]")).to_have_text("State")
    assert shown(page) == SORTED["State"][0].split()
    heads = page.locator("#list").get_by_role("columnheader")
    assert heads.get_by_role("button").count() == len(SORTED)
    for column, orders in SORTED.items():
        head = heads.filter(has_text=column)
        for direction, order in zip(("ascending", "descending"), orders):
            head.get_by_role("button").click()
            assert shown(page) == order.split(), (column, direction)
            expect(head).to_have_attribute("aria-sort", direction)
            assert page.locator("#list [aria-sort]").count() == 1


def test_sorting_and_filtering_go_together(opened: Open) -> None:
    page = opened()
    page.get_by_role("searchbox").fill("db1")
    page.get_by_role("columnheader", name="Size").get_by_role("button").click()
    assert shown(page) == ["notes", "events", "shop", "empty"]
    page.keyboard.press("Escape")
    assert shown(page) == ["cache", "notes", "orders", "ledger", "events", "shop", "empty"]


def row_of(name: str) -> str:
    """Where the row of a database of the small fleet stands, before it is sorted."""
    return f"#d{['events', 'ledger', 'empty', 'orders', 'cache', 'shop', 'notes'].index(name)}"


def test_the_timeline_has_every_mark_in_its_place(opened: Open) -> None:
    page = opened()
    events = marks(page, f"{row_of('events')} .line")
    assert len(events["verified"]) == 18
    assert len(events["bad"]) == 3
    assert not {"window", "gap", "passed", "slow"} & set(events)
    assert len(events["older"]) == 1  # the drill of forty days ago
    orders = marks(page, f"{row_of('orders')} .line")
    assert [len(orders[kind]) for kind in ("verified", "window", "gap", "passed", "failed")] == [14, 3, 2, 1, 1]
    shop = marks(page, f"{row_of('shop')} .line")
    assert [len(shop[kind]) for kind in ("verified", "window", "passed")] == [30, 1, 2]
    width = page.locator(f"{row_of('orders')} .line svg").evaluate("(svg) => svg.viewBox.baseVal.width")

    def place(seconds: float) -> float:
        """With the thirty days that the small fleet is shown with."""
        return float(EDGE + (1 - seconds / (30 * DAY)) * (width - 2 * EDGE))

    assert orders["verified"] == pytest.approx([place(45_600 + n * DAY) - 1 for n in reversed(range(14))], abs=0.2)
    assert orders["window"] == pytest.approx([place(n * DAY) for n in (12, 5.5, 2 - 900 / DAY)], abs=0.2)
    assert orders["gap"][0] == pytest.approx(place(6 * DAY), abs=0.2)
    assert orders["passed"] == pytest.approx([place(7 * DAY) - 4], abs=0.2)


def test_verified_backups_and_others_differ_in_shape_and_gaps_are_hatched(opened: Open) -> None:
    page = opened()
    line = page.locator(f"{row_of('events')} .line")
    verified, bad = (line.locator(f".{kind}").get_attribute("d") or "" for kind in ("verified", "bad"))
    assert verified.endswith("z")
    assert "z" not in bad
    gap = page.locator(f"{row_of('orders')} .line .gap")
    assert gap.evaluate("(path) => getComputedStyle(path).fill") == 'url("#hatch")'
    assert page.locator("pattern#hatch path").count() == 1


def test_the_time_that_timelines_show_can_be_chosen(opened: Open) -> None:
    page = opened()
    chosen = page.get_by_role("combobox", name="Timelines show")
    assert chosen.locator("option:checked").inner_text() == "30 days"
    chosen.select_option("7 days")
    found = marks(page, f"{row_of('orders')} .line")
    assert len(found["verified"]) == 7
    assert len(found["older"]) == 2
    chosen.select_option("everything")
    found = marks(page, f"{row_of('events')} .line")
    assert [len(found[kind]) for kind in ("verified", "bad", "slow")] == [18, 3, 1]
    assert "older" not in found


def test_the_axis_has_days_weeks_on_mondays_months_or_years(opened: Open) -> None:
    def old() -> auditing.Report:
        backups = [auditing.backup(number * 30 * DAY, 1) for number in reversed(range(40))]
        return auditing.report([auditing.host("db1")], [auditing.database("db1", "shop", backups)], [])

    page = opened(old)
    chosen = page.get_by_role("combobox", name="Timelines show")
    assert chosen.locator("option:checked").inner_text() == "90 days"
    for choice, labels in {
        "1 day": ["18:00", "23 Nov", "06:00", "12:00"],
        "7 days": ["17 Nov", "19 Nov", "21 Nov", "23 Nov"],
        "30 days": ["26 Oct", "2 Nov", "9 Nov", "16 Nov", "23 Nov"],
        "365 days": ["Jan 2026", "Apr 2026", "Jul 2026", "Oct 2026"],
        "everything": ["2024", "2025", "2026"],
    }.items():
        chosen.select_option(choice)
        assert page.locator("#axis text").all_text_contents() == labels


def test_a_timeline_has_a_sentence_and_a_table_that_say_the_same(opened: Open) -> None:
    page = opened()
    words = (
        "14 backups from 2026-11-10 to 2026-11-23: 14 verified. Archive: any moment from 2026-11-11 14:40 to "
        "2026-11-23 11:40 except for 2 gaps. 2 drills, the last one 7 d ago: passed in 12.3 s."
    )
    expect(page.locator(f"{row_of('orders')} .line").get_by_role("img")).to_have_attribute("aria-label", words)
    events = page.locator(f"{row_of('events')} .line").get_by_role("img").get_attribute("aria-label") or ""
    assert "21 backups from 2026-10-31 to 2026-11-20: 18 verified, 1 damaged, 1 bad source, 1 unreadable." in events
    assert "passed in 40 min, too slow" in events
    press_details(page, "orders")
    details = page.locator(f"{row_of('orders')} .details")
    expect(details.get_by_text(words)).to_be_visible()
    details.get_by_text("The same as a table").click()
    rows = details.get_by_role("table").get_by_role("row")
    texts = [each.split("\t") for each in rows.all_inner_texts()]
    assert texts[0] == ["From (UTC)", "To", "What", "Result", "Restore point"]
    assert len(texts) == 1 + 14 + 3 + 2 + 2
    assert ["2026-11-22 02:00:00", "", "Backup", "verified, 12.0 MB", "20261122T020000.000Z-full"] in texts
    assert ["2026-11-21 14:40:00", "2026-11-21 14:55:00", "Gap", "a checkpoint came before the archiver", ""] in texts
    assert [text[0] for text in texts[1:]] == sorted((text[0] for text in texts[1:]), reverse=True)


def test_the_details_say_every_control_and_objective(opened: Open) -> None:
    page = opened()
    press_details(page, "events")
    details = page.locator(f"{row_of('events')} .details").inner_text()
    assert "Critical freshness: the newest verified backup is 3 d 2 h old, the objective is 1 d" in details
    assert "Warning verification: one backup is damaged, one is unreadable" in details
    assert "OK reachable, coverage, retention, archive, off-host, sealed" in details
    assert "a backup not older than 1 d, a restore within 30 min, a drill every 30 d. Asked: db1, bs1." in details
    large = marks(page, f"{row_of('events')} figure")
    assert [len(large[kind]) for kind in ("verified", "bad")] == [18, 3]
    press_details(page, "ledger")
    assert "Unknown verification" in page.locator(f"{row_of('ledger')} .details").inner_text()
    press_details(page, "events")
    expect(page.locator(f"{row_of('events')} .details")).to_be_hidden()


def test_a_mark_can_be_pointed_at(opened: Open) -> None:
    page = opened()
    press_details(page, "orders")
    figure = page.locator(f"{row_of('orders')} figure")
    readout = page.locator(f"{row_of('orders')} .readout")
    x = marks(page, f"{row_of('orders')} figure")
    for kind, y, words in [
        ("verified", 38, "Backup 2026-11-10 02:00:00 UTC, verified, 12.0 MB"),
        ("failed", 13, "Drill 2026-11-15 14:40:00 UTC, failed in 3.1 s"),
        ("gap", 68, "Gap 2026-11-17 14:40:00 to 2026-11-18 02:40:00 UTC (12 h): the archive was stopped"),
        ("window", 68, "Any moment 2026-11-11 14:40:00 to 2026-11-17 14:40:00 UTC"),
    ]:
        figure.hover(position={"x": x[kind][0] + 3, "y": y})
        expect(readout).to_have_text(words)


def test_everything_can_be_done_with_the_keyboard(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the findings")).to_be_focused()
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("orders")
    assert shown(page) == ["orders"]
    page.keyboard.press("Escape")
    assert len(shown(page)) == 7
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert shown(page) == ["events", "ledger", "empty"]
    page.keyboard.press("Escape")
    assert len(shown(page)) == 7
    expect(page.get_by_role("checkbox", name="Critical")).not_to_be_checked()
    page.get_by_role("columnheader", name="Size").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert shown(page)[0] == "cache"
    page.get_by_role("button", name="Details of cache on db2").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("3 backups from")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="History of cache")).to_be_visible()


def test_every_control_is_reached_by_tab_and_seen_when_it_is(opened: Open) -> None:
    page = opened()
    press_details(page, "orders")
    page.locator(f"{row_of('orders')} summary").click()
    wanted = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")];
          window.wanted = new Set(all.filter((each) => each.checkVisibility()));
          all[0].focus();
          window.wanted.delete(all[0]);
          return window.wanted.size;
        }"""
    )
    assert wanted > 30
    for _press in range(wanted):
        page.keyboard.press("Tab")
        problem = page.evaluate(
            """() => {
              const each = document.activeElement, style = getComputedStyle(each.closest(".chip")?.lastChild || each);
              if (!window.wanted.delete(each)) return "not wanted, or twice: " + each.outerHTML;
              return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 ? "" : each.outerHTML;
            }"""
        )
        assert problem == ""
    assert page.evaluate("window.wanted.size") == 0


@pytest.mark.parametrize("look", ["light", "dark", "forced", "print"])
def test_all_text_and_all_marks_stand_out(opened: Open, look: str) -> None:
    forced = "active" if look == "forced" else "none"
    page = opened(color_scheme="light" if look == "light" else "dark", forced_colors=forced)
    if look == "print":
        page.emulate_media(media="print")
    else:
        for name in ("events", "orders"):
            press_details(page, name)
        page.locator(f"{row_of('orders')} summary").click()
        page.get_by_role("checkbox", name="Critical").check()
        page.get_by_role("checkbox", name="Warning").check()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [each for each in found if each[1] < (4.5 if each[0] == "text" else 3)] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 21)"
    assert dark is (look == "dark")


def test_states_are_words_and_shapes(opened: Open) -> None:
    page = opened()
    states = page.evaluate(
        """() => [...document.querySelectorAll(".state")].map((each) =>
        [each.innerText.toLowerCase(), getComputedStyle(each, "::before").content.slice(0, 3)])"""
    )
    shapes = {word: {shape for text, shape in states if text == word} for word, _shape in states}
    assert set(shapes) == {"critical", "warning", "notice", "ok", "answered", "unreachable"}
    assert all(len(each) == 1 for each in shapes.values())
    assert len(set().union(*shapes.values())) == 4


def test_paper_has_all_findings_and_the_timelines_that_nobody_has_scrolled_to(opened: Open) -> None:
    page = opened(short)
    total = len(short()["findings"])
    page.evaluate(
        """() => {
          const seen = (each) => each.getClientRects().length;
          const of = (selector) => [...document.querySelectorAll(selector)].filter(seen);
          window.before = ["#found tbody tr", "#list > tbody", ".line svg"].map((selector) => of(selector).length);
          addEventListener("beforeprint", () => { window.drawn = of(".line svg").length; });
        }"""
    )
    page.get_by_role("searchbox").fill("db1")
    rows = len(shown(page))
    assert 1 < rows < 300
    page.pdf()
    assert page.evaluate("window.drawn") == rows
    before = page.evaluate("window.before")
    assert before[0] == 100
    assert before[1] == 800
    assert before[2] < 100
    page.emulate_media(media="print")
    seen = "(each) => each.filter((one) => one.getClientRects().length).length"
    assert page.locator("#found tbody tr").evaluate_all(seen) == total > 100
    assert page.locator("#list > tbody").evaluate_all(seen) == rows
    assert page.locator("#filter, nav, .copy, .open, #all").evaluate_all(seen) == 0
    expect(page.get_by_text(f"A filter was set: these are {rows} of 800 databases.")).to_be_visible()


def test_many_findings_stand_there_in_parts(opened: Open) -> None:
    page = opened(short)
    total = len(short()["findings"])
    assert len(findings(page)) == 100
    assert count(page) == f"800 of 800 databases, {total} of {total} findings"
    page.get_by_role("button", name=f"Show all {total} findings").click()
    assert len(findings(page)) == total
    assert page.evaluate("[...document.querySelectorAll('#found tbody tr')].indexOf(document.activeElement)") == 100


def test_a_thousand_databases_with_sixty_backups_each(opened: Open) -> None:
    page = opened(many)
    report = many()
    assert count(page).startswith("1,000 of 1,000 databases, 143 of 143 findings")
    assert page.locator(".line svg").count() < 100
    assert page.locator("#d999").evaluate("(body) => getComputedStyle(body).contentVisibility") == "auto"
    page.get_by_role("searchbox").fill("db5.")
    names = [each["database"] for each in report["databases"] if "db5." in each["host"]]
    assert sorted(shown(page)) == sorted(names)
    assert len(names) == 10
    page.get_by_role("searchbox").fill("APP0998.db")
    assert shown(page) == ["app0998"]
    line = page.locator("#list > tbody:not(.out) .line")
    line.scroll_into_view_if_needed()
    expect(line.get_by_role("img")).to_be_visible()
    assert (line.locator(".verified").get_attribute("d") or "").count("M") == 60
    page.keyboard.press("Escape")
    page.get_by_role("columnheader", name="Database").get_by_role("button").click()
    assert shown(page) == [f"app{number:04d}" for number in range(1000)]


def test_a_finding_leads_to_its_database(opened: Open) -> None:
    page = opened(many)
    link = page.locator("#found a:visible").last
    link.click()
    place = page.evaluate("new URL(location).hash")
    head, row = page.locator("#list thead").bounding_box(), page.locator(place).bounding_box()
    assert head is not None
    assert row is not None
    assert head["y"] + head["height"] - 2 <= row["y"] < 900
    assert page.locator(f"{place} th").inner_text().startswith(link.inner_text())


def test_without_javascript_findings_and_databases_can_be_read(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    body = page.locator("body").inner_text()
    for finding in auditing.small()["findings"]:
        assert finding["evidence"] in body
        assert finding["remedy"] in body
    for database in auditing.small()["databases"]:
        assert database["path"] or database["database"] in body
    expect(page.locator("form")).to_be_hidden()
    expect(page.get_by_text("The filter, sorting and timelines need JavaScript.")).to_be_visible()
    assert page.get_by_role("button").count() == 0


def test_hostile_names_stay_text(opened: Open) -> None:
    page = opened(evil)
    names = [plain(text) for text in EVIL]
    assert sorted(shown(page)) == sorted(names)
    assert sorted(findings(page)) == sorted(names)
    for button in page.locator(".open").all():
        button.click()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img, [onload], [onerror]").count() == 0
    history = page.locator(".details").nth(shown(page).index(names[0])).inner_text()
    assert history.count(names[0]) >= 3  # of the gap, the drill and the backup
    page.get_by_role("searchbox").fill(names[2])
    assert shown(page) == [names[2]]
    page.locator("#list > tbody:not(.out) figure").hover(position={"x": 500, "y": 68})
    assert page.locator("#list > tbody:not(.out) .line").get_by_role("img").count() == 1


def test_the_browser_holds_to_the_policy(running: Browser, pages: Any) -> None:
    context = running.new_context()
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages(auditing.small).as_uri())
    outcome = page.evaluate(
        """async () => {
          const tried = {};
          try { document.body.innerHTML = "<p>"; tried.markup = "went in"; } catch { tried.markup = "refused"; }
          const image = document.createElement("img");
          tried.image = await new Promise((done) => {
            image.onload = () => done("loaded");
            image.onerror = () => done("refused");
            image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
          });
          try { await fetch("https://example.net/"); tried.fetch = "went out"; } catch { tried.fetch = "refused"; }
          const style = document.createElement("style");
          style.textContent = "body { display: none; }";
          document.head.append(style);
          tried.style = getComputedStyle(document.body).display;
          return tried;
        }"""
    )
    context.close()
    assert outcome == {"markup": "refused", "image": "refused", "fetch": "refused", "style": "block"}
    assert len(requests) == 1


@pytest.mark.parametrize("report", [auditing.small, evil])
def test_a_narrow_screen_never_scrolls_sideways(opened: Open, report: Callable[[], auditing.Report]) -> None:
    page = opened(report)
    for button in page.locator(".open").all()[:4]:
        button.click()
    page.locator("summary").first.click()
    for width in (1100, 760, 400, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        beyond = page.evaluate(
            """(width) => [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility() &&
            !each.closest(".scroll, .unseen, .skip, svg") && each.getBoundingClientRect().right > width + 1)
            .map((each) => each.outerHTML.slice(0, 99))""",
            width,
        )
        assert beyond == []


def test_buttons_are_large_enough_to_hit(opened: Open) -> None:
    page = opened(viewport={"width": 400, "height": 800})
    boxes = page.locator("button:visible, select:visible, input:visible").evaluate_all(
        "(all) => all.map((each) => [each.outerHTML.slice(0, 60), each.offsetWidth, each.offsetHeight])"
    )
    assert len(boxes) > 25
    assert [each for each in boxes if each[1] < 24 or each[2] < 24] == []


def test_a_screen_reader_finds_names_headings_landmarks_and_tables(opened: Open) -> None:
    page = opened()
    press_details(page, "orders")
    page.locator(f"{row_of('orders')} summary").click()
    assert page.locator("html").get_attribute("lang") == "en"
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    tree = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in nodes if not each["ignored"]]
    roles = [role for role, _name in tree]
    for role in ("button", "link", "searchbox", "combobox", "checkbox", "image", "img", "region", "table"):
        assert [name for each, name in tree if each == role and not name.strip()] == [], role
    for role in ("banner", "main", "contentinfo", "search", "navigation"):
        assert roles.count(role) == 1, role
    assert roles.count("table") == 5
    assert len({name for role, name in tree if role == "button" and name.startswith("Details of ")}) == 7
    assert roles.count("rowheader") >= 7 + 10 + 15 + 5
    levels = page.locator("h1, h2, h3, h4").evaluate_all("(all) => all.map((each) => each.tagName)")
    assert levels == ["H1", "H2", "H2", "H2", "H2"]
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("table:not(:has(> caption))").count() == 0
    assert page.locator("#count").get_attribute("aria-live") == "polite"
    ids = page.locator("[id]").evaluate_all("(all) => all.map((each) => each.id)")
    assert len(ids) == len(set(ids))
    for attribute in ("aria-controls", "aria-labelledby", "for"):
        for names in page.locator(f"[{attribute}]").evaluate_all(
            f"(all) => all.map((e) => e.getAttribute('{attribute}'))"
        ):
            assert set(names.split()) <= set(ids)


@pytest.mark.parametrize("width", [400, 1440])
def test_rows_stay_rows_for_a_screen_reader_whatever_the_width(opened: Open, width: int) -> None:
    page = opened(viewport={"width": width, "height": 800})
    table = page.get_by_role("table", name="All times are UTC")
    assert table.get_by_role("row").count() == 8
    row = table.get_by_role("row").nth(1)
    assert row.get_by_role("cell").count() == 8
    expect(row.get_by_role("rowheader")).to_contain_text("events")
    # By themselves too: other browsers forget what a table is when its rows are grids.
    for role, number in {"row": 8, "columnheader": 9, "rowheader": 7, "cell": 56}.items():
        assert page.locator(f"#list [role={role}]").count() == number


def test_a_command_can_be_copied(opened: Open) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: litekeep backup events").click()
    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "litekeep backup events"


def test_a_command_can_be_copied_where_the_browser_has_no_clipboard_for_pages(
    watched: Callable[..., Watched],
) -> None:
    waiting = watched()
    waiting.context.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page = waiting.open()
    page.get_by_role("button", name="Copy: litekeep push ledger").click()
    expect(page.locator("#said")).to_have_text("Copied")
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_role("searchbox")).to_have_value("litekeep push ledger")


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_do_not_want_it(opened: Open, wish: str, moves: bool) -> None:
    page = opened(reduced_motion=wish)
    durations = page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((each) => ["", "::before", "::after"].map((pseudo) => {
          const style = getComputedStyle(each, pseudo);
          return style.transitionDuration + style.animationDuration.replace("auto", "0s");
        })).filter((duration) => duration !== "0s0s")"""
    )
    assert bool(durations) is moves


def test_a_fleet_without_anything_has_a_page(opened: Open) -> None:
    def nothing() -> auditing.Report:
        return auditing.report([], [], [])

    page = opened(nothing)
    expect(page.get_by_role("heading", level=1)).to_have_text("Compliant")
    expect(page.get_by_text("There is no finding.")).to_be_visible()
    expect(page.get_by_text("There is no database.")).to_be_visible()
    page.get_by_role("searchbox").fill("x")
    assert count(page) == "0 of 0 databases, 0 of 0 findings"
