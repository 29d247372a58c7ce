"""Settings of simulated learners: small batches, short times."""

from simulated_actor import ENVS

from dppo.learner.session.records import Settings
from dppo.protocol.messages import EnvSettings

RUN_ID = "run-1"
LEASE_SECONDS = 5.0
GRACE_SECONDS = 1.0
ROUND_SECONDS = 0.05
SETTINGS = Settings(
    run_id=RUN_ID,
    term=0,
    env=EnvSettings("Fake-v0"),
    envs_per_actor=ENVS,
    batch_steps=40,
    segment_steps=0,
    seed=1,
    on_stop="keep",
    lease_seconds=LEASE_SECONDS,
    stop_grace_seconds=GRACE_SECONDS,
)
