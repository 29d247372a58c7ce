"""Names, ports and addresses of the learners of a deployment on Kubernetes, which are processes of one pod."""

from dppo.deploy.engine import Plan

ACCESS = "/dppo/access"  # where the first learner's keys are mounted
LEARNER = "dppo/learner"  # label of actors


def address(plan: Plan, rank: int = 0) -> str:
    """Return host:port where actors reach the learner of that rank."""
    if plan.advertise and plan.learners == 1:
        return plan.advertise
    return f"{host(plan)}:{plan.deploy.port + rank}"


def actor_of(rank: int) -> str:
    """Return the name of the actors that join that learner."""
    return f"actor-of-{rank}" if rank else "actor"


def access_of(rank: int) -> str:
    """Return the name of the secret with that learner's keys, behind that of the deployment."""
    return f"access-{rank}" if rank else "access"


def line_of(rank: int) -> str:
    """Return the key of that learner's join line in its secret."""
    return f"line-{rank}" if rank else "line"


def access_path(rank: int) -> str:
    """Return the directory where that secret is mounted."""
    return f"{ACCESS}-{rank}" if rank else ACCESS


def host(plan: Plan) -> str:
    """Return the name under which actors reach the pod of all learners."""
    return plan.advertise or f"{plan.name}-learner.{plan.deploy.namespace}.svc"


def ports(plan: Plan) -> dict[str, int]:
    """Return the learners' ports by name."""
    return {f"dppo-{rank}" if rank else "dppo": plan.deploy.port + rank for rank in range(plan.learners)}


def of_learner(plan: Plan, rank: int) -> dict[str, str]:
    """Return the label by which actors of several learners differ."""
    return {LEARNER: str(rank)} if plan.learners > 1 else {}
