"""Times that tests measure are printed when a run ends, and never asserted: machines differ, and are busy."""

import pytest

TIMES = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def report_time(request):
    """Call it with what took the time, and the seconds."""
    times = request.config.stash.setdefault(TIMES, [])
    return lambda what, seconds: times.append((what, seconds))


def pytest_terminal_summary(terminalreporter, config):
    times = config.stash.get(TIMES, [])
    if times:
        terminalreporter.section("times")
    for what, seconds in times:
        terminalreporter.line(f"{seconds:7.1f} s  {what}")
