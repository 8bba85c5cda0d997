"""How a world-model agent is trained."""

import dataclasses
from typing import Literal, get_args

from fracjax.estimators.settings import check_at_least
from fracjax.rl.world_models.latents import LatentChoice

__all__ = ["ActorGradient", "Penalty", "PenaltySettings", "SpreadForm", "TrainingSettings"]

ActorGradient = Literal["dynamics", "reinforce"]
Penalty = Literal["none", "spread", "exponent"]
SpreadForm = Literal["equation", "code"]


@dataclasses.dataclass(frozen=True)
class PenaltySettings:
    """What is added to the loss of the actor.

    Attributes:
        kind: `"spread"` is the regulariser of Young and Pugeault, `"exponent"` penalises the
            largest exponent of the imagined closed loop itself.
        weight: Factor of the penalty; the paper's equation has 1.
        starts: Beliefs per update that the penalty starts from.
        copies: Imagined trajectories from each of them, for the spread; the paper's 3.
        form: How the spread is measured. `"equation"`: variances, summed over time and
            components, as the paper writes. `"code"`: standard deviations, averaged over both,
            as its authors' program computes: smaller by two orders of magnitude.
        target: Exponent above which the exponent is penalised, in nats per step.
        choice: Latents along which the exponent is taken. `"mean"` has derivatives.
    """

    kind: Penalty = "none"
    weight: float = 1.0
    starts: int = 32
    copies: int = 3
    form: SpreadForm = "code"
    target: float = 0.0
    choice: LatentChoice = "mean"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Penalty):
            msg = f"Argument `kind` must be one of {get_args(Penalty)}, but is {self.kind!r}."
            raise ValueError(msg)
        if self.form not in get_args(SpreadForm):
            msg = f"Argument `form` must be one of {get_args(SpreadForm)}, but is {self.form!r}."
            raise ValueError(msg)
        if self.weight < 0:
            msg = f"Argument `weight` must not be negative, but is {self.weight}."
            raise ValueError(msg)
        check_at_least(starts=(self.starts, 1), copies=(self.copies, 2))
        if self.choice not in get_args(LatentChoice):
            msg = f"Argument `choice` must be one of {get_args(LatentChoice)}, not {self.choice!r}."
            raise ValueError(msg)


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run, named as in Dreamer V3 where there is a counterpart.

    Kept from Dreamer V3: `imagination_horizon`, `return_lambda`, `entropy_weight`,
    `dynamics_weight` and `representation_weight` (those of its first version), the normalisation
    of returns by the range between their 5th and 95th percentiles (`percentile_decay`, floor 1),
    and the pull of the critic towards its own average, of weight 1.

    Changed, because a run has about a thousand updates here and not hundreds of thousands:
    learning rates (1e-4 and 3e-5 there), the rate of the critic's average (.02), batches
    (16 × 64), the discount (1 - 1/333), the ratio of replayed to collected steps (512), and
    imagination from `imagined_starts` beliefs of a batch and not from all. Changed, because a
    state of few numbers tells less than an image: the free nats (1). The pendulum's observations
    tell .7 to .8 nats per step; while all of them are free the prior is not trained, and after
    1000 updates 1 of 5 seeds returned more than -300, with .1 4 of 5 (hanging still returns -800);
    after 1500 updates all of them lay between -252 and -241. Added: simulators in which actions are
    random throughout; with fewer of them and the rate of .02 1 of 5 seeds had swung up after 750
    updates. Not there: loss on replayed returns, decoders for images, action repeat.

    The actor's gradient passes through the imagined dynamics, as in the first version of Dreamer
    V3 for continuous actions and in the code of Young and Pugeault; `"reinforce"` is the later
    versions' choice.

    Attributes:
        environments: Simulators that collect in parallel, per seed.
        episode_length: Steps after which an episode is cut, without being terminal.
        replay_length: Steps per simulator that are kept.
        prefill: Steps per simulator of random actions before the first update.
        explorers: How many of the simulators act at random throughout, see `collect`.
        hold: Mean number of steps for which a random action is held.
        collected: Steps per simulator before every update.
        batch_size: Sequences per update.
        batch_length: Their length.
        imagined_starts: Beliefs of a batch from which behaviour is imagined.
        imagination_horizon: Steps imagined.
        discount: Per step.
        return_lambda: Of λ-returns.
        entropy_weight: Of the actor's entropy.
        actor_gradient: `"dynamics"` or `"reinforce"`.
        free_nats: Divergence below which there is no gradient.
        dynamics_weight: Of the divergence that trains the prior.
        representation_weight: Of the divergence that trains the posterior.
        model_rate: Adam's rate for the world model.
        actor_rate: For the actor.
        critic_rate: For the critic.
        largest_gradient: Norm at which each gradient is clipped.
        percentile_decay: Of the running range of returns.
        slow_critic_rate: Of the running average of the critic.
        penalty: Regulariser of the imagined dynamics.
    """

    environments: int = 8
    episode_length: int = 200
    replay_length: int = 10_000
    prefill: int = 1000
    explorers: int = 4
    hold: float = 8.0
    collected: int = 4
    batch_size: int = 16
    batch_length: int = 32
    imagined_starts: int = 128
    imagination_horizon: int = 15
    discount: float = 0.98
    return_lambda: float = 0.95
    entropy_weight: float = 3e-4
    actor_gradient: ActorGradient = "dynamics"
    free_nats: float = 0.1
    dynamics_weight: float = 0.5
    representation_weight: float = 0.1
    model_rate: float = 2e-3
    actor_rate: float = 3e-4
    critic_rate: float = 3e-3
    largest_gradient: float = 100.0
    percentile_decay: float = 0.99
    slow_critic_rate: float = 0.2
    penalty: PenaltySettings = dataclasses.field(default_factory=PenaltySettings)

    def __post_init__(self) -> None:
        counts = (
            "environments",
            "episode_length",
            "collected",
            "batch_size",
            "imagined_starts",
            "imagination_horizon",
        )
        check_at_least(**{name: (getattr(self, name), 1) for name in counts})
        check_at_least(
            batch_length=(self.batch_length, 2),
            prefill=(self.prefill, self.batch_length),
            explorers=(self.explorers, 0),
            replay_length=(self.replay_length, max(self.prefill, self.collected)),
        )
        if self.actor_gradient not in get_args(ActorGradient):
            choices = get_args(ActorGradient)
            msg = (
                f"Argument `actor_gradient` must be one of {choices}, not {self.actor_gradient!r}."
            )
            raise ValueError(msg)
        for name in ("discount", "return_lambda", "percentile_decay"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"Argument `{name}` must lie in [0, 1], but is {getattr(self, name)}."
                raise ValueError(msg)
