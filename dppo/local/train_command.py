"""`dppo train`: one run on this machine, or one a seed."""

from pathlib import Path

from dppo.local.launch_texts import LaunchTexts, again_text
from dppo.local.launching import NEW, SEEDS, TRACE, in_new_directory, placed
from dppo.protocol.errors import UsageError
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.process.quick_imports import quick_imports
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import Resolved


def train(resolved: Resolved[TrainConfig]) -> int:
    """`dppo train`: one run, or one a seed; returns the exit code."""
    watch_parent()
    if SEEDS in resolved.extra:
        from dppo.local.seeds import parse_seeds, train_seeds

        if resolved.sources["run.seed"] in ("flag", "environment"):
            raise UsageError("--seed and --seeds exclude each other: --seeds 1,3,7 names them all")
        return train_seeds(
            placed(resolved.config),
            parse_seeds(resolved.extra[SEEDS]),
            new=NEW in resolved.switches,
            texts=lambda folder: _texts(resolved, folder),
            switches=("--trace",) if TRACE in resolved.switches else (),
        )
    with quick_imports():
        from dppo.local.train import run

    config = placed(resolved.config)
    config = in_new_directory(config) if NEW in resolved.switches else config
    texts = _texts(resolved, config.learner.run_directory)
    return run(config, is_traced=TRACE in resolved.switches, texts=texts)


def _texts(resolved: Resolved[TrainConfig], directory: Path) -> LaunchTexts:
    return LaunchTexts(resolved.first_line, again_text("train", resolved.arguments, directory))
