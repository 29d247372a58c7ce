"""docs/images/screen.svg: the live screen of a real run, as a moving picture. Knows the screen and rich's SVG.

`python -m scripts.site.screen docs/images/screen.svg Pendulum-v1` trains, in a temporary directory, with the flags of
`dppo train` that follow the file. Every frame is what the screen showed at that moment.
"""

import html
import io
import sys
import tempfile
from pathlib import Path
from typing import Self
from unittest import mock

from rich.console import Console, RenderableType
from rich.live import Live
from rich.terminal_theme import MONOKAI

from dppo import cli
from dppo.learner.telemetry.status import Status
from dppo.local import drawing_thread
from dppo.local.progress import Progress

WIDTH, HEIGHT = 92, 20  # columns, lines
EACH = 1  # one of so many is kept: a status comes twice a second
FRAME_SECONDS = 0.5  # each is shown for
LAST_SECONDS = 4.0
# no font is loaded: rich's own format would fetch one from another host
PIECE = "{styles}\0{backgrounds}{matrix}\0{lines}\0{width}\0{height}\0{char_height}\0{line_height}"


def _console() -> Console:
    return Console(
        record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True, color_system="truecolor"
    )


class Pictures(Live):
    """Keeps what the screen is given, one of EACH, as pieces of rich's SVG. Draws nothing."""

    def __init__(self) -> None:
        super().__init__(console=_console(), auto_refresh=False)
        self.frames: list[list[str]] = []
        self._newest: RenderableType = ""
        self.is_wanted = True
        self._updates = 0

    def start(self, refresh: bool = False) -> None:
        """Begin."""

    def update(self, renderable: RenderableType, *, refresh: bool = False) -> None:
        """Take what would be on the screen now."""
        self._newest = renderable
        if self.is_wanted and self._updates % EACH == 0:
            self._keep()
        self._updates += self.is_wanted

    def stop(self) -> None:
        """Keep what was on the screen last."""
        self._keep()

    def _keep(self) -> None:
        console = _console()
        console.print(self._newest)
        text = console.export_svg(title="", theme=MONOKAI, code_format=PIECE, unique_id=f"f{len(self.frames)}")
        self.frames.append(text.split("\0"))


class Recorder(Progress):
    """The screen as on a terminal, whatever the output is."""

    pictures = Pictures()

    def __enter__(self) -> Self:
        self._live = self.pictures
        return self

    def show(self, status: Status) -> None:
        """Show a status; of those before the first update only the first one."""
        self.pictures.is_wanted = status.updates > 0 or not self.pictures.frames
        super().show(status)


def main(file: Path, flags: list[str]) -> None:
    """Train, and write the picture."""
    with mock.patch.object(drawing_thread, "Progress", Recorder), tempfile.TemporaryDirectory() as folder:
        code = cli.run_command(["train", *flags, "--run.directory", f"{folder}/run", "--evaluation-episodes", "0"])
    frames = Recorder.pictures.frames
    if code or not frames:
        sys.exit(f"the run failed ({code}): no picture")
    file.write_text(picture(frames, f"dppo train {' '.join(flags)}"), encoding="utf-8")
    print(f"wrote {file}: {len(frames)} frames")


def picture(pieces: list[list[str]], command: str) -> str:
    """Return the frames one after the other as one SVG, for ever; the last alone where no motion is wanted."""
    seconds = FRAME_SECONDS * (len(pieces) - 1) + LAST_SECONDS
    width, height = (max(float(piece[index]) for piece in pieces) for index in (3, 4))
    styles, groups = [], []
    for number, (style, drawn, clips, *_) in enumerate(pieces):
        is_last = number == len(pieces) - 1
        share = 100 * (LAST_SECONDS if is_last else FRAME_SECONDS) / seconds
        shown = f"k{number} {seconds}s {number * FRAME_SECONDS - seconds:.2f}s steps(1) infinite"
        styles.append(style)
        styles.append(f"@keyframes k{number}{{0%{{visibility:visible}}{share:.2f}%{{visibility:hidden}}}}")
        styles.append(f".g{number}{{visibility:{'visible' if is_last else 'hidden'};animation:{shown}}}")
        groups.append(f'<defs>{clips}</defs><g class="g{number}" transform="translate(9,41)">{drawn}</g>')
    title = html.escape(f"$ {command}")
    return f"""<svg viewBox="0 0 {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>{title}</title>
<style>text{{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:20px;white-space:pre}}
{"".join(styles)}
@media (prefers-reduced-motion:reduce){{g{{animation:none!important}}}}</style>
<rect width="100%" height="100%" rx="8" fill="#0c0c0c"/>
<text x="16" y="28" fill="#9a9a9a">{title}</text>
{"".join(groups)}
</svg>
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
