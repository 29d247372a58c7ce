"""Videos: what is in the file, what it costs, and that nothing half-done is left."""

from pathlib import Path

import numpy as np
import pytest
from pictures import read_gif, read_mp4

from dppo.protocol.errors import DppoError, UsageError
from dppo.watch.video_file import film

SIDE = 64


def frame(position: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A red square on white."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[10:20, position : position + 10] = (200, 0, 0)
    return picture


def write(path: Path, *episodes: int, frames_per_second: float = 20.0, **size: int) -> None:
    """Episodes of so many frames, in each of which the square starts on the left."""
    with film(path, frames_per_second) as reel:
        for frames in episodes:
            for position in range(frames):
                reel.add(frame(position, **size))
            reel.end_episode()


def test_a_gif_has_every_frame_in_its_colours_and_runs_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", 8)
    pictures, durations, loop = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(pictures, [frame(position) for position in range(8)])
    assert durations == [50] * 7 + [600]  # the last one stays
    assert loop == 0


def test_a_fast_gif_keeps_its_speed_with_fewer_frames_and_the_last_of_each_episode(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", 12, 12, frames_per_second=50.0)
    pictures, durations, _ = read_gif(tmp_path / "a.gif")
    expected = [0, 2, 4, 6, 8, 10, 11] * 2
    np.testing.assert_array_equal(pictures, [frame(position) for position in expected])
    assert durations == ([40] * 6 + [600]) * 2


@pytest.mark.slow
def test_the_hundredths_of_a_second_that_a_gif_counts_in_do_not_add_up(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", 50, frames_per_second=30.0)
    durations = read_gif(tmp_path / "a.gif")[1]
    assert set(durations[:-1]) == {30, 40}
    assert sum(durations[:-1]) == pytest.approx(1000 * 49 / 30, abs=10)


@pytest.mark.slow
def test_a_large_picture_is_scaled_down_in_a_gif_and_what_stands_still_costs_little(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", 50, height=480, width=640)
    pictures, _, _ = read_gif(tmp_path / "a.gif")
    assert pictures[0].shape == (240, 320, 3)
    assert (tmp_path / "a.gif").stat().st_size < 50_000


def test_plain_colours_stay_what_they_are_beside_thousands_of_others(tmp_path: Path) -> None:
    paper, disc = (248, 247, 244), (238, 236, 230)
    picture = np.full((SIDE, SIDE, 3), paper, np.uint8)
    picture[20:40, 20:40] = disc
    picture[44:] = np.random.default_rng(1).integers(0, 256, (20, SIDE, 3))
    with film(tmp_path / "a.gif", 20.0) as reel:
        reel.add(picture)
    ((shown,), _, _) = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(shown[:44], picture[:44])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (51, 63)])
def test_an_mp4_has_every_frame_in_its_size_made_even(tmp_path: Path, height: int, width: int) -> None:
    write(tmp_path / "a.mp4", 6, height=height, width=width)
    frames, frames_per_second = read_mp4(tmp_path / "a.mp4")
    assert frames.shape == (6, height + height % 2, width + width % 2, 3)
    assert frames_per_second == 20.0
    assert np.abs(frames[3, :height, :width].astype(int) - frame(3, height, width)).mean() < 5


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a.avi", "no known format: choose a name that ends in .mp4 or .gif"),
        ("missing/a.gif", "missing/a.gif: No such file or directory"),
        ("folder.gif", "it is a directory"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_first_frame(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(UsageError, match=complaint), film(tmp_path / name, 20.0):
        pytest.fail("the block was entered")


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_a_film_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(ZeroDivisionError), film(tmp_path / name, 20.0) as reel:
        [reel.add(frame(1 // still_good)) for still_good in (1, 1, 0)]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "old")]


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_a_film_without_a_frame_is_an_error_and_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DppoError, match="without a frame"), film(tmp_path / name, 20.0):
        pass
    assert list(tmp_path.iterdir()) == []
