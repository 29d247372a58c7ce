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


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_would_be_submitted_is_what_people_have_read(variant: str) -> None:
    wanted = plan(**VARIANTS[variant])
    text = rendered(wanted).text(wanted.folder).replace(sys.executable, PYTHON) + "\n"
    file = GOLDEN / f"deploy-{variant}.txt"
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_actors_it_is_a_learner_alone(variant: str) -> None:
    text = rendered(plan(0, **VARIANTS[variant])).text(HERE)
    assert "--array=" not in text
    assert "hetjob" not in text


@pytest.mark.parametrize("variant", ["slurm", "slurm-elastic"])
def test_job_scripts_are_shell(variant: str) -> None:
    for actors in (0, 3):
        scripts = [
            text for name, text in rendered(plan(actors, **VARIANTS[variant])).files.items() if name.endswith(".sh")
        ]
        assert scripts
        for script in scripts:
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("variant", ["k8s", "k8s-jobset"])
def test_manifests_are_valid(variant: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate (extra dev)").validate
    for name, text in rendered(plan(**VARIANTS[variant])).files.items():
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


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "local"])
def test_several_learners_are_refused_in_one_line(variant: str) -> None:
    with pytest.raises(UsageError, match="learners=2: the engine"):
        rendered(dataclasses.replace(plan(**VARIANTS[variant]), learners=2))


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
        ({"port": 0}, "deploy.port=0 must be above 0"),
        ({"port": 65_536}, "deploy.port=65536 must be at most"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rendered(plan(**settings))
