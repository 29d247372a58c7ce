"""Pictures of the arm, and the window that shows them and is played in. Knows pygame; knows no rewards and no learning.

pygame is imported at the first picture: actors do without it, and it is not in the base installation.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from dppo.actor.envs.robot_arm.dynamics import BASE, GOAL_BOX, GOAL_RADIUS, HOLD_STEPS, REACH, WINDOW
from dppo.protocol.errors import UsageError

if TYPE_CHECKING:
    from pygame import Surface

SIDE = int(WINDOW)
FINE = 3  # drawn this many times larger and scaled down, which smooths every edge
FRAMES_PER_SECOND = 30

Colour = tuple[int, int, int]
PAPER: Colour = (250, 249, 246)
FLOOR: Colour = (240, 238, 232)
RIM: Colour = (222, 218, 208)
INK: Colour = (52, 58, 70)
FAINT: Colour = (138, 142, 150)
LINK_COLOURS: tuple[Colour, Colour] = ((226, 109, 92), (240, 148, 110))
TRACE: Colour = (150, 150, 170)
AIMED: Colour = (86, 128, 214)  # the goal while the finger is outside
TOUCHED: Colour = (232, 170, 54)  # while it is inside
HELD: Colour = (58, 158, 104)  # and once it has been held for long enough


@dataclass(frozen=True)
class Scene:
    """One moment of one arm; positions in pixels, y up."""

    elbow: np.ndarray  # [2]
    finger: np.ndarray  # [2]
    goal: np.ndarray  # [2]
    inside: bool  # the finger is in the goal
    held_steps: int
    step: int  # of this episode
    trace: Sequence[np.ndarray]  # where the finger was, oldest first


def load_pygame() -> ModuleType:
    """pygame, or a UsageError that says how to get it."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it would greet on standard output
    try:
        import pygame
    except ImportError as error:
        raise UsageError(
            f"drawing RobotArm-v0 needs pygame, which cannot be imported ({error}): pip install 'dppo[render]'"
        ) from error
    return pygame


def frame(scene: Scene) -> np.ndarray:
    """The picture as [400, 400, 3] uint8. Needs no display."""
    pixels: np.ndarray = load_pygame().surfarray.array3d(picture(scene))  # [x, y, colour]
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def picture(scene: Scene) -> "Surface":
    """The picture as a surface of 400 x 400."""
    pygame = load_pygame()
    large = pygame.Surface((SIDE * FINE, SIDE * FINE))
    large.fill(PAPER)
    _disc(large, (BASE, BASE), REACH, RIM)
    _disc(large, (BASE, BASE), REACH - 1, FLOOR)
    _draw_trace(large, scene.trace)
    _draw_goal(large, scene)
    joints = [np.array([BASE, BASE]), scene.elbow, scene.finger]
    for start, end, colour in zip(joints, joints[1:], LINK_COLOURS, strict=False):
        _bar(large, start, end, 12, colour)
    _disc(large, joints[0], 11, INK)
    _disc(large, joints[0], 4, PAPER)
    _disc(large, joints[1], 8, INK)
    _disc(large, joints[1], 3, PAPER)
    _disc(large, joints[2], 5, INK)
    small: Surface = pygame.transform.smoothscale(large, (SIDE, SIDE))
    _write(small, scene)
    return small


def _draw_trace(surface: "Surface", trace: Sequence[np.ndarray]) -> None:
    for age, spot in enumerate(reversed(trace)):
        weight = 1 - age / len(trace)  # fades into the floor
        red, green, blue = (round(f + (t - f) * weight) for f, t in zip(FLOOR, TRACE, strict=True))
        _disc(surface, spot, 1 + 1.5 * weight, (red, green, blue))


def _draw_goal(surface: "Surface", scene: Scene) -> None:
    """The box, the circle that counts, and around it an arc that closes while the goal is held."""
    pygame = load_pygame()
    colour = HELD if scene.held_steps >= HOLD_STEPS else TOUCHED if scene.inside else AIMED
    pale = tuple(round(c + (255 - c) * 0.65) for c in colour)
    x, y = _pixel(scene.goal)
    half = GOAL_BOX / 2 * FINE
    box = pygame.Rect(x - half, y - half, 2 * half, 2 * half)
    pygame.draw.rect(surface, pale, box, border_radius=6 * FINE)
    _disc(surface, scene.goal, GOAL_RADIUS, colour)
    progress = min(scene.held_steps / HOLD_STEPS, 1)
    # dots instead of draw.arc, whose wide arcs have holes
    for turn in np.linspace(0, 2 * np.pi * progress, round(150 * progress)):
        direction = np.array([np.sin(turn), np.cos(turn)])  # clockwise from the top
        _disc(surface, scene.goal + 26 * direction, 2.5, HELD)


