"""The command `dppo`: which words call what, and what a failure looks like. Handlers import what they need, late."""

import contextlib
import dataclasses
import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from dppo.fitted_text import fitted
from dppo.local.interrupts import interrupt_between_imports
from dppo.local.process_end import leave, use_utf8
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.texts import MAX_ERROR, printable
from dppo.required_packages import missing_text
from dppo.settings import commands as configs
from dppo.settings import help_pages
from dppo.settings.fields import REST, Config, build, settings_of
from dppo.settings.flags import parse_flags, refuse_settings_of_runs
from dppo.settings.layers import Resolved, dump_yaml, preset_text, resolve, resolve_file

TRAIN_GRACE_SECONDS = 25.0  # for the processes of a killed run to end by themselves, with a checkpoint
ACTOR_GRACE_SECONDS = 0.5  # for what a killed actor's environments have started
INTERRUPTED = 130  # 128 + SIGINT, what shells expect
LONG_COMMANDS = ("train", "learner")  # whose end matters to people who have stopped reading
OUTPUT_GONE = (
    "nobody reads the output any more (`| head`, or a `| tee` that Ctrl-C ended), so this command has ended, "
    "with what it had trained kept: the same command goes on with it. `> FILE` needs no reader"
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 failed, 2 wrong usage, 3 refused by the peer, 130 interrupted.

    argv: None for those of the process, which is this command's alone then.
    """
    if argv is None:
        process(sys.argv[1:])
    sys.exit(run_command(list(argv)))


def process(arguments: Sequence[str]) -> NoReturn:
    """Run one command as what its process is for."""
    use_utf8()
    interrupt_between_imports()
    leave(run_command(list(arguments)))


def run_command(arguments: list[str]) -> int:
    """Run one command; returns the exit code. Errors of the user's are a line on standard error."""
    append_working_directory()  # `--env my_module:MyEnv-v0` finds the user's file, as `python -m` would
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except DppoError as error:
        code = _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `dppo ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if arguments[0] in LONG_COMMANDS:  # users know why the others end
            with contextlib.suppress(OSError):  # `dppo ... 2>&1 | head`
                _fail(OUTPUT_GONE, 1)
        code = 1
    except ModuleNotFoundError as error:
        text = missing_text(error.name or "")
        if not text:
            raise
        code = _fail(text, 2)
    return code


def _fail(text: str, code: int) -> int:
    print(fitted(f"dppo: error: {printable(text, MAX_ERROR)}", sys.stderr), file=sys.stderr, flush=True)
    return code


def _dispatch(arguments: list[str]) -> int:
    code = help_pages.page(arguments)
    if code is not None:
        return code
    command, rest = help_pages.command_of(arguments, COMMANDS)
    return COMMANDS[command](rest)


def _wants_help(arguments: Sequence[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own or "-h" in own


def _layered(command: str, config: type[Config], arguments: list[str]) -> Resolved[Config] | None:
    """Settings of a command out of all layers; None when the user only wanted to read something, which is printed."""
    settings = settings_of(config)
    has_presets = "env.id" in settings
    if _wants_help(arguments):
        from dppo.settings.help import FileFlags, PresetFlags, RunFlags, SeedFlags, TraceFlags, show_help

        common = (FileFlags, PresetFlags, RunFlags)
        layers = {"train": (*common, SeedFlags, TraceFlags), "learner": common}
        show_help(config, program=f"dppo {command}", layers=layers.get(command, (FileFlags,)))
        return None
    extra = ("config", "preset") if has_presets else ("config",)
    flags = parse_flags(
        arguments,
        settings,
        positional="env.id" if has_presets else "",
        extra=(*extra, "seeds") if command == "train" else extra,
        switches=("print_config", *{"train": ("run.new", "trace"), "learner": ("run.new",)}.get(command, ())),
    )
    if flags.rest:
        raise UsageError(f"unexpected argument {flags.rest[0]} after --")
    child_file, preset = os.environ.get("DPPO_CONFIG", "") if command == "learner" else "", ""
    if child_file:
        resolved = resolve_file(config, child_file, flags=flags.values)
    else:
        file, preset = flags.extra.get("config", ""), flags.extra.get("preset", os.environ.get("DPPO_PRESET", ""))
        resolved = resolve(config, flags=flags.values, file=file, preset=preset)
    resolved = dataclasses.replace(resolved, extra=flags.extra, switches=frozenset(flags.switches))
    if "print_config" in flags.switches:
        print(dump_yaml(resolved.config, resolved.sources), end="")
        return None
    text = preset_text(resolved, is_off=bool(child_file) or preset == "none") if has_presets else ""
    return dataclasses.replace(resolved, arguments=tuple(arguments), first_line=text)


def _plain(command: str, config: type[Config], arguments: list[str], positional: str = "") -> Config | None:
    """Arguments of a command that has no layers: defaults and flags; None after printing the help."""
    if _wants_help(arguments):
        from dppo.settings.help import show_help

        show_help(config, program=f"dppo {command}")
        return None
    settings = settings_of(config)
    takes_rest = any(field.metadata == REST for field in fields(config))  # type: ignore[arg-type]
    if takes_rest:
        refuse_settings_of_runs(command, arguments, settings, settings_of(configs.TrainConfig))
    flags = parse_flags(arguments, settings, positional=positional)
    missing = [path for path, setting in settings.items() if setting.required and path not in flags.values]
    if missing:
        if missing[0] in ("run", "runs"):
            from dppo.watch.run_list import no_run_named

            raise no_run_named(command, missing[0])
        name = missing[0] if missing[0] in positional.split() else f"--{missing[0]}"
        raise UsageError(f"{name} is missing: see dppo {command} --help")
    rest: dict[str, Any] = {}
    if flags.rest and not takes_rest:
        raise UsageError(f"unexpected argument {flags.rest[0]} after --")
    if takes_rest:
        parse_flags(flags.rest, settings_of(configs.TrainConfig), extra=("config", "preset"))  # fail now, not in a run
        rest = {"overrides": tuple(flags.rest)}
    return build(config, flags.values | rest)


def _train(arguments: list[str]) -> int:
    resolved = _layered("train", configs.TrainConfig, arguments)
    if resolved is None:
        return 0
    from dppo.protocol.process.household import leaves_nothing

    # in one process nobody is left who writes a checkpoint
    is_alone = resolved.config.actors == 0 and "seeds" not in resolved.extra
    with leaves_nothing(ACTOR_GRACE_SECONDS if is_alone else TRAIN_GRACE_SECONDS, sweeper=True):
        return int(_entry("dppo.local.train_command", "train")(resolved))


def _learner(arguments: list[str]) -> int:
    resolved = _layered("learner", configs.LearnerProcessConfig, arguments)
    if resolved is None:
        return 0
    from dppo.learner.transport.listener import Listening

    config = resolved.config
    listening = Listening(
        config.bind,
        config.advertise,
        config.write_join_file,
        insecure=config.insecure,
        shows_secrets=sys.stdout.isatty(),
    )
    return int(_entry("dppo.local.learner_command", "run")(resolved, listening))


def _actor(arguments: list[str]) -> int:
    from dppo.actor.config import ActorConfig

    resolved = _layered("actor", ActorConfig, arguments)
    if resolved is None:
        return 0
    from dppo.local.background import BackgroundHandler

    logging.getLogger("dppo").setLevel(logging.INFO)  # others: warnings
    logging.basicConfig(format="%(message)s", handlers=[BackgroundHandler(sys.stderr)])
    from dppo.protocol.process.household import leaves_nothing, logged_if_killed
    from dppo.protocol.process.lifeline import LIFELINE_VARIABLE
    from dppo.settings.join_sources import join_options

    settings = resolved.config
    way = join_options(settings, resolved.sources)
    bounds = {"allow_env": settings.allow_env} if settings.allow_env else {}
    from dppo.local.log_files import tracing
    from dppo.local.surroundings import kept_surroundings

    is_alone = LIFELINE_VARIABLE not in os.environ  # else our parent has a sweeper
    swept = leaves_nothing(ACTOR_GRACE_SECONDS, sweeper=is_alone)
    with tracing(settings.trace, "actor") as trace, swept, logged_if_killed("its work"), kept_surroundings():
        _entry("dppo.actor.service", "run")(way, name=settings.name, envs=settings.envs, trace=trace, **bounds)
    return 0


def _evaluate(arguments: list[str]) -> int:
    chosen = _plain("evaluate", configs.EvaluateArguments, arguments, positional="run")
    if chosen is None:
        return 0
    from dppo.watch.evaluate_command import run

    return run(chosen)


def _plot(arguments: list[str]) -> int:
    chosen = _plain("plot", configs.PlotArguments, arguments, positional="runs")
    if chosen is None:
        return 0
    from dppo.watch.plot import plot

    print(f"wrote {plot(chosen.runs, chosen.output, x=chosen.x, y=chosen.y)}")
    return 0


def _about_run(command: str, arguments: list[str]) -> int:
    module, config, function = OF_RUNS[command]
    chosen = _plain(command, getattr(importlib.import_module(module), config), arguments, positional="run")
    return 0 if chosen is None else int(_entry(module, function)(chosen))


def _bench(what: str, arguments: list[str]) -> int:
    module, config, positional = BENCHES[what]
    chosen = _plain(f"bench {what}", config, arguments, positional=positional)
    if chosen is None:
        return 0
    if module.startswith("scripts."):
        _entry("dppo.bench.checkout", "add_checkout")()
    return int(_entry(module, what)(chosen))


def _token(action: str, arguments: list[str]) -> int:
    from dppo.ops import tokens

    config = tokens.ARGUMENTS[action]
    positional = "run name" if "name" in settings_of(config) else "run"
    chosen = _plain(f"token {action}", config, arguments, positional=positional)
    if chosen is None:
        return 0
    from dppo.local.failed_starts import removed_where_it_fails

    with removed_where_it_fails(Path(chosen.run, "access")):  # keys are made by the first command that needs them
        return int(_entry("dppo.ops.tokens", action)(chosen))


def _entry(module: str, function: str) -> Callable[..., Any]:
    """A command's entry point, imported only when the command runs."""
    entry: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return entry


OF_RUNS = {
    "doctor": ("dppo.ops.doctor.command", "DoctorArguments", "doctor"),
    "ledger": ("dppo.ops.ledger", "LedgerArguments", "show"),
    "replay": ("dppo.local.replay", "ReplayArguments", "replay"),
}

BENCHES: dict[str, tuple[str, type[Any], str]] = {
    "solve": ("dppo.bench.runs", configs.BenchSolve, "env"),
    "preset": ("dppo.bench.runs", configs.BenchPreset, "preset"),
    "throughput": ("dppo.bench.runs", configs.BenchThroughput, "env"),
    "update": ("dppo.bench.update", configs.BenchUpdate, "env"),
    "chaos": ("scripts.chaos.bench", configs.BenchChaos, ""),
}

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "learner": _learner,
    "actor": _actor,
    "evaluate": _evaluate,
    "plot": _plot,
    **{command: functools.partial(_about_run, command) for command in OF_RUNS},
    **{f"bench {what}": functools.partial(_bench, what) for what in BENCHES},
    **{f"token {action}": functools.partial(_token, action) for action in ("list", "add", "rotate", "revoke", "show")},
}

if __name__ == "__main__":
    main()
