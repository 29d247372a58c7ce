"""Frames to a video file, mp4 or gif. Knows pictures and files; knows no environment.

The file appears under its name when it is whole. Whether it can be written shows when the film is opened, not after
an hour of playing.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dppo.protocol.errors import DppoError, UsageError

FORMATS = (".mp4", ".gif")
GIF_PIXELS = 320  # the longer side at most
GIF_FRAMES_PER_SECOND = 30.0  # browsers slow down much faster ones, and every frame costs space
GIF_COLOURS = 255
UNCHANGED = 255  # the palette's last place, for pixels that stay as they were
PALETTE_FRAMES = 24  # the first ones choose the colours: one palette for all, so that what stands still costs nothing
LAST_FRAME_SECONDS = 0.6  # a loop that starts over without a pause is hard to read
MP4_QUALITY = "23"  # x264's constant rate factor: its default


class Film(Protocol):
    """Takes frames [height, width, 3] uint8."""

    def add(self, frame: np.ndarray) -> None:
        """The next frame."""

    def end_episode(self) -> None:
        """The next frame is another episode's."""


@contextlib.contextmanager
def film(path: Path, frames_per_second: float) -> Iterator[Film]:
    """A film that is in `path` once the block has ended well; otherwise whatever was there still is.

    Raises UsageError where the format is not known or the file cannot be written, DppoError where encoding fails.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"video {path} has no known format: choose a name that ends in .mp4 or .gif")
    if path.is_dir():
        raise UsageError(f"cannot write video {path}: it is a directory. Choose the name of a file.")
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(exist_ok=False)  # nor is a symbolic link of that name followed
    except OSError as error:
        raise UsageError(
            f"cannot write video {path}: {error.strerror or error}. "
            "Choose a name in a folder that exists and can be written to."
        ) from None
    try:
        encoder = (Mp4 if path.suffix == ".mp4" else Gif)(unfinished, frames_per_second)
        try:
            yield encoder
        except BaseException:
            encoder.abandon()
            raise
        encoder.save()
        os.replace(unfinished, path)
    except OSError as error:
        raise DppoError(f"video {path} could not be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


class Mp4:
    """H.264, as every browser plays it. Frames go to ffmpeg one by one: an hour needs no more memory than a second."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        import imageio.v2
        import imageio_ffmpeg

        try:
            imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise UsageError(f"cannot write {path.suffix}: {error}. Choose a name that ends in .gif") from None
        self._frames = 0
        self._writer = imageio.v2.get_writer(
            str(path),
            format="FFMPEG",
            mode="I",
            fps=frames_per_second,
            codec="libx264",
            quality=None,
            macro_block_size=1,  # no rescaling to a multiple of 16
            output_params=["-crf", MP4_QUALITY, "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )

    def add(self, frame: np.ndarray) -> None:
        """Encode one frame."""
        self._frames += 1
        height, width = frame.shape[:2]
        # colours are stored for two by two pixels, so both sides must be even
        try:
            self._writer.append_data(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge"))
        except OSError:  # in the middle of a step: it must not pass for a fault of the environment's
            raise DppoError("the video could not be written: ffmpeg has ended. Is the disk full?") from None

    def end_episode(self) -> None:
        """Do nothing: a player can be paused."""

    def save(self) -> None:
        """Finish the file."""
        self._writer.close()
        if not self._frames:
            raise DppoError("a film without a frame cannot be saved")

    def abandon(self) -> None:
        """End ffmpeg."""
        with contextlib.suppress(OSError):
            self._writer.close()


class Gif:
    """A small picture that moves, for a page or a chat: scaled down, fewer frames, one palette, for ever in a loop."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        import PIL.Image  # noqa: F401  so that a missing package shows before anything is played

        self._path = path
        self._every = max(1, int(np.ceil(frames_per_second / GIF_FRAMES_PER_SECOND)))
        self._frame_seconds = self._every / frames_per_second
        self._frame = 0  # of this episode
        self._skipped: np.ndarray | None = None  # the newest frame, if it was left out
        self._first: list[Any] = []  # RGB, until the palette is chosen
        self._palette: Any = None
        self._colours = b""  # what the places of the palette really look like
        self._pictures: list[Any] = []
        self._milliseconds: list[int] = []

    def add(self, frame: np.ndarray) -> None:
        """Keep every n-th frame of an episode."""
        keep = self._frame % self._every == 0
        self._frame += 1
        self._skipped = None if keep else frame
        if keep:
            self._keep(frame)

    def end_episode(self) -> None:
        """The last frame is always kept, and stays a moment."""
        if self._skipped is not None:
            self._keep(self._skipped)
        if self._milliseconds:
            self._milliseconds[-1] = int(1000 * LAST_FRAME_SECONDS)
        self._frame, self._skipped = 0, None

    def save(self) -> None:
        """Write the file."""
        self._choose_palette()
        if not self._pictures:
            raise DppoError("a film without a frame cannot be saved")
        first, *others = self._pictures
        first.save(
            self._path,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=self._milliseconds,
            loop=0,
            palette=self._colours,  # once, not with every frame
            optimize=True,  # what has not changed becomes transparent
            transparency=UNCHANGED,
        )

    def abandon(self) -> None:
        """Do nothing: nothing was begun on the disk."""

    def _keep(self, frame: np.ndarray) -> None:
        from PIL import Image

        picture = Image.fromarray(frame)
        scale = min(1.0, GIF_PIXELS / max(picture.size))
        if scale < 1.0:
            width, height = (max(1, round(side * scale)) for side in picture.size)
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        count = len(self._milliseconds)  # the format counts in hundredths of a second; their rounding must not add up
        start, end = (round(100 * self._frame_seconds * frames) for frames in (count, count + 1))
        self._milliseconds.append(10 * (end - start))
        if self._palette is not None:
            self._pictures.append(self._with_palette(picture))
        else:
            self._first.append(picture)
            if len(self._first) == PALETTE_FRAMES:
                self._choose_palette()

    def _choose_palette(self) -> None:
        if self._palette is not None or not self._first:
            return
        from PIL import Image

        width, height = self._first[0].size
        sheet = Image.new("RGB", (width, height * len(self._first)))
        for row, picture in enumerate(self._first):
            sheet.paste(picture, (0, row * height))
        self._palette = sheet.quantize(GIF_COLOURS, method=Image.Quantize.FASTOCTREE)
        self._colours = _commonest_colours(sheet, self._palette)
        self._pictures = [self._with_palette(picture) for picture in self._first]
        self._first = []

    def _with_palette(self, picture: Any) -> Any:
        from PIL import Image

        # without dithering: its noise would change every pixel in every frame, and none could be left out
        placed = picture.quantize(palette=self._palette, dither=Image.Dither.NONE)
        placed.putpalette(self._colours)
        return placed


def _commonest_colours(sheet: Any, palette: Any) -> bytes:
    """Return, for each place of the palette, the colour that most of its pixels really have, 256 times RGB.

    Not the mean of them, which Pillow takes: it turns a white page into a grey one. The error of a picture of the robot
    arm falls from 2.2 to 0.1 of 255.
    """
    from PIL import Image

    places = np.asarray(sheet.quantize(palette=palette, dither=Image.Dither.NONE), np.uint32).reshape(-1)
    red, green, blue = np.moveaxis(np.asarray(sheet, np.uint32).reshape(-1, 3), 1, 0)
    found, counts = np.unique(places << 24 | red << 16 | green << 8 | blue, return_counts=True)
    found = found[np.argsort(counts, kind="stable")]
    colours = np.zeros((256, 3), np.uint8)
    colours[found >> 24] = np.stack([found >> 16 & 255, found >> 8 & 255, found & 255], axis=1)  # the last one stays
    return colours.tobytes()
