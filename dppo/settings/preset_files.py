"""The presets that come with the package, and which environments they are for. Knows their names only."""

from pathlib import Path

PRESETS = Path(__file__).parent.parent / "presets"
CLASSICS = ("mujoco-classic", "box2d-classic")  # good for a family of environments, found by their names only
METHODS = ("deepmind-dppo", "asynchronous")  # of papers; the first one names its environment itself
FAMILIES = {"ALE/": "atari"}  # good for all environments whose ids begin so, and found by them


def preset_names() -> list[str]:
    """The presets that come with the package; those in folders are called folder/name."""
    return sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml"))


def preset_of(env_id: str) -> str:
    """The preset named like the environment (`module:` left out, `/` as `-`), else that of its family, else ""."""
    name = env_id.rsplit(":", 1)[-1]
    if name.replace("/", "-") in preset_names():
        return name.replace("/", "-")
    return next((preset for start, preset in FAMILIES.items() if name.startswith(start)), "")
