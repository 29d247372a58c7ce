"""Help texts. Knows tyro, which reads them from below the dataclasses' fields; parses nothing itself."""

import ast
import contextlib
import dataclasses
import inspect
import itertools
import textwrap
from typing import Annotated, Any, get_type_hints

from dppo.settings.fields import FLATTENED, REST
from dppo.settings.preset_files import preset_names

LAYERS = """\
Later layers win: defaults, preset, --config FILE, environment variables, flags.
- environment variables: DPPO_PPO__LEARNING_RATE=3e-4 is --ppo.learning-rate 3e-4; unknown DPPO_ ones are refused
- short forms: X or --env X (--env.id), --seed N (--run.seed), --steps N (--run.total-steps), --init-from RUN
- presets: {presets}"""

OVERRIDES = """\
Settings of the runs follow --, as `dppo train` takes them (dppo train --help lists them):
  {program} ... -- --ppo.epochs 4 --run.total-steps 1e5"""


@dataclasses.dataclass(frozen=True)
class FileFlags:
    """Sources of settings."""

    config: str = ""
    """YAML file with the settings as nested keys (`ppo:`, below it `gamma: 0.99`)."""
    print_config: bool = False
    """Print the resolved settings as YAML, each with who set it, and exit."""


@dataclasses.dataclass(frozen=True)
class PresetFlags:
    """Sources of settings, if the command has presets."""

    preset: str = ""
    """Preset to start from, or none; empty: the one named like the environment, where there is one."""


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Choice of the run's directory."""

    new: bool = dataclasses.field(default=False, metadata={"flag": "run.new"})
    """Begin a run of its own in the next directory that is free, such as runs/Pendulum-v1-2."""


@dataclasses.dataclass(frozen=True)
class SeedFlags:
    """Seeds of the runs to train."""

    seeds: str = ""
    """Train a run for each of these seeds, one after the other (5 is 1..5; also 3..7 and 1,3,7), each in a directory of
    its own, such as runs/Pendulum-v1-seeds/seed-3; then show a table with the median."""


@dataclasses.dataclass(frozen=True)
class TraceFlags:
    """Trace of the sessions."""

    trace: bool = dataclasses.field(default=False, metadata={"flag": "trace"})
    """Write every event of the sessions (messages, states, waits) to logs/ in the run directory: learner.trace.jsonl,
    actor-0.trace.jsonl, ..."""


@dataclasses.dataclass(frozen=True)
class DryRunFlags:
    """Choice between doing and showing."""

    dry_run: bool = dataclasses.field(default=False, metadata={"flag": "dry-run"})
    """Print the files and commands that would start it, and start nothing."""


def field_texts(config: type[object]) -> dict[str, str]:
    """The text below each field of a dataclass, by the field's name, each as one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    texts: dict[str, str] = {}
    for before, after in itertools.pairwise(getattr(tree, "body", [])):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            texts[before.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return texts


def show_help(config: type[object], *, program: str, layers: tuple[type[object], ...] = ()) -> None:
    """Print the help of one command: its docstring and every setting with type, text and default.

    `layers` adds the flags that choose where settings come from: FileFlags, PresetFlags. Commands without layers take
    their required settings as arguments without a flag.
    """
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def mapping(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
        """Fields of type dict or list appear as one YAML (or JSON) text instead of not at all."""
        if info.type_origin not in (dict, list):
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="MAPPING" if info.type_origin is dict else "LIST",
            instance_from_str=lambda args: {"": args[0]},
            is_instance=lambda value: isinstance(value, dict | list),
            str_from_instance=lambda value: [str(value)],
        )

    description = config.__doc__ or ""
    if any(field.metadata == REST for field in dataclasses.fields(config)):  # type: ignore[arg-type]
        description += "\n\n" + OVERRIDES.format(program=program)
    if PresetFlags in layers:
        description += "\n\n" + LAYERS.format(presets=", ".join(preset_names()))
    shown = _for_tyro(config, layers)
    marks = [] if layers else [tyro.conf.PositionalRequiredArgs]
    with contextlib.suppress(SystemExit):
        tyro.cli(shown, args=["--help"], prog=program, description=description, registry=registry, config=marks)


def _for_tyro(config: type[object], layers: tuple[type[object], ...] = ()) -> Any:
    """The same dataclass without checks, its help, flattened sections marked as tyro wants it."""
    import tyro

    hints, texts = get_type_hints(config), field_texts(config)
    flat = tyro.conf.arg(name="")
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        if field.metadata == REST:
            continue
        kind: Any = hints[field.name]
        default: Any = dataclasses.field(default=field.default, default_factory=field.default_factory)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            kind = _for_tyro(kind)
            default = dataclasses.field(default_factory=kind)
            fields.append((field.name, Annotated[kind, flat] if field.metadata == FLATTENED else kind, default))
        else:
            required = field.default is field.default_factory is dataclasses.MISSING
            metavar = field.name.upper() if required and not layers else None  # an argument without a flag
            shown_as = field.metadata.get("flag")
            argument = tyro.conf.arg(name=shown_as, help=texts[field.name], metavar=metavar)
            fields.append((field.name, Annotated[kind, argument], default))
    for layer in layers:
        kind = _for_tyro(layer)
        fields.append((layer.__name__, Annotated[kind, flat], dataclasses.field(default_factory=kind)))
    shown = dataclasses.make_dataclass(config.__name__, fields, kw_only=True)
    shown.__doc__ = config.__doc__
    return shown
