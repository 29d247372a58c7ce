"""The report of a run: one file that holds everything, whatever the run has, and harms nobody who opens it."""

import dataclasses
import html.parser
import shutil
import subprocess
from pathlib import Path

import pytest

from dppo.learner.config import LearnerConfig
from dppo.ops.diagnose.history import History
from dppo.protocol.errors import UsageError
from dppo.watch.report import ReportArguments, page, report
from dppo.watch.report_pictures import MOST_POINTS, thinned
from tests.test_diagnose import history_of, trained

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


class Reader(html.parser.HTMLParser):
    """Collects texts and tags; every tag that is opened must be closed in order."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def with_times(history: History) -> History:
    rows = [{**row, "elapsed_seconds": 0.5 * row["update"]} for row in history.rows]
    return dataclasses.replace(history, rows=rows)


def test_a_report_has_results_pictures_findings_ledger_and_settings(tmp_path: Path) -> None:
    ledger = {"total": {"sealed": 1_000, "trained": 990, "dropped": {"late": 10, "crash": 0}}}
    history = with_times(history_of(env_restarts=7, ledger=ledger))
    found = read(page(tmp_path, history))
    text = " ".join(found.texts)
    for part in (
        "200.0 in the newest episodes, best 200.0",
        "it fell",
        "dropped: late",
        "collect.batch_steps",
        "ppo.gamma",
    ):
        assert part in text
    assert "dropped: crash" not in text
    assert found.tags.count("svg") == 2
    assert "video" not in found.tags


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes half a second, where it is not looked at."""
    monkeypatch.setattr("dppo.watch.report.returns_picture", lambda rows, target: "")
    monkeypatch.setattr("dppo.watch.report.updates_picture", lambda rows: "")


@pytest.mark.usefixtures("without_pictures")
def test_names_of_others_are_text(tmp_path: Path) -> None:
    env = dataclasses.replace(LearnerConfig().env, kwargs={"name": "<script>alert(1)</script>"})
    history = with_times(history_of(env_restarts=1))
    config = dataclasses.replace(history.config, env=env)
    summary = {"newest_crash": "<img src=x onerror=alert(1)>"}
    found = read(page(tmp_path, dataclasses.replace(history, config=config, summary=summary)))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert any("<img src=x" in text for text in found.texts)


@pytest.mark.slow
def test_a_run_without_an_episode_is_reported_too(tmp_path: Path) -> None:
    found = read(page(tmp_path, with_times(history_of(updates=1, mean_return=None, mean_length=None))))
    assert "Returns" not in found.texts
    assert found.tags.count("svg") == 1


@pytest.mark.usefixtures("without_pictures")
def test_the_newest_film_is_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "step-1.gif").write_bytes(GIF)
    text = page(tmp_path, with_times(history_of()))
    assert '<img src="data:image/gif;base64,R0lGODlh' in text
    (tmp_path / "videos" / "step-1.gif").write_bytes(bytes(13 * 2**20))
    assert "data:image" not in page(tmp_path, with_times(history_of()))


def test_long_runs_are_thinned_to_what_can_be_seen() -> None:
    rows = [{"update": number} for number in range(10 * MOST_POINTS)]
    found = thinned(rows)
    assert len(found) == MOST_POINTS
    assert (found[0], found[-1]) == (rows[0], rows[-1])
    assert thinned(rows[:5]) == rows[:5]


@pytest.mark.parametrize(("run", "output", "why"), [("none", "", "there is no run"), (".", "x.pdf", "no web page")])
def test_wrong_usage_is_one_line(
    run: str, output: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=why):
        report(ReportArguments(run, output))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_run_is_reported_and_shown_by_a_browser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", "CartPole-v1", 6_000, {})
    assert report(ReportArguments(str(run))) == 0
    file = run / "report.html"
    assert capsys.readouterr().out == f"wrote {file}\n"
    assert read(file.read_text(encoding="utf-8")).tags.count("svg") == 2
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: the page was read and not shown")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    shown = subprocess.run([chromium, *flags, file.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    assert "What to change" in shown.stdout
