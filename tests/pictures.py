"""Videos read back by other means than they were written, and environments that are all picture."""

import re
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
from PIL import Image

PIXEL = "pictures:Pixel-v0"
BLIND = "pictures:Invisible-v0"


def read_gif(path: Path) -> tuple[list[np.ndarray], list[int], int]:
    """(frames, milliseconds of each, times to repeat: 0 for ever)."""
    with Image.open(path) as image:
        pictures, durations = [], []
        for index in range(image.n_frames):
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0))
        return pictures, durations, image.info.get("loop", 0)


def read_mp4(path: Path) -> tuple[np.ndarray, float]:
    """(frames [n, height, width, 3], frames per second)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    said = done.stderr.decode()
    size, rate = (re.search(pattern, said) for pattern in (r", (\d+)x(\d+)", r", ([\d.]+) fps"))
    assert size, said
    assert rate, said
    width, height = map(int, size.groups())
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), float(rate[1])


class Pixel(gym.Env[np.ndarray, int]):
    """Episodes of three steps; its picture shows the step and the episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, picture: str = "good") -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (4,))
        self.action_space = gym.spaces.Discrete(2)
        self.render_mode, self._picture, self._episode = render_mode, picture, -1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._episode, self._step = self._episode + 1, 0
        return np.zeros(4, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return np.zeros(4, np.float32), 1.0, self._step == 3, False, {"is_success": True}

    def render(self) -> Any:
        if self._picture == "broken":
            raise RuntimeError("no GL context")
        odd = {"grey": np.zeros((8, 8), np.uint8), "grows": np.zeros((8 + self._step, 8, 3), np.uint8)}
        if self._picture in odd:
            return odd[self._picture]
        if self._picture == "late":
            return np.zeros((8, 8, 3), np.uint8) if self._step < 2 else None
        return np.full((8, 8, 3), 50 * self._step + 10 * self._episode, np.uint8) if self._picture == "good" else None


class Invisible(gym.Env[np.ndarray, int]):
    """Cannot be seen."""

    def __init__(self, render_mode: str | None = None) -> None:
        pass


gym.register("Pixel-v0", entry_point="pictures:Pixel")
gym.register("Invisible-v0", entry_point="pictures:Invisible")
