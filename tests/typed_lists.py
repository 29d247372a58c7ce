"""Commands of the documentation that are typed in another way, after others, or not at all, and why."""

# Not typed here, and why. Each must stand on a page.
NOT_TYPED = {
    r"make (?:train|test)": "makes its own virtual environment in a checkout; the tests run by the latter",
    r"(?:DPPO_\w+=\S+ )*docker compose": "needs a container engine: tests/test_compose.py types these",
    r"kubectl ": "needs a cluster: tests/test_deploy_rendering.py has what is sent to it",
    r"pip (?:install|wheel)|python3 -m venv": "needs the network: done by hand, and by CI, before the tests",
    r"\(umask 077": "pastes a line by hand, which is a file here",
    r"dppo bench chaos": "ten minutes and more: tests/chaos does it",
    r"dppo ps; dppo logs": "needs a deployment, and the one before it is a dry run here: docs/deploy.md has one",
    r"docker (?:build|push)": "needs a container engine and a registry: tests/test_compose.py builds these images",
    r"ray start": "needs ray, which is no package of these tests' environment",
    r"dppo relay |dppo actor --learner ipc": "is in a folder named after the reader's user",
    r"python -m scripts\.": "is of a checkout, not of what is installed: tests of scripts/ run these",
    r"dppo train HalfCheetah": "needs the extra mujoco",
    r"torchrun ": "needs actors of other hosts: tests/test_several_learners.py has the variables that it sets",
    r"dppo train \S+ --run.device cuda": "needs a GPU",
    r"dppo train \S+ --run.trackers wandb": "needs a package and an account: tests/test_trackers.py",
}
# What a command is made shorter by, and why its words still count: flags and settings stay, numbers become smaller.
SHORTER = (
    (r"--(actors|count|envs) (?:[3-9]|\d\d+)\b", r"--\1 2"),
    (r"^(dppo scale(?: runs/pole)?) \d\d+", r"\1 3"),
    (r"; dppo scale \d+", "; dppo scale 3"),
    (r"--seeds 5\b", "--seeds 2"),
    (r"--episodes 100\b", "--episodes 10"),
    (r"--render human\b", "--render human --episodes 1"),
    (r"^(dppo train ALE/\S+)", r"\1 --ppo.epochs 1 --collect.batch-steps 256 --ppo.minibatch-steps 256"),
    (r"-threads 8\b", "-threads 2"),
    (r"--trials 30\b", "--trials 2 --check-seeds 0"),
    (r"--steps 200000\b", "--steps 3000"),
    (r"--run\.total-steps \S+", "--run.total-steps 3000"),
    (r"^dppo check ", "dppo check --check-seconds 3 --check-steps 1000 "),
    (r"^(dppo up .*--on (?:docker|ssh|slurm|k8s|ray)\b(?!.*--dry-run).*)", r"\1 --dry-run"),
)
STEPS = {"DPPO_RUN__TOTAL_STEPS": "3000"}  # the documented way to say it for every command: a variable
MORE = {"docs/runs.md": {"DPPO_RUN__RETURN_WINDOW": "5"}}  # of a page: else so few steps have no best policy
# Of a page whose run is to last until a command ends it.
AS_LONG_AS_THEY_LAST = {"docs/deploy.md", "docs/monitoring.md"}
# Started behind the others, as in a terminal of its own; the next command waits until that text can be read, or 3 s.
BEHIND = {
    r"dppo learner .*--bind|dppo learner .*--trace": "join",
    r"dppo tune .*--bind": "--stay-seconds",
    r"dppo actor |DPPO_JOIN=": "",
    r"tensorboard ": "http://",
    r"dppo train .*--run.metrics-address": " | ",
}
DERIVED = """import gymnasium as gym
from gymnasium.envs.classic_control import {base}


class {name}({base}):
    pass


"""
REGISTERED = DERIVED + 'gym.register("{name}-v0", entry_point={name}, max_episode_steps=200)\n'
HEAVY = REGISTERED.format(base="PendulumEnv", name="Heavy")
REACH = REGISTERED.format(base="CartPoleEnv", name="Reach") + "\n\nclass Shaped(gym.Wrapper):\n    pass\n"
SIM = (
    "import gymnasium as gym\nfrom gymnasium.envs.classic_control import CartPoleEnv\n\n\n"
    "class Sim(CartPoleEnv):\n    def __init__(self, port, folder, **others):\n        super().__init__(**others)\n\n\n"
    'gym.register("Sim-v0", entry_point=Sim, max_episode_steps=200)\n'
)
# Files that a page takes for granted: of the reader's own.
FILES: dict[str, dict[str, str]] = {
    "README.md": {
        "my_env.py": HEAVY,
        "mine.yaml": "env: {id: CartPole-v1}\nrun: {directory: runs/mine}\n",
        "my_robot.py": REACH,
        "run.yaml": "env: {id: CartPole-v1}\nrun: {directory: runs/pole, total_steps: 5e6}\n",
    },
    "docs/check.md": {"my_robot.py": REACH},
    "docs/deploy.md": {"envs/my_robot.py": REACH, "dist/dppo-0.1.0-py3-none-any.whl": "as pip wheel makes it"},
    "docs/environments.md": {"my_robot.py": REACH, "my_sim.py": SIM},
    "docs/runs.md": {"heavier.py": HEAVY.replace("Heavy", "HeavyPendulum")},
    "docs/tuning.md": {"my_robot.py": REACH},
}
# Typed before a page, because it is about a run that is there.
BEFORE = {
    "README.md": ("dppo train Pendulum-v1",),  # by `make train`
    "docs/check.md": ("dppo train my_robot:Reach-v0 --run.directory runs/Reach-v0",),
    "docs/policy.md": ("dppo train CartPole-v1",),
    "docs/runs.md": ("dppo train Pendulum-v1",),
    "docs/tutorial.md": (
        "dppo train --preset tutorial-tuned/arm-hard",
        "dppo train --preset tutorial-tuned/dppo",
    ),
}
CHECKOUT = ("benchmarks", "examples")  # folders of the checkout that pages name
