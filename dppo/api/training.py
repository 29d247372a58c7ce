"""`dppo.train`: one run on this machine, from settings to its results. Knows settings and run directories."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from dppo.api.callables import OWN_HOOKS, found_by, registered_here
from dppo.api.config import Config, resolved_settings
from dppo.api.nesting import refuse_within_a_run
from dppo.api.results import Result, read_result
from dppo.api.wording import in_python_words, python_words
from dppo.local.launch_texts import LaunchTexts
from dppo.local.launching import in_new_directory, placed, with_run
from dppo.local.process_end import hold_standard_descriptors
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.first_line import preset_text

__all__ = ["Result", "train"]

INTERRUPTED = 130  # exit code


@python_words()
def train(
    env: str | Callable[..., Any] | Mapping[str, Any] | None = None,
    *,
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    preset: str = "",
    new: bool = False,
    verbose: bool = True,
    hooks: str | type | object | None = None,
    **settings: Any,
) -> Result:
    """Train on this machine, evaluate, and return how it went. A run in its directory goes on.

    env: an id, "module:id", "module:function", or a function or class of a module, which returns a gymnasium.Env.
    config: a Config, a dict, or the path of a YAML file, below the keywords. preset: a name, "none", or "" for the one
    named like the environment. new: in the next directory that is free. verbose: print as `dppo train` does. hooks:
    "module:Class", a class of a module, or with actors=0 an object, called between updates (dppo.learner.hooks.Hooks).
    settings: by the names of the flags, nested or dotted: actors=4, total_steps=100_000, ppo=dict(gamma=0.98),
    directory="runs/mine", **{"collect.batch_steps": 4096}. With actors=0 everything is in this process, for debugging.

    Raises UsageError for wrong settings, before anything is started or written; RefusedError where a run is going on in
    the directory; DppoError where the run fails; KeyboardInterrupt after Ctrl-C, once everything is saved and ended.
    """
    refuse_within_a_run()
    keywords = settings if env is None else {"env": env, **settings}
    resolved = resolved_settings(config, preset, keywords)
    chosen = placed(resolved.config)
    chosen = in_new_directory(chosen) if new else chosen
    chosen, given = _with_hooks(chosen, hooks)
    directory = chosen.learner.run_directory.absolute()
    text = preset_text(resolved, is_off=preset == "none" or isinstance(config, TrainConfig))
    again = f"go on with it: dppo.train(..., directory={str(chosen.learner.run_directory)!r}) with the same settings"
    texts = LaunchTexts(in_python_words(text), again if new else "the same call goes on with it", shows_commands=False)
    try:
        code = _run(chosen, verbose=verbose, hooks=given, texts=texts)
    except UsageError as error:
        here = registered_here(chosen.learner.env.id)
        if here and "is registered" in str(error):
            raise UsageError(
                f"no environment {chosen.learner.env.id!r} is found by the processes of a run: {here}"
            ) from None
        raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return read_result(directory)


def _run(chosen: TrainConfig, *, verbose: bool, hooks: object | None, texts: LaunchTexts) -> int:
    """Train, in a process of its own or here; returns the exit code of `dppo train`."""
    hold_standard_descriptors()
    if chosen.actors:
        from dppo.api.run_process import run_process

        return run_process(chosen, verbose=verbose, texts=texts)
    from dppo.api.run_here import run_here

    return run_here(chosen, verbose=verbose, hooks=hooks, texts=texts)


def _with_hooks(config: TrainConfig, hooks: str | type | object | None) -> tuple[TrainConfig, object | None]:
    """Return the settings with the hooks' name, and the object where they are one. Raises UsageError."""
    if hooks is None:
        return config, None
    if config.learner.run.hooks:
        raise UsageError(f"hooks are given twice, as hooks= and as run.hooks={config.learner.run.hooks}: leave one out")
    if isinstance(hooks, str):
        return with_run(config, hooks=hooks), None
    from dppo.learner.hooks import check_hooks, made  # time that only a run with hooks needs

    check_hooks(hooks)
    if not config.actors:
        return config, made(hooks, f"hooks={hooks.__qualname__}") if isinstance(hooks, type) else hooks
    if not isinstance(hooks, type):
        raise UsageError(f"hooks is an object of this process, and the run is one of its own: {OWN_HOOKS}, or actors=0")
    return with_run(config, hooks=found_by(hooks, "hooks", "the run's process", OWN_HOOKS)), None
