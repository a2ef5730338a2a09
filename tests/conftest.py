"""What holds for every test: a busy machine fails no property test, and no more than a few tests get a second try.

`make test` tries a test that failed once more: thousands of tests with real processes on two cores meet a stall now and
then. Such tests are named at the end, and more than MOST_AGAIN of them are a failure: then something is wrong.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

MOST_AGAIN = 3

# Hypothesis' own limits of time are off.
settings.register_profile("unhurried", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest file first: workers take whole files, and it must not be what is waited for in the end.
    items.sort(key=lambda item: item.path.name != "test_endurance.py")


def _again(reporter: pytest.TerminalReporter) -> dict[str, list[str]]:
    """The tests that got a second try, and the last lines of what went wrong."""
    found: dict[str, list[str]] = {}
    for report in reporter.getreports("rerun"):
        found.setdefault(report.nodeid, []).extend(report.longreprtext.splitlines()[-1:])
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for test, said in _again(terminalreporter).items():
        terminalreporter.write_line(f"AGAIN {test}: {'; '.join(said)}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and len(_again(reporter)) > MOST_AGAIN:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
