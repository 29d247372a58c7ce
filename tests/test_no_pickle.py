"""Nothing in this repository makes code out of data: no pickle and what is built on it, no eval, under whatever name.

Names are followed through imports, aliases and getattr with a constant. ruff's S rules (in pyproject.toml) say the same
where they are written; this finds what they do not look at.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dppo.settings.yaml_text import Yaml

REPOSITORY = Path(__file__).parent.parent
ONLY_HERE = {"tests/test_no_pickle.py"}  # it has to write them down

MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "pickle5",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
FUNCTIONS = {
    "torch.load", "torch.serialization.load", "torch.save", "torch.package.PackageImporter", "torch.hub.load",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.UnsafeLoader", "yaml.Loader",
    "pandas.read_pickle", "numpy.load", "numpy.lib.format.read_array",
    "multiprocessing.connection.Listener", "multiprocessing.connection.Client",
}  # fmt: skip
METHODS = {"recv_pyobj", "send_pyobj", "read_pickle", "to_pickle", "recv_serialized", "load_pickle"}
SAFE_LOADERS = {
    "yaml.SafeLoader",
    "yaml.CSafeLoader",
    "dppo.settings.yaml_text.Yaml",
    "Yaml",
}  # the last two are tested below


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def is_harmless(names: "Names", path: str, call: ast.Call) -> bool:
    """Whether the arguments take the danger out of the call."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if path == "numpy.load":
        return "allow_pickle" in keywords and is_false(keywords["allow_pickle"])
    return path == "yaml.load" and "Loader" in keywords and names.path(keywords["Loader"]) in SAFE_LOADERS


class Names(ast.NodeVisitor):
    """What names of a module stand for, as dotted paths, wherever they were bound."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.known[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.known[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_Assign(self, node: ast.Assign) -> None:
        path = self.path(node.value)
        for target in node.targets:
            if path and isinstance(target, ast.Name):
                self.known[target.id] = path
        self.generic_visit(node)

    def path(self, node: ast.expr) -> str:
        """The dotted path of an expression, "" where it has none."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, f"builtins.{node.id}" if node.id in BUILTINS else node.id)
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return f"{base}.{node.attr}" if base else f"?.{node.attr}"
        if isinstance(node, ast.Call):
            function = self.path(node.func)
            constants = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if function == "getattr" and constants:
                return f"{self.path(node.args[0])}.{constants[0]}"
            if function in ("importlib.import_module", "builtins.__import__") and constants:
                return constants[0]
        return ""


LAST_NAMES = {path.split(".")[-1] for path in FUNCTIONS}
WORDS = re.compile(rf"\b({'|'.join(sorted(MODULES | BUILTINS | METHODS | LAST_NAMES | {'allow_pickle'}))})\b")


def violations(text: str) -> Iterator[str]:
    """Every place where data could become code."""
    if not WORDS.search(text):  # whatever it is bound to, it is written somewhere
        return
    tree = ast.parse(text)
    names = Names()
    names.visit(tree)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.expr):
            found = [names.path(node)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not is_false(node.value):
            yield f"line {node.value.lineno}: allow_pickle"
            continue
        else:
            continue
        for path in found:
            root, last = path.split(".")[0], path.split(".")[-1]
            is_bad = (
                root in MODULES or path in FUNCTIONS or last in METHODS or path.removeprefix("builtins.") in BUILTINS
            )
            if not is_bad or path == "builtins.__import__":
                continue
            call = called.get(id(node))
            is_safe = isinstance(node, ast.expr) and (call is None or is_harmless(names, path, call))
            if is_safe and path in ("numpy.load", "yaml.load"):
                continue
            yield f"line {node.lineno}: {path}"


def python_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True)
    tracked = [REPOSITORY / line for line in listed.stdout.splitlines()]
    found = tracked or [
        p for d in ("protocol", "actor", "learner", "scripts", "tests") for p in (REPOSITORY / d).rglob("*.py")
    ]
    return [path for path in found if path.exists() and path.relative_to(REPOSITORY).as_posix() not in ONLY_HERE]


def test_no_file_makes_code_out_of_data() -> None:
    files = python_files()
    assert len(files) > 100
    found = [f"{p.relative_to(REPOSITORY)} {v}" for p in files for v in violations(p.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import numpy, pickle as p",
        "from pickle import loads as parse",
        "from torch import load",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "import torch\nread = torch.load\nread('x')",
        "import torch\ngetattr(torch, 'load')('x')",
        "import importlib\nimportlib.import_module('pickle').loads(b'')",
        "import importlib\np = importlib.import_module('cloudpickle')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import numpy as np\nfrom numpy import load",
        "socket.recv_pyobj()",
        "f = socket.recv_pyobj\nf()",
        "eval('1')",
        "e = eval\ne('1')",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__('marshal').loads(b'')",
        "import yaml\nyaml.load(text, Loader=yaml.UnsafeLoader)",
        "import yaml\nyaml.load(text)",
        "from yaml import unsafe_load as safe_load",
        "from multiprocessing import connection\nconnection.Client(('', 1))",
    ],
)
def test_each_way_around_the_rule_is_found(text: str) -> None:
    assert list(violations(text))


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import re\nre.compile('x')",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "from safetensors.torch import load_file\nload_file('x')",
        "model.eval()",
        "import json\njson.load(file)",
        "'pickle'  # only the word",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert list(violations(text)) == []


def test_our_own_loader_of_yaml_is_a_safe_one() -> None:
    assert issubclass(Yaml, yaml.SafeLoader)


def test_the_linter_has_the_rule_too_and_the_pins_hold() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    lint = project["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if rule.startswith(("S30", "S31", "S506", "S614"))]
    assert "msgpack>=1.2.1" in project["project"]["dependencies"]
    assert any(text.startswith("torch>=2.10") for text in project["project"]["optional-dependencies"]["learner"])
