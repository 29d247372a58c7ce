"""Learning curves: what is read, how seeds are summed up, and that a picture comes out."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from shards import fast_first

from dppo.protocol.errors import UsageError
from dppo.watch.curves import Curve, YAxis, read_curves
from dppo.watch.plot import band, plot


def run_directory(path: Path, returns: list[float | None], env: str = "Pendulum-v1", seconds: float = 0.5) -> str:
    path.mkdir()
    (path / "config.yaml").write_text(f"env: {{id: {env}}}\n")
    rows = [
        {"update": i, "steps": 100 * i, "elapsed_seconds": seconds * i, "mean_return": value, "target_return": -200.0}
        for i, value in enumerate(returns, start=1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read_curve(path: str, y: YAxis = "return") -> Curve:
    """The only one in there."""
    (curve,) = read_curves([path], y)
    return curve


def test_a_curve_starts_with_the_first_mean_return_and_ignores_a_torn_line(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "a", [None, -900.0, -500.0])
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write('{"update": 4, "ste')
    curve = read_curve(run)
    assert (curve.env, curve.target) == ("Pendulum-v1", -200.0)
    np.testing.assert_array_equal(curve.steps, [200, 300])
    np.testing.assert_array_equal(curve.seconds, [1.0, 1.5])
    np.testing.assert_array_equal(curve.values, [-900, -500])


def test_a_run_without_settings_is_named_by_its_directory(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "mine", [1.0])
    (tmp_path / "mine" / "config.yaml").unlink()
    assert read_curve(run).env == "mine"


def test_the_band_is_worst_median_and_best_and_a_solved_run_keeps_its_last_value(tmp_path: Path) -> None:
    runs = [[0.0, 10.0, 20.0], [0.0, 20.0, 40.0], [0.0, 30.0]]
    curves = [read_curve(run_directory(tmp_path / str(i), values)) for i, values in enumerate(runs)]
    grid, low, median, high = band(curves, "steps")
    assert (grid[0], grid[-1]) == (100, 300)
    assert (low[-1], median[-1], high[-1]) == (20, 30, 40)
    middle = np.searchsorted(grid, 200)
    np.testing.assert_allclose([low[middle], median[middle], high[middle]], [10, 20, 30], rtol=0.01)


def run_with_metrics(path: Path) -> str:
    run = run_directory(path, [1.0, 2.0])
    rows = [
        {"update": i, "steps": 100 * i, "elapsed_seconds": i, "mean_return": 1.0, "kl": 0.1 * i, **own}
        for i, own in enumerate([{"metrics/kl": 5.0}, {"metrics/kl": 7.0, "metrics/distance": None}], start=1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_the_users_own_metrics_are_drawn_by_their_names_and_others_by_theirs(tmp_path: Path) -> None:
    run = run_with_metrics(tmp_path / "a")
    assert list(read_curve(run, "kl").values) == [5.0, 7.0]  # theirs come first
    assert list(read_curve(run, "metrics/kl").values) == [5.0, 7.0]
    (tmp_path / "a" / "metrics.jsonl").write_text('{"steps": 1, "elapsed_seconds": 1, "kl": 0.5}\n')
    assert list(read_curve(run, "kl").values) == [0.5]


def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    run = run_with_metrics(tmp_path / "a")
    with pytest.raises(UsageError) as caught:
        read_curve(run, "distanse")
    assert str(caught.value) == (
        f"{run} has no distanse (did you mean distance?): choose return, length, success; your metrics kl, distance; "
        "or kl"
    )
    with pytest.raises(UsageError, match="has no mean distance yet: no update has a number of it: there is"):
        read_curve(run, "distance")
    with pytest.raises(UsageError, match=r"there is no kl in it: choose return, length, success$"):
        read_curve(tutorial_curve(tmp_path / "x.json"), "kl")


@pytest.mark.parametrize("x", fast_first(["both", "steps", "time"], 1))
def test_several_runs_become_one_picture_and_keep_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: Literal["steps", "time", "both"]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [run_directory(tmp_path / name, [-900.0, -500.0, -190.0]) for name in "ab"]
    runs.append(run_directory(tmp_path / "c", [20.0, 475.0], env="CartPole-v1"))
    (tmp_path / "a" / "curve.png").write_text("of the run itself")
    written = plot(runs, x=x)
    assert written == Path("curves.png")
    assert written.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a" / "curve.png").read_text() == "of the run itself"
    assert plot(runs[:1], x=x).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_pattern_means_directories_where_it_matches_some_and_else_files_with_curves(tmp_path: Path) -> None:
    for name in ("R1", "R2"):
        run_directory(tmp_path / name, [1.0, 2.0])
    for name in ("R.log", "R.png"):
        (tmp_path / name).write_text("no run")
    tutorial_curve(tmp_path / "R.json")
    assert [curve.name for curve in read_curves([f"b={tmp_path}/R*"], "return")] == ["R1", "R2"]
    assert [curve.name for curve in read_curves([f"b={tmp_path}/R.*"], "return")] == ["R"]
    with pytest.raises(UsageError, match=r"nothing matches .*R\.p\*"):
        read_curves([f"{tmp_path}/R.p*"], "return")


def tutorial_curve(path: Path, **columns: list[object]) -> str:
    """Four threads of 100-step episodes whose return counts up; their last ones are cut short."""
    lengths = [100] * 300 + [40, 30, 20, 10]
    curve = {
        "env_steps": [min(100 * (i + 1), 30_000) + 2 * (i >= 300) for i in range(304)],
        "wall_s": [0.5 * i for i in range(304)],
        "ret": [float(i) for i in range(304)],
        "length": lengths,
        "extra": [[int(i >= 150), 0] for i in range(304)],
    }
    path.write_text(json.dumps({"name": "DPPO", "curve": curve | columns}))
    return str(path)


def test_a_curve_of_the_tutorial_is_smoothed_over_100_whole_episodes(tmp_path: Path) -> None:
    curve = read_curve(tutorial_curve(tmp_path / "DPPO_s0.json"))
    assert (curve.env, curve.name, len(curve.values)) == ("DPPO_s0", "DPPO_s0", 300)  # it does not say its own
    np.testing.assert_allclose(curve.values[[0, 1, 99, 100, 299]], [0, 0.5, 49.5, 50.5, 249.5])
    np.testing.assert_array_equal(curve.x("steps")[[0, -1]], [100, 30_000])
    np.testing.assert_array_equal(curve.x("time")[[0, -1]], [0, 149.5])


@pytest.mark.parametrize(("y", "last"), [("length", 100.0), ("success", 1.0)])
def test_lengths_and_successes_can_be_read_of_the_tutorial(tmp_path: Path, y: YAxis, last: float) -> None:
    curve = read_curve(tutorial_curve(tmp_path / "a.json"), y)
    assert curve.values[-1] == last
    assert curve.values[0] == (100.0 if y == "length" else 0.0)


def test_lengths_and_successes_of_a_run_are_in_its_metrics(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "a", [None, 1.0, 2.0])
    row = '{"update": 4, "steps": 400, "elapsed_seconds": 9, "mean_return": 3, "mean_length": 7, "success_rate": 0.5}'
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write(row + "\n")
    assert read_curve(run, "length").values.tolist() == [7]
    assert (read_curve(run, "success").values.tolist(), read_curve(run, "success").target) == ([0.5], None)
    assert read_curve(run).values.tolist() == [1, 2, 3]


def test_a_file_of_dppo_bench_preset_is_a_curve_a_seed(tmp_path: Path) -> None:
    rows = [{"steps": 10, "elapsed_seconds": 1.0, "mean_return": None}, {"steps": 20, "elapsed_seconds": 2.0}]
    runs = [
        {
            "seed": seed,
            "env": "Pendulum-v1",
            "curve": [*rows, {"steps": 30, "elapsed_seconds": 3.0, "mean_return": -seed}],
        }
        for seed in (1, 2)
    ]
    file = tmp_path / "clip.json"
    file.write_text(json.dumps({"bench": "preset", "runs": runs}))
    curves = read_curves([f"ours={file}"], "return")
    assert [(curve.env, curve.name, curve.label) for curve in curves] == [
        ("Pendulum-v1", "clip seed 1", "ours"),
        ("Pendulum-v1", "clip seed 2", "ours"),
    ]
    assert [(curve.steps.tolist(), curve.seconds.tolist(), curve.values.tolist()) for curve in curves] == [
        ([30], [3.0], [-1]),
        ([30], [3.0], [-2]),
    ]
    with pytest.raises(UsageError, match="nothing to draw"):
        read_curves([str(file)], "success")
    file.write_text(json.dumps({"bench": "preset", "runs": [{"seed": 1}]}))
    with pytest.raises(UsageError, match="no curve of `dppo bench preset`: KeyError 'curve'"):
        read_curves([str(file)], "return")


def test_labels_make_series_and_a_curve_without_an_environment_joins_the_only_one(tmp_path: Path) -> None:
    for name in ("ours-1", "ours-2"):
        run_directory(tmp_path / name, [1.0, 2.0])
    original = tutorial_curve(tmp_path / "DPPO_s0.json")
    curves = read_curves([f"ours={tmp_path}/ours-*", f"the original={original}"], "return")
    assert [(curve.label, curve.env, curve.name) for curve in curves] == [
        ("ours", "Pendulum-v1", "ours-1"),
        ("ours", "Pendulum-v1", "ours-2"),
        ("the original", "Pendulum-v1", "DPPO_s0"),
    ]
    run_directory(tmp_path / "cart", [1.0], env="CartPole-v1")
    curves = read_curves([f"{tmp_path}/ours-1", f"{tmp_path}/cart", f"the original={original}"], "return")
    assert [curve.env for curve in curves] == ["Pendulum-v1", "CartPole-v1", "the original"]


def test_a_path_that_looks_like_a_pattern_is_a_path_where_it_is_there(tmp_path: Path) -> None:
    run_directory(tmp_path / "a1", [1.0])
    assert read_curve(run_directory(tmp_path / "a[1]", [2.0])).values.tolist() == [2.0]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "lr=3e-4", [1.0])
    assert [(curve.label, curve.name) for curve in read_curves([run], "return")] == [("", "lr=3e-4")]


def test_environments_with_other_arguments_are_others(tmp_path: Path) -> None:
    for mode in ("easy", "hard"):
        run_directory(tmp_path / mode, [1.0])
        (tmp_path / mode / "config.yaml").write_text(f"env: {{id: RobotArm-v0, kwargs: {{mode: {mode}}}}}\n")
    curves = read_curves([f"{tmp_path}/*"], "return")
    assert [curve.env for curve in curves] == ["RobotArm-v0 (mode easy)", "RobotArm-v0 (mode hard)"]


@pytest.mark.fast(3)
@pytest.mark.parametrize("panels", [1, 2, 4])
def test_every_environment_has_its_own_panel(tmp_path: Path, panels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    titles: list[str] = []
    save = Figure.savefig

    def saved(figure: Figure, *arguments: Any, **others: Any) -> None:
        titles.extend(axes.get_title() for axes in figure.axes if axes.get_visible())
        save(figure, *arguments, **others)

    monkeypatch.setattr(Figure, "savefig", saved)
    runs = [run_directory(tmp_path / f"{seed}-{i}", [1.0, 2.0], env=f"E{i}-v0") for seed in "ab" for i in range(panels)]
    plot(runs, str(tmp_path / "a.png"))
    assert titles == [f"E{i}-v0" for i in range(panels)]


@pytest.mark.slow
def test_steps_and_time_side_by_side_share_the_height_of_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    shown: list[tuple[str, str, tuple[float, float]]] = []
    save = Figure.savefig

    def saved(figure: Figure, *arguments: Any, **others: Any) -> None:
        shown.extend((axes.get_title(), axes.get_xlabel(), axes.get_ylim()) for axes in figure.axes)
        save(figure, *arguments, **others)

    monkeypatch.setattr(Figure, "savefig", saved)
    runs = [run_directory(tmp_path / env, [1.0, 2.0 * len(env)], env=env) for env in ("A-v0", "Longer-v0")]
    plot(runs, str(tmp_path / "a.png"), x="both")
    steps, seconds = "environment steps", "seconds since the run began"
    assert [cell[:2] for cell in shown] == [(env, x) for env in ("A-v0", "Longer-v0") for x in (steps, seconds)]
    assert shown[0][2] == shown[1][2] != shown[2][2] == shown[3][2]


@pytest.mark.parametrize(
    ("content", "y", "complaint"),
    [
        ("[1]", "return", "a.json is no curve of the tutorial: TypeError"),
        ('{"curve": {}}', "return", "a.json is no curve of the tutorial: KeyError 'env_steps'"),
        ("{", "return", "a.json is no curve of the tutorial: JSONDecodeError"),
        ("", "success", "no mean success yet: no environment reported whether an episode succeeded"),
    ],
)
def test_a_file_without_the_curve_is_said(tmp_path: Path, content: str, y: YAxis, complaint: str) -> None:
    file = tutorial_curve(tmp_path / "a.json", extra=[0.0] * 304)
    if content:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=complaint):
        read_curve(file, y)


def test_a_pattern_that_matches_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing matches .*none-\*"):
        plot([f"ours={tmp_path}/none-*"])


def test_other_formats_by_name(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "a", [1.0])
    assert b"<svg" in plot([run], str(tmp_path / "c.svg")).read_bytes()
    assert plot([run], str(tmp_path / "c.PNG")).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("output", "complaint"), [("c.bmp", "known picture format"), ("/nowhere/c.png", "cannot write /nowhere/c.png")]
)
def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path, output: str, complaint: str) -> None:
    run = run_directory(tmp_path / "a", [1.0])
    with pytest.raises(UsageError, match=complaint):
        plot([run], output)


def test_a_run_without_a_curve_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        plot([run_directory(tmp_path / "a", [None])])
    with pytest.raises(UsageError, match="cannot read"):
        plot([str(tmp_path / "b")])
