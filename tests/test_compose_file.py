"""docker-compose.yml and what belongs to it, as far as they can be checked without an engine."""

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dppo.actor.config import ActorConfig
from dppo.local.actor_group import GRACE_SECONDS
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import COMPOSE_VARIABLES, OTHER_VARIABLES

REPOSITORY = Path(__file__).parent.parent
JOIN = "/dppo/join"
MONITORING = REPOSITORY / "examples" / "deploy" / "monitoring"


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
    envs = "${DPPO_MODULES:-./envs}:/dppo/envs:ro"
    assert actor["volumes"] == [f"join:{JOIN}:ro", envs]
    assert envs in learner["volumes"]
    assert "join" in compose["volumes"]
    assert written["advertise"] == "learner", "the name that the project's network knows"


def test_keys_are_on_and_the_port_stays_in_the_projects_network(compose: dict[str, Any]) -> None:
    learner = compose["services"]["learner"]
    assert "insecure" not in flags(learner, LearnerProcessConfig)
    assert "ports" not in learner
    assert "/dppo/join" not in str(compose["services"]["tensorboard"])


def test_services_of_ours_write_nowhere_else_and_have_limits(compose: dict[str, Any]) -> None:
    hosts = yaml.safe_load((REPOSITORY / "docker-compose.actors.yml").read_text())
    services = {**compose["services"], **hosts["services"]}
    assert services.keys() == {"learner", "actor", "tensorboard", "prometheus", "grafana", "actors"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"], name
        assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    capable = {name for name, service in services.items() if "cap_add" in service}
    assert capable == {"learner", "tensorboard"}, "whose entry point becomes the owner of the run directory"


def test_actors_on_a_further_host_join_by_a_file_that_only_their_user_can_read() -> None:
    content = yaml.safe_load((REPOSITORY / "docker-compose.actors.yml").read_text())
    actors = content["services"]["actors"]
    assert flags(actors, ActorConfig) == {"join_file": "/run/secrets/join", "count": "auto"}
    assert actors["secrets"] == ["join"]
    assert content["secrets"]["join"] == {"file": "${DPPO_JOIN_FILE:-./join}"}
    assert actors["user"] == "${DPPO_UID:-1000}:${DPPO_GID:-1000}"
    assert "/join" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_the_port_is_published_only_where_that_is_asked_for() -> None:
    content = yaml.safe_load((REPOSITORY / "docker-compose.hosts.yml").read_text())
    assert content == {"services": {"learner": {"ports": ["${DPPO_PUBLISH:-0.0.0.0:5555}:5555"]}}}


def test_the_dashboard_shows_metrics_that_there_are(compose: dict[str, Any]) -> None:
    dashboard = json.loads((MONITORING / "grafana" / "dashboard.json").read_text())
    source = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (known,) = (one["uid"] for one in source["datasources"])
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 10
    documented = set(re.findall(r"`(dppo_\w+)`", (REPOSITORY / "docs" / "monitoring.md").read_text()))
    assert {name for text in expressions for name in re.findall(r"dppo_\w+", text)} <= documented
    assert {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]} == {known}
    mounted = {volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]}
    provider = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/dppo.yml").read_text())
    assert provider["providers"][0]["options"]["path"] in mounted


def test_prometheus_scrapes_the_learner_where_it_serves_its_metrics(compose: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    address = compose["services"]["learner"]["environment"]["DPPO_RUN__METRICS_ADDRESS"]
    assert job["static_configs"] == [{"targets": [f"learner:{address.rpartition(':')[2]}"]}]
    assert address.rpartition(":")[2] in compose["services"]["learner"]["expose"]
    for service in ("prometheus", "grafana"):
        assert compose["services"][service]["profiles"] == ["monitoring"]
        for volume in compose["services"][service]["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (REPOSITORY / source).exists()


def test_variables_of_the_files_do_not_stop_a_command_in_the_same_shell() -> None:
    texts = [path.read_text() for path in REPOSITORY.glob("docker-compose*.yml")]
    assert len(texts) == 3
    named = {name for text in texts for name in re.findall(r"\$\{(DPPO_\w+)", text)}
    assert len(named) > 10
    assert named - {*COMPOSE_VARIABLES, *OTHER_VARIABLES} == set()


def test_the_unit_of_systemd_starts_a_command_that_there_is() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read(REPOSITORY / "examples" / "deploy" / "dppo-actors.service")
    program, command, *arguments = unit["Service"]["ExecStart"].split()
    assert (Path(program).name, command) == ("dppo", "actor")
    assert parse_flags(arguments, settings_of(ActorConfig)).values == {
        "join_file": "${CREDENTIALS_DIRECTORY}/join",
        "count": "auto",
    }
    assert unit["Service"]["LoadCredential"].split(":")[0] == "join"
    assert float(unit["Service"]["TimeoutStopSec"]) > GRACE_SECONDS + 1


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
