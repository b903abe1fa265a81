# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A pytest plugin: a skipped or xfailed test fails the run, unless its reason begins with "expected: "."""

from __future__ import annotations

import pytest

EXPECTED = "expected: "


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", report.longrepr))


def unexpected(terminal: pytest.TerminalReporter) -> list[str]:
    reports = [*terminal.stats.get("skipped", ()), *terminal.stats.get("xfailed", ())]
    return [f"{report.nodeid}: {reason(report)}" for report in reports if not reason(report).startswith(EXPECTED)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    terminal = session.config.pluginmanager.getplugin("terminalreporter")
    if session.exitstatus == pytest.ExitCode.OK and unexpected(terminal):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = unexpected(terminalreporter)
    if lines:
        terminalreporter.section("tests that did not run, and have no reason that is expected", red=True)
        for line in lines:
            terminalreporter.line(line)
