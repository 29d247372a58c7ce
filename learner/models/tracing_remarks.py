"""Places in a user's code where a traced value leaves PyTorch, so that the exported graph keeps it. Knows warnings."""

import re
import site
import sysconfig
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[1])  # a user's module may lie beside our packages
_LIBRARIES = (*site.getsitepackages(), sysconfig.get_path("stdlib"), _OURS)
_CONVERTED = re.compile(r"Converting a tensor to a (Python [a-z]+|NumPy array)")
_ITERATED = re.compile(r"Iterating over a tensor")
_LEFT = re.compile(r"numpy\(\) on Tensor")  # an error's words, where gradients are wanted
COMPUTE = (
    "the policy that actors run would always have the value that it had in the export: compute with tensors alone, as "
    "torch.where(condition, a, b) in place of an `if`, torch.sin(x) in place of np.sin(x.numpy())"
)


def remarks_of(warned: Sequence[warnings.WarningMessage]) -> list[str]:
    """Return a few words for each place of the user's that PyTorch has warned of, such as "in my_nets.py:12 a ..."."""
    found = [(_place(entry.filename, entry.lineno), _what(str(entry.message))) for entry in warned]
    return list(dict.fromkeys(f"{what} in {place}" for place, what in found if place and what))


def why_it_differs(remarks: Sequence[str]) -> str:
    """Return the sentence on them; "" where there are none."""
    return f"{', '.join(remarks)}, and {COMPUTE}" if remarks else ""


def why_it_fails(error: BaseException) -> str:
    """Return the sentence on an error that says so itself; "" for any other."""
    if not _LEFT.search(str(error)):
        return ""
    frames = [_place(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    places = [place for place in frames if place]
    return why_it_differs([f"a tensor becomes a NumPy array{f' in {places[-1]}' if places else ''}"])


def _what(text: str) -> str:
    converted = _CONVERTED.search(text)
    if converted:
        return f"a tensor becomes a {converted[1]}"
    return "a loop goes over a tensor" if _ITERATED.search(text) else ""


def _place(file: str, line: int) -> str:
    """The place in a file of the user's; "" in a library or in ours."""
    return "" if file.startswith(_LIBRARIES) or file.startswith("<") else f"{Path(file).name}:{line}"
