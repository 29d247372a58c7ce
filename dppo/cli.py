"""The command `dppo`: which words call what, and what a failure looks like. Handlers import what they need, late."""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dppo.fitted_text import fitted
from dppo.local.interrupts import interrupt_between_imports
from dppo.local.process_end import drop_output, leave, output_trouble, use_utf8
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.machine_trouble import trouble
from dppo.protocol.process.quick_imports import hold_collector, release_collector
from dppo.protocol.texts import MAX_ERROR, printable
from dppo.required_packages import missing_text
from dppo.settings import help_pages
from dppo.settings.command_line import layered, plain
from dppo.settings.fields import settings_of
from dppo.settings.first_line import names_no_environment

TRAIN_GRACE_SECONDS = 25.0  # for the processes of a killed run to end by themselves, with a checkpoint
ACTOR_GRACE_SECONDS = 0.5  # for what a killed process's environments have started
INTERRUPTED = 130  # 128 + SIGINT, what shells expect
LONG_COMMANDS = ("train", "learner", "tune")  # whose end matters to people who have stopped reading
PRINT_ONLY = ("-h", "--help", "--print-config")  # flags with which they train nothing
OUTPUT_GONE = (
    "no program reads the output any more (`| head`, or a `| tee` that Ctrl-C ended), so this command has ended, "
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
    hold_collector()  # until the command has been imported
    use_utf8()
    interrupt_between_imports()
    leave(run_command(list(arguments)))


def run_command(arguments: list[str]) -> int:
    """Run one command; returns the exit code. Errors of the user's are a line on standard error."""
    append_working_directory()  # `--env my_module:MyEnv-v0` finds the user's file, as `python -m` would
    try:
        code = _dispatch(arguments)
        if not sys.stdout.closed:  # by code of a user's, a hook or an environment
            sys.stdout.flush()
    except DppoError as error:
        code = _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `dppo ... | head`
        drop_output()
        if arguments[0] in LONG_COMMANDS and not set(PRINT_ONLY) & set(arguments):  # users know why the others end
            with contextlib.suppress(OSError):  # `dppo ... 2>&1 | head`
                _fail(OUTPUT_GONE, 1)
        code = 1
    except ModuleNotFoundError as error:
        text = missing_text(error.name or "")
        if not text:
            raise
        code = _fail(text, 2)
    except Exception as error:
        text = output_trouble(error) or trouble(error)
        if not text:
            raise
        code = _fail(text, 1)
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


def _train(arguments: list[str]) -> int:
    from dppo.settings.commands import TrainConfig

    resolved = layered("train", TrainConfig, arguments)
    if resolved is None:
        return 0
    from dppo.protocol.process.household import leaves_nothing

    # in one process none is left that writes a checkpoint
    is_alone = resolved.config.actors == 0 and "seeds" not in resolved.extra
    with leaves_nothing(ACTOR_GRACE_SECONDS if is_alone else TRAIN_GRACE_SECONDS, sweeper=True):
        return int(_entry("dppo.local.train_command", "train")(resolved))


def _learner(arguments: list[str]) -> int:
    from dppo.settings.commands import LearnerProcessConfig

    resolved = layered("learner", LearnerProcessConfig, arguments)
    if resolved is None:
        return 0
    from dppo.learner.transport.listener import Listening

    config = resolved.config
    listening = Listening(
        config.bind,
        config.advertise,
        config.write_join_file,
        insecure=config.insecure,
        key_file=config.key_file,
        shows_secrets=sys.stdout.isatty(),
    )
    return int(_entry("dppo.local.learner_command", "run")(resolved, listening))


def _actor(arguments: list[str]) -> int:
    from dppo.actor.config import ActorConfig

    resolved = layered("actor", ActorConfig, arguments)
    if resolved is None:
        return 0
    from dppo.local.actor_command import run

    run(resolved, _entry)
    return 0


def _relay(arguments: list[str]) -> int:
    from dppo.relay.config import RelayConfig

    resolved = layered("relay", RelayConfig, arguments)
    if resolved is None:
        return 0
    from dppo.relay.command import run

    run(resolved, _entry)
    return 0


def _evaluate(arguments: list[str]) -> int:
    from dppo.settings.commands import EvaluateArguments

    chosen = plain("evaluate", EvaluateArguments, arguments, positional="run")
    if chosen is None:
        return 0
    return int(_entry("dppo.watch.evaluate_command", "run")(chosen))


def _check(arguments: list[str]) -> int:
    from dppo.settings.check_arguments import CheckConfig

    resolved = layered("check", CheckConfig, arguments)
    if resolved is None:
        return 0
    from dppo.protocol.process.household import leaves_nothing, logged_if_killed

    with leaves_nothing(ACTOR_GRACE_SECONDS, sweeper=True), logged_if_killed("the check"):
        return int(_entry("dppo.ops.check.command", "check")(resolved.config))


def _tune(arguments: list[str]) -> int:
    from dppo.settings.tune_arguments import TuneConfig

    resolved = layered("tune", TuneConfig, arguments)
    if resolved is None:
        return 0
    if names_no_environment(resolved):
        raise UsageError("env is missing: dppo tune CartPole-v1, for example; see dppo tune --help")
    from dppo.protocol.process.household import leaves_nothing

    with leaves_nothing(TRAIN_GRACE_SECONDS, sweeper=True):
        return int(_entry("dppo.tune.command", "tune")(resolved.config))


def _plot(arguments: list[str]) -> int:
    from dppo.settings.commands import PlotArguments

    chosen = plain("plot", PlotArguments, arguments, positional="runs")
    if chosen is None:
        return 0
    return int(_entry("dppo.watch.plot_command", "run")(chosen))


def _about_run(command: str, arguments: list[str]) -> int:
    module, config, function = OF_RUNS[command]
    chosen = plain(command, getattr(importlib.import_module(module), config), arguments, positional="run")
    return 0 if chosen is None else int(_entry(module, function)(chosen))


def _runs(arguments: list[str]) -> int:
    from dppo.watch.runs_command import RunsArguments

    chosen = plain("runs", RunsArguments, arguments, positional="folder")
    return 0 if chosen is None else int(_entry("dppo.watch.runs_command", "show_runs")(chosen))


def _bench(what: str, arguments: list[str]) -> int:
    module, name, positional = BENCHES[what]
    config = getattr(importlib.import_module("dppo.settings.bench_arguments"), name)
    chosen = plain(f"bench {what}", config, arguments, positional=positional)
    if chosen is None:
        return 0
    if module.startswith("scripts."):
        _entry("dppo.bench.checkout", "add_checkout")()
    return int(_entry(module, what)(chosen))


def _up(arguments: list[str]) -> int:
    from dppo.deploy.command_line import up_settings

    resolved = up_settings(arguments)
    return 0 if resolved is None else int(_entry("dppo.deploy.commands", "up")(resolved))


def _about_deployment(command: str, arguments: list[str]) -> int:
    from dppo.deploy.command_line import settings

    chosen = settings(command, arguments)
    return 0 if chosen is None else int(_entry("dppo.deploy.commands", command)(chosen))


def _token(action: str, arguments: list[str]) -> int:
    from dppo.ops import tokens

    config = tokens.ARGUMENTS[action]
    names = settings_of(config)
    positional = "directory" if "directory" in names else "run name" if "name" in names else "run"
    chosen = plain(f"token {action}", config, arguments, positional=positional)
    if chosen is None or action == "new":
        return 0 if chosen is None else int(_entry("dppo.ops.tokens", action)(chosen))
    from dppo.local.failed_starts import removed_where_it_fails

    with removed_where_it_fails(Path(chosen.run, "access")):  # keys are made by the first command that needs them
        return int(_entry("dppo.ops.tokens", action)(chosen))


def _entry(module: str, function: str) -> Callable[..., Any]:
    """A command's entry point, imported only when the command runs."""
    entry: Callable[..., Any] = getattr(importlib.import_module(module), function)
    release_collector()
    return entry


OF_RUNS = {
    "diagnose": ("dppo.ops.diagnose.command", "DiagnoseArguments", "diagnose"),
    "doctor": ("dppo.ops.doctor.command", "DoctorArguments", "doctor"),
    "ledger": ("dppo.ops.ledger", "LedgerArguments", "show"),
    "report": ("dppo.watch.report", "ReportArguments", "report"),
    "watch": ("dppo.watch.watch_command", "WatchArguments", "watch"),
    "replay": ("dppo.local.replay", "ReplayArguments", "replay"),
}

BENCHES = {
    "solve": ("dppo.bench.runs", "BenchSolve", "env"),
    "preset": ("dppo.bench.runs", "BenchPreset", "preset"),
    "throughput": ("dppo.bench.runs", "BenchThroughput", "env"),
    "slow": ("dppo.bench.slow", "BenchSlow", "env"),
    "update": ("dppo.bench.update", "BenchUpdate", "env"),
    "chaos": ("scripts.chaos.bench", "BenchChaos", ""),
}

TOKEN_ACTIONS = ("new", "list", "add", "rotate", "revoke", "show")

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "learner": _learner,
    "actor": _actor,
    "relay": _relay,
    "evaluate": _evaluate,
    "plot": _plot,
    "check": _check,
    "tune": _tune,
    "runs": _runs,
    **{command: functools.partial(_about_run, command) for command in OF_RUNS},
    "up": _up,
    **{command: functools.partial(_about_deployment, command) for command in ("ps", "logs", "scale", "down")},
    **{f"bench {what}": functools.partial(_bench, what) for what in BENCHES},
    **{f"token {action}": functools.partial(_token, action) for action in TOKEN_ACTIONS},
}

if __name__ == "__main__":
    main()
