"""Help page, or command, that the first words of a command line ask for. Knows names; runs nothing."""

import sys
from collections.abc import Collection

from dppo.protocol.errors import UsageError
from dppo.settings.fields import nearest_name

GROUPS = ("bench", "token")  # commands of two words
HELP = ("--help", "-h", "help")
VERSION = ("--version", "-V", "version")

OVERVIEW = """\
usage: dppo COMMAND [FLAGS]

Distributed PPO: thin actors step environments, one learner trains.

commands:
  train             train on this machine: learner, actors, live table, evaluation
  learner           run the learner alone; actors join it from anywhere
  actor             run one actor that joins a learner
  relay             stand between a host's actors and the learner: one copy of each policy per host
  up                start a run with an engine: local, docker, ssh, slurm, k8s, ray; then: ps, logs, scale, down
  tune              search for settings that learn faster
  evaluate          play a trained policy on episodes it never saw
  watch             the live screen of a run that goes on elsewhere
  runs              list runs with their states, steps and returns
  plot              draw learning curves; --timeline: who stepped, waited and updated
  check             play an environment at random: what would keep PPO from learning it
  report            one HTML file about a run, to keep or to send
  diagnose          what kept a run from learning, with the setting to change
  doctor            check this machine, a run's keys, and the way to a learner
  ledger            where every step of a run went, and whether the books close
  replay            train a run of the rule quota again, and compare each version
  token list        who may join a run over the network; also: token add, rotate, revoke, show
  bench solve       time until solved, over several seeds
  bench preset      a preset's whole budget, over several seeds
  bench throughput  steps per second, memory and latencies
  bench slow        minutes to the target with slow simulators, and how long the learner is idle
  bench update      what a memory costs in an update
  bench chaos       kill, cut off and attack real processes, check every promise

  --version         print the version of dppo and of its protocol
  --help            this text; `dppo COMMAND --help` lists every setting

first steps:
  dppo train CartPole-v1
  dppo train --env Pendulum-v1 --seed 2 --ppo.learning-rate 3e-4
  dppo train --config my.yaml --print-config
  dppo evaluate runs/CartPole-v1
"""

GROUP_PAGES = {
    "bench": """\
usage: dppo bench WHAT [FLAGS] [-- SETTINGS OF THE RUNS]

Measure training on this machine.

  bench solve ENV         time until solved, over several seeds
  bench preset PRESET     a preset's whole budget, over several seeds
  bench throughput ENV    steps per second, memory and latencies
  bench slow ENV          minutes to the target with slow simulators, and how long the learner is idle
  bench update ENV        what a memory costs in an update
  bench chaos             kill, cut off and attack real processes, check every promise

What follows -- is handed to every `dppo train`:
  dppo bench solve CartPole-v1 --seeds 3 -- --ppo.epochs 4
`dppo bench WHAT --help` lists the flags.
""",
    "token": """\
usage: dppo token ACTION RUN [FLAGS]

Decide who may join a run over the network.

  token list RUN          names, ids, states, dates; no secrets
  token show RUN          print the first token's join line once more
  token add RUN NAME      make a token and print its join line
  token rotate RUN        give a token a new secret and print its join line
  token revoke RUN NAME   end a token, and the connections made with it

`dppo token ACTION --help` lists the flags.
""",
}


def version_text() -> str:
    """Return `dppo 0.1.0 (protocol 5)`: an actor and a learner of one protocol understand each other."""
    from dppo.protocol import PROTOCOL_VERSION
    from dppo.protocol.release import RELEASE

    return f"dppo {RELEASE} (protocol {PROTOCOL_VERSION})"


def page(arguments: list[str]) -> int | None:
    """Print what the first words ask for and return the exit code; None where they name a command to run."""
    if not arguments:
        print(OVERVIEW, end="", file=sys.stderr)
        return UsageError.exit_code
    command, rest = arguments[0], arguments[1:]
    if command in VERSION:
        print(version_text())
        return 0
    if command in HELP and not rest:
        print(OVERVIEW, end="")
        return 0
    if command in HELP and len(rest) == 1:
        command, rest = rest[0], ["--help"]
    if command in GROUPS and (not rest or rest[0] in HELP):
        print(GROUP_PAGES[command], end="", file=sys.stdout if rest else sys.stderr)
        return 0 if rest else UsageError.exit_code
    return None


_AGAIN = "the same dppo train command as before: it goes on with its run"
_PLAY = "dppo evaluate RUN"
_SHOW = f"{_PLAY} --video FILE.mp4"
WORDS_OF_OTHERS = {  # what other projects call their commands; letters alone would suggest something else
    **dict.fromkeys(("resume", "continue", "restart", "load"), _AGAIN),
    **dict.fromkeys(("enjoy", "play", "test", "eval", "predict"), _PLAY),
    **dict.fromkeys(("render", "record", "video", "film"), _SHOW),
    **dict.fromkeys(("run", "fit", "learn", "start"), "dppo train ENV"),
    **dict.fromkeys(("list", "ls", "status"), "dppo runs"),
    **dict.fromkeys(("top", "monitor", "attach"), "dppo watch RUN"),
    **dict.fromkeys(("timeline", "gantt", "profile"), "dppo plot RUN --timeline"),
    **dict.fromkeys(("server", "serve", "master", "head"), "dppo learner"),
    **dict.fromkeys(("worker", "client", "collector", "join"), "dppo actor"),
    **dict.fromkeys(("proxy", "gateway", "broker", "forward"), "dppo relay"),
    "tensorboard": "tensorboard --logdir runs",
    **dict.fromkeys(("deploy", "launch", "submit"), "dppo up"),
    **dict.fromkeys(("stop", "kill"), "dppo down, for what dppo up has started"),
    **dict.fromkeys(("config", "presets", "settings"), "dppo train --print-config"),
}


def command_of(arguments: list[str], commands: Collection[str]) -> tuple[str, list[str]]:
    """Split the words into a command and its arguments; `help COMMAND` is `COMMAND --help`. Raises UsageError."""
    if arguments[0] in HELP:
        wanted = [word for word in arguments[1:] if not word.startswith("-")]
        arguments = [*wanted[: 2 if wanted[:1] and wanted[0] in GROUPS else 1], "--help"]
    words = 2 if arguments[0] in GROUPS else 1
    command = " ".join(arguments[:words])
    if command not in commands:
        raise UsageError(
            f"unknown command {command or repr(command)}{_meant(command, arguments, commands)}: see dppo --help"
        )
    return command, ["--help"] if arguments[words:] == ["help"] else arguments[words:]


def _meant(command: str, arguments: list[str], commands: Collection[str]) -> str:
    first = arguments[0]
    if first.startswith("-"):
        return f" (did you mean dppo train {first}?)"
    if first in GROUPS:
        actions = [name.partition(" ")[2] for name in commands if name.startswith(f"{first} ")]
        near = nearest_name(" ".join(arguments[1:2]), actions)
        return f" (did you mean {first} {near}?)" if near else f" (dppo {first} takes one of {', '.join(actions)})"
    if any(mark in first for mark in (":", "/", ".")) or "-v" in first:  # an environment's id, or a file
        return f" (did you mean dppo train {first}?)"
    if first in WORDS_OF_OTHERS:
        return f" (here it is {WORDS_OF_OTHERS[first]})"
    singles = {word: name for name in commands for word in reversed(name.split())}
    return f" (did you mean {singles[near]}?)" if (near := nearest_name(first, singles)) else ""
