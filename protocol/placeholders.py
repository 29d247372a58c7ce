"""Numbers of an environment's own in its keyword arguments: "{slot}", "{5105+slot}", "/tmp/sim-{actor}-{column:02d}".

A string that is one placeholder of slot or column becomes an int; in any other text it is formatted. {{ and }} are
literal braces. Both sides need it: the learner refuses what cannot be filled in before anything starts.
"""

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dppo.protocol.errors import UsageError

NAMES = ("slot", "actor", "column")
_NUMBER = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class Numbers:
    """Numbers of one environment: its slot, its column, its actor."""

    slot: int = 0  # unique among all living environments of a run
    actor: str = "none"  # name of the process that steps it
    column: int = 0  # which of that actor's environments


def filled(value: Any, numbers: Numbers) -> Any:
    """A deep copy of plain values with every placeholder filled in. Raises UsageError for what is none."""
    if isinstance(value, Mapping):
        return {key: filled(inner, numbers) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, numbers) for inner in value]
    return _text(value, numbers) if isinstance(value, str) and ("{" in value or "}" in value) else value


def check_placeholders(kwargs: Mapping[str, Any], of: str = "env.kwargs") -> None:
    """Raises UsageError, naming the argument, where one of its texts cannot be filled in. of: whose arguments."""
    for name, value in kwargs.items():
        try:
            filled(value, Numbers())
        except UsageError as error:
            raise UsageError(f"{of}.{name}: {error}") from None


def has_placeholder(value: Any) -> bool:
    """Whether environments with other numbers get something else."""
    return bool(filled(value, Numbers()) != filled(value, Numbers(1, "other", 1)))


def _text(text: str, numbers: Numbers) -> Any:
    parts = list(_parsed(text))
    if len(parts) == 1 and not parts[0][0] and parts[0][1] is not None and not parts[0][2]:
        return _value(parts[0][1], numbers, text)
    words = []
    for literal, expression, spec in parts:
        words.append(literal)
        if expression is None:
            continue
        try:
            words.append(format(_value(expression, numbers, text), spec))
        except ValueError as error:
            raise UsageError(f"{text!r}: {error} in {{{expression}:{spec}}}") from None
    return "".join(words)


def _parsed(text: str) -> Iterator[tuple[str, str | None, str]]:
    try:
        for literal, expression, spec, conversion in string.Formatter().parse(text):
            if conversion:
                raise UsageError(f"{text!r} holds !{conversion}, which placeholders have not")
            yield literal, expression, spec or ""
    except ValueError as error:
        raise UsageError(f"{text!r} cannot be read ({error}): write {{{{ and }}}} for literal braces") from None


def _value(expression: str, numbers: Numbers, text: str) -> int | str:
    """A name, or a sum of products of whole numbers, slot and column."""
    if expression.strip() == "actor":
        return numbers.actor
    total = 0
    if not any(name in expression for name in ("slot", "column")):
        raise _unknown(expression, text)
    for term in expression.split("+"):
        product = 1
        for factor in term.split("*"):
            match factor.strip():
                case "slot":
                    product *= numbers.slot
                case "column":
                    product *= numbers.column
                case word if _NUMBER.fullmatch(word):
                    product *= int(word)
                case _:
                    raise _unknown(expression, text)
        total += product
    return total


def _unknown(expression: str, text: str) -> UsageError:
    return UsageError(
        f"{{{expression}}} in {text!r} is no placeholder: there are {{slot}}, {{column}}, sums such as "
        "{5000+2*slot}, and {actor}; write {{ and }} for literal braces"
    )