def _write(surface: "Surface", scene: Scene) -> None:
    pygame = load_pygame()
    pygame.font.init()
    font = pygame.font.Font(None, 20)
    held = min(scene.held_steps, HOLD_STEPS)
    lines = ((f"step {scene.step}", FAINT), (f"held {held} / {HOLD_STEPS}", HELD if held else FAINT))
    for row, (text, colour) in enumerate(lines):
        surface.blit(font.render(text, True, colour), (10, 10 + 17 * row))


def _bar(surface: "Surface", start: np.ndarray, end: np.ndarray, width: float, colour: Colour) -> None:
    along = (end - start) / np.hypot(*(end - start))
    across = np.array([-along[1], along[0]]) * width / 2
    corners = (start + across, end + across, end - across, start - across)
    load_pygame().draw.polygon(surface, colour, [_pixel(corner) for corner in corners])
    _disc(surface, start, width / 2, colour)
    _disc(surface, end, width / 2, colour)


def _disc(surface: "Surface", centre: Sequence[float] | np.ndarray, radius: float, colour: Colour) -> None:
    load_pygame().draw.circle(surface, colour, _pixel(centre), radius * FINE)


def _pixel(position: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """On the large surface, whose y axis points down."""
    return float(position[0]) * FINE, (WINDOW - float(position[1])) * FINE


class Window:
    """Shows scenes at 30 a second and reads keys and mouse. One at a time in a process: that is all pygame has."""

    def __init__(self) -> None:
        """Opens it. Raises UsageError where there is no display."""
        self._pygame = load_pygame()
        self._goal: np.ndarray | None = None  # where the mouse is; None: outside, or not moved yet
        _check_display()
        try:
            self._pygame.display.init()
            self._surface = self._pygame.display.set_mode((SIDE, SIDE))
        except self._pygame.error as error:
            raise UsageError(f"cannot open a window: {error}. {_WITHOUT_DISPLAY}") from error
        if self._pygame.display.get_driver() == "offscreen" and "SDL_VIDEODRIVER" not in os.environ:
            self.close()  # SDL falls back to it where the display does not answer
            raise UsageError(f"cannot open a window: the display does not answer. {_WITHOUT_DISPLAY}")
        self._pygame.display.set_caption("RobotArm-v0")
        self._clock = self._pygame.time.Clock()

    @property
    def goal(self) -> np.ndarray | None:
        """Return the goal [2] that the mouse points at; None where it points at none."""
        return self._goal

    def listen(self) -> np.ndarray:
        """Read mouse and keys; return what the arrow keys add to the action [2]. Ends the program if it was closed."""
        pygame = self._pygame
        pressed_now = np.zeros(2)
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.close()
                # what a closed window means everywhere; `finally` blocks still run, and there is no traceback
                raise SystemExit(0)
            if event.type == pygame.MOUSEMOTION:
                self._goal = np.array([event.pos[0], WINDOW - event.pos[1]], np.float64)
            elif event.type == pygame.WINDOWLEAVE:
                self._goal = None
            elif event.type == pygame.KEYDOWN:  # a tap shorter than a frame counts too
                pressed_now += _turns(pygame, {event.key})
        down = pygame.key.get_pressed()
        keys = {key for key in (pygame.K_UP, pygame.K_DOWN, pygame.K_LEFT, pygame.K_RIGHT) if down[key]}
        added: np.ndarray = np.clip(pressed_now + _turns(pygame, keys), -1, 1)
        return added

    def show(self, scene: Scene) -> None:
        """Draw it, then wait for the next frame's time."""
        self._surface.blit(picture(scene), (0, 0))
        self._pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._pygame.display.quit()


_WITHOUT_DISPLAY = (
    "Without a display use render_mode 'rgb_array' (dppo evaluate: --video), which draws pictures and videos."
)


def _turns(pygame: ModuleType, keys: set[int]) -> np.ndarray:
    """Up and down turn the first joint, left and right the second; towards larger angles is +1."""
    first = (pygame.K_UP in keys) - (pygame.K_DOWN in keys)
    second = (pygame.K_LEFT in keys) - (pygame.K_RIGHT in keys)
    return np.array([first, second], np.float64)


def _check_display() -> None:
    """On Linux, say so before SDL tries driver after driver and complains on standard error."""
    wanted = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in wanted):
        raise UsageError(f"cannot open a window: neither DISPLAY nor WAYLAND_DISPLAY is set. {_WITHOUT_DISPLAY}")
