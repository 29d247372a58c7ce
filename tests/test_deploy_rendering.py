"""What each engine would be given, against files that were read by people: tests/golden/deploy-*.txt.

`REWRITE_GOLDEN=1` writes them anew.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dppo.deploy.config import DeployConfig
from dppo.deploy.engine import Plan, Rendered
from dppo.deploy.engines import engine_of
from dppo.protocol.errors import UsageError
from dppo.settings.help_pages import version_text

GOLDEN = Path(__file__).parent / "golden"
HERE = Path("/home/ada/pole")
PYTHON = "/opt/dppo/bin/python"
RESERVED: dict[str, Any] = {
    "learner_cpus": 4,
    "learner_memory": "8G",
    "learner_gpus": 1,
    "actor_cpus": 2,
    "actor_memory": "1G",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "local": {"engine": "local"},
    "docker": {"engine": "docker"},
    "docker-reserved": {"engine": "docker", **RESERVED, "tensorboard_port": 6006, "actor_image": "registry/actor:1"},
    "ssh": {"engine": "ssh", "hosts": ["h1", "ada@h2", {"h3": 16}], "directory": "pole", "python": PYTHON},
    "slurm": {"engine": "slurm", "python": PYTHON},
    "slurm-elastic": {
        **{"engine": "slurm", "slurm_layout": "elastic", "python": PYTHON, "setup": ("module load python",)},
        **{"partition": "main", "account": "lab", "time_limit": "2-00:00:00", **RESERVED},
    },
    "k8s": {"engine": "k8s", "namespace": "lab"},
    "k8s-jobset": {"engine": "k8s", "workload": "jobset", "storage_class": "fast", **RESERVED},
    "ray": {"engine": "ray"},
}
LEARNERS: dict[str, dict[str, Any]] = {  # variants with two learners
    f"{variant}-learners": VARIANTS[variant]
    for variant in ("docker", "docker-reserved", "slurm", "slurm-elastic", "k8s", "k8s-jobset")
} | {
    "slurm-reserved-learners": {"engine": "slurm", "python": PYTHON, **RESERVED},
    "ray-learners": {"engine": "ray", **RESERVED},
}


def plan(actors: int = 3, **deploy: Any) -> Plan:
    return Plan(
        name="dppo-pole",
        run=HERE / "runs" / "pole",
        settings="env:\n  id: CartPole-v1\n",
        actors=actors,
        learners=1,
        bind="",
        advertise="",
        init_from="",
        directory=HERE,
        deploy=DeployConfig(**deploy),
    )


def rendered(wanted: Plan) -> Rendered:
    return engine_of(wanted.deploy.engine).render(wanted)


def wanted_of(variant: str, actors: int = 3) -> Plan:
    """The plan of a variant; with two learners where its name says so."""
    if variant in LEARNERS:
        return dataclasses.replace(plan(actors, **LEARNERS[variant]), learners=2)
    return plan(actors, **VARIANTS[variant])


READ = ("docker-learners", "slurm-learners", "slurm-elastic-learners", "k8s-learners", "ray-learners")


@pytest.mark.parametrize("variant", [*VARIANTS, *READ])
def test_what_would_be_submitted_is_what_people_have_read(variant: str) -> None:
    wanted = wanted_of(variant)
    text = (
        rendered(wanted).text(wanted.folder).replace(sys.executable, PYTHON).replace(version_text(), "dppo 0.1.0")
        + "\n"
    )
    file = GOLDEN / f"deploy-{variant}.txt"
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_actors_it_is_a_learner_alone(variant: str) -> None:
    text = rendered(plan(0, **VARIANTS[variant])).text(HERE)
    assert "--array=" not in text
    assert "hetjob" not in text


@pytest.mark.parametrize("variant", ["slurm", "slurm-elastic", "slurm-learners", "slurm-elastic-learners"])
def test_job_scripts_are_shell(variant: str) -> None:
    for actors in (0, 3):
        files = rendered(wanted_of(variant, actors)).files
        scripts = [text for name, text in files.items() if name.endswith(".sh")]
        assert scripts
        for script in scripts:
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("variant", ["k8s", "k8s-jobset", "k8s-learners", "k8s-jobset-learners"])
def test_manifests_are_valid(variant: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate (extra dev)").validate
    for name, text in rendered(wanted_of(variant)).files.items():
        for manifest in yaml.safe_load_all(text):
            if name not in ("run.yaml", "kustomization.yaml") and manifest["kind"] != "JobSet":
                validate(manifest, "1.32", strict=True)


def test_the_pods_of_a_jobset_are_valid_too() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate (extra dev)").validate
    job_set = yaml.safe_load(rendered(plan(**VARIANTS["k8s-jobset"])).files["jobset.yaml"])
    jobs = {job["name"]: job["template"] for job in job_set["spec"]["replicatedJobs"]}
    assert job_set["spec"]["successPolicy"]["targetReplicatedJobs"] == ["learner"]
    assert jobs["actor"]["spec"]["parallelism"] == 3
    for name, template in jobs.items():
        validate({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, **template}, "1.32", strict=True)


@pytest.mark.parametrize("engine", ["docker", "k8s"])
@pytest.mark.parametrize("field", ["bind", "init_from"])
def test_what_containers_cannot_have_is_refused(engine: str, field: str) -> None:
    wanted = dataclasses.replace(plan(engine=engine), **{field: "tcp://127.0.0.1:5555"})
    with pytest.raises(UsageError, match=field):
        rendered(wanted)


@pytest.mark.parametrize("variant", LEARNERS)
def test_each_of_two_learners_has_actors_that_join_it(variant: str) -> None:
    """The first learner's line is `line` or access/join, the second's line-1 or ranks/1/access/join."""
    text = rendered(wanted_of(variant)).text(HERE)
    if variant.startswith("ray"):  # its actors ask for their line
        assert '"num_cpus": 8' in text
        return
    second = "ranks/1/access/join" if variant.startswith("slurm") else "/dppo/join/line-1"
    assert second in text


def test_several_learners_on_kubernetes_have_a_deployment_each_whose_pods_no_other_selects() -> None:
    actors = list(yaml.safe_load_all(rendered(wanted_of("k8s-learners")).files["actors.yaml"]))
    assert [one["spec"]["replicas"] for one in actors] == [2, 1]
    for one in actors:
        selector, labels = one["spec"]["selector"]["matchLabels"], one["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
    first, second = (one["spec"]["selector"]["matchLabels"] for one in actors)
    assert not first.items() <= actors[1]["spec"]["template"]["metadata"]["labels"].items()
    assert first != second


def test_a_reserved_size_is_that_of_each_learner() -> None:
    text = rendered(wanted_of("slurm-reserved-learners")).files["job.sh"]
    assert "--ntasks=2\n#SBATCH --cpus-per-task=4\n#SBATCH --mem-per-cpu=2048M\n#SBATCH --gpus-per-task=1\n" in text
    compose = yaml.safe_load(rendered(wanted_of("docker-reserved-learners")).files["compose.yaml"])
    assert compose["services"]["learner"]["deploy"]["resources"]["limits"] == {"cpus": "8", "memory": "16G"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "ssh"}, "deploy.hosts is empty"),
        ({"engine": "slurm", "partition": "a b"}, "deploy.partition='a b' is no name"),
        ({"hosts": ["h1 -oProxyCommand=x"]}, "is no host"),
        ({"hosts": ["-oProxyCommand=x"]}, "is no host"),
        ({"hosts": ["h1", "ada@h1"]}, "h1 is there twice"),
        ({"hosts": [{"h1": 0}]}, "0 slots"),
        ({"name": "Pole"}, "deploy.name='Pole' would be refused"),
        ({"name": "a" * 41}, "would be refused"),
        ({"namespace": "a/b"}, "deploy.namespace='a/b'"),
        ({"actor_memory": "much"}, "deploy.actor_memory='much' is no size"),
        ({"ray_address": "ray://head:10001"}, "deploy.ray_address='ray://head:10001' is no host:port"),
        ({"port": 0}, "deploy.port=0 must be above 0"),
        ({"port": 65_536}, "deploy.port=65536 must be at most"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rendered(plan(**settings))
