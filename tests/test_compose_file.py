"""docker-compose.yml and what belongs to it, as far as they can be checked without an engine."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dppo.actor.config import ActorConfig
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags

REPOSITORY = Path(__file__).parent.parent
JOIN = "/dppo/join"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    return content


def flags(service: dict[str, Any], config: type[object]) -> dict[str, Any]:
    """What the service's command line says, its variables at their defaults."""
    words = [word for word in service["command"].split() if not word.startswith("${") or ":-" in word]
    words = [word.split(":-")[1].rstrip("}") if word.startswith("${") else word for word in words]
    return parse_flags([word for word in words[2:] if word], settings_of(config)).values


def test_learner_and_actors_share_the_join_line_and_nothing_else(compose: dict[str, Any]) -> None:
    learner, actor = compose["services"]["learner"], compose["services"]["actor"]
    written = flags(learner, LearnerProcessConfig)
    assert Path(written["write_join_file"]).parent == Path(JOIN)
    assert flags(actor, ActorConfig) == {"join_file": written["write_join_file"]}
    assert f"join:{JOIN}" in learner["volumes"]
    assert actor["volumes"] == [f"join:{JOIN}:ro"]
    assert "join" in compose["volumes"]
    assert written["advertise"] == "learner", "the name that the project's network knows"


def test_keys_are_on_and_the_port_stays_in_the_projects_network(compose: dict[str, Any]) -> None:
    learner = compose["services"]["learner"]
    assert "insecure" not in flags(learner, LearnerProcessConfig)
    assert "ports" not in learner
    assert "/dppo/join" not in str(compose["services"]["tensorboard"])


def test_a_refused_learner_is_not_started_again_for_ever_and_a_killed_one_comes_back(compose: dict[str, Any]) -> None:
    variable, policy, limit = compose["services"]["learner"]["restart"].strip("${}").replace(":-", ":").split(":")
    assert (variable, policy) == ("DPPO_RESTART", "on-failure")
    assert 3 <= int(limit or 0) <= 20
    assert compose["services"]["actor"]["restart"] == "on-failure", "a key that has changed is read anew"


def test_the_directory_of_the_join_line_hands_its_group_down_and_is_closed_to_others() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert f"mkdir -p /dppo/runs {JOIN} && chown -R dppo:dppo /dppo && chmod 2770 {JOIN}" in dockerfile


def test_the_images_are_built_from_every_package_of_the_wheel() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    kept = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(packages) <= kept
