"""Names that parts of networks are written with: spaces, distributions, built-in parts (docs/networks.md)."""

from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.distributions import Categorical, Distribution, Gaussian, Joint, MultiCategorical
from dppo.learner.models.encoders import LeafEncoder
from dppo.learner.models.heads import ActionHead, GaussianHead
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.own_networks import Encoder, Head, Memory
from dppo.protocol.specs import Leaf, Spec

__all__ = [
    "ActionHead",
    "ActionLayout",
    "Categorical",
    "Distribution",
    "Encoder",
    "Gaussian",
    "GaussianHead",
    "Head",
    "Joint",
    "LeafEncoder",
    "Leaf",
    "Memory",
    "MultiCategorical",
    "PolicyNetwork",
    "Spec",
]
