"""Environments, policies, rollouts and training; the only folder that knows Brax and Flax.

Nothing here imports Brax until an environment or a trainer of Brax's is asked for.
"""

from fracjax.rl.checkpoints import load_policy as load_policy
from fracjax.rl.checkpoints import save_policy as save_policy
from fracjax.rl.environment import Environment as Environment
from fracjax.rl.environment import Transition as Transition
from fracjax.rl.envs import entries as entries
from fracjax.rl.envs import make as make
from fracjax.rl.gallery import shipped as shipped
from fracjax.rl.policies import Policy as Policy
from fracjax.rl.policies import PolicyFileError as PolicyFileError
from fracjax.rl.policies import initialize as initialize
from fracjax.rl.policies import untrained as untrained
from fracjax.rl.rollouts import closed_loop as closed_loop
from fracjax.rl.rollouts import discounted_returns as discounted_returns
from fracjax.rl.rollouts import expected_return as expected_return
from fracjax.rl.rollouts import initial_states as initial_states
from fracjax.rl.rollouts import reward_sequences as reward_sequences

__all__ = [
    "Environment",
    "Policy",
    "PolicyFileError",
    "Transition",
    "closed_loop",
    "discounted_returns",
    "entries",
    "expected_return",
    "initial_states",
    "initialize",
    "load_policy",
    "make",
    "reward_sequences",
    "save_policy",
    "shipped",
    "untrained",
]
