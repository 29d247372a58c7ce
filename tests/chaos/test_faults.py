"""Every fault of the chaos bench in its short form, on real processes; the full form: `dppo bench chaos --full`."""

from collections.abc import Callable
from typing import Any

import pytest

from scripts.chaos.registry import known

SECONDS = 900.0  # for those that are played before it as well


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("fault", list(known()))
def test_every_promise_holds_under(fault: str, outcome_of: Callable[[str], dict[str, Any]]) -> None:
    outcome = outcome_of(fault)
    if outcome["skipped"]:
        pytest.skip(outcome["skipped"])
    broken = [figure for figure in outcome["figures"] if not figure["passed"]]
    assert outcome["verdict"] == "passed", f"{outcome['broken']} {broken}; what was written: {outcome['kept']}"
