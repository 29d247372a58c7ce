"""Deployments: one run's learner and actors, placed by an engine (local, docker, ssh, slurm, k8s, ray)."""
