"""Make the files beside this script: small policies as other libraries save them.

Needs the libraries themselves, which nothing else here does:

    pip install stable-baselines3==2.9.2 torch==2.13.0 gymnasium==1.4.0
    python tests/rl/data/make_policies.py

`expected.npz` holds observations, and what the libraries answer to them. Torch's files are as
torch writes them. Of those of Stable-Baselines3 the optimisers, the description of the machine
and the serialised arguments, which name files of the machine, are left out, and the rest is
compressed; tests put forged arguments there. The networks in CleanRL's layouts are written here
with the same names of modules.
"""

import io
import itertools
import json
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

HERE = Path(__file__).parent
LOW, HIGH = np.array([-2.0, -0.5], np.float32), np.array([2.0, 1.5], np.float32)
KEPT = {"data", "policy.pth", "_stable_baselines3_version"}


class Drift(gymnasium.Env):
    """Three leaky integrators pushed by two bounded actions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(LOW, HIGH)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.time = self.np_random.normal(size=3), 0
        return self.state.astype(np.float32), {}

    def step(self, action):
        self.state = 0.9 * self.state + 0.1 * np.array([action[0], action[1], action.sum()])
        self.time += 1
        reward = -float(self.state @ self.state)
        return self.state.astype(np.float32), reward, False, self.time >= 20, {}


def save(model, name):
    """Keep what a reader needs, compressed."""
    buffer = io.BytesIO()
    model.save(buffer)
    with (
        zipfile.ZipFile(buffer) as full,
        zipfile.ZipFile(HERE / name, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small,
    ):
        for entry in full.namelist():
            if entry in KEPT:
                content = full.read(entry)
                if entry == "data":
                    content = without_paths(content)
                small.writestr(zipfile.ZipInfo(entry), content, zipfile.ZIP_DEFLATED)


def without_paths(content):
    """Keep the arguments that are read, and replace serialised values by nothing."""

    def strip(value):
        if isinstance(value, dict):
            return {k: "" if k == ":serialized:" else strip(v) for k, v in value.items()}
        return value

    readable = ("policy_kwargs", "observation_space", "action_space", "num_timesteps", "seed")
    stated = {k: v for k, v in json.loads(content).items() if k in (*readable, "gamma")}
    return json.dumps(strip(stated), indent=1).encode()


def train(kind, **options):
    small = {"net_arch": [8, 6]} | options.pop("policy_kwargs", {})
    return kind("MlpPolicy", Drift(), policy_kwargs=small, seed=0, device="cpu", **options)


def dense(*sizes, activation=nn.Tanh):
    layers = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


class PPOActor(nn.Module):
    """Names as in CleanRL's ppo_continuous_action."""

    def __init__(self):
        super().__init__()
        self.critic = dense(3, 8, 6, 1)
        self.actor_mean = dense(3, 8, 6, 2)
        self.actor_logstd = nn.Parameter(torch.zeros(1, 2))

    def forward(self, x):
        return torch.clip(self.actor_mean(x), torch.tensor(LOW), torch.tensor(HIGH))


class Squashed(nn.Module):
    """Names as in CleanRL's sac_continuous_action and td3_continuous_action."""

    def __init__(self, last, *more):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 8), nn.Linear(8, 6)
        for name in (last, *more):
            setattr(self, name, nn.Linear(6, 2))
        self.last = last
        self.register_buffer("action_scale", torch.tensor((HIGH - LOW) / 2))
        self.register_buffer("action_bias", torch.tensor((HIGH + LOW) / 2))

    def forward(self, x):
        x = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return torch.tanh(getattr(self, self.last)(x)) * self.action_scale + self.action_bias


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    observations = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32) * 3
    expected = {}

    relu = {"policy_kwargs": {"activation_fn": nn.ReLU, "net_arch": {"pi": [5], "vf": [4]}}}
    off = {"buffer_size": 100, "learning_starts": 10}
    models = {
        "sb3_ppo": train(PPO, n_steps=64, batch_size=32, learning_rate=0.05),
        "sb3_ppo_relu": train(PPO, n_steps=64, batch_size=32, use_sde=True, **relu),
        "sb3_sac": train(SAC, **off),
        "sb3_td3": train(TD3, **off),
    }
    for name, model in models.items():
        model.learn(64)
        save(model, f"{name}.zip")
        expected[name] = model.predict(observations, deterministic=True)[0]

    wrapped = VecNormalize(DummyVecEnv([Drift]), clip_obs=1.5)
    wrapped.seed(0)
    wrapped.reset()
    for _ in range(40):
        wrapped.step(np.array([[1.0, -0.2]], np.float32))
    wrapped.action_space.seed(0)
    wrapped.save(str(HERE / "vec_normalize.pkl"))
    normalised = wrapped.normalize_obs(observations)
    expected["sb3_ppo_normalised"] = models["sb3_ppo"].predict(normalised, deterministic=True)[0]

    actors = {
        "cleanrl_ppo": PPOActor(),
        "cleanrl_sac": Squashed("fc_mean", "fc_logstd"),
        "cleanrl_td3": Squashed("fc_mu"),
        "sequential": dense(3, 8, 6, 2, activation=nn.SiLU),
    }
    with torch.no_grad():
        for name, actor in actors.items():
            list(actor.parameters())[-2].mul_(4)  # so that some actions are clipped
            expected[name] = actor(torch.tensor(observations)).numpy()
        expected["sequential"] = np.tanh(expected["sequential"])
        points = torch.linspace(-4, 4, 33)
        activations = torch.stack([getattr(nn, kind)()(points) for kind in ACTIVATIONS])
    torch.save(actors["cleanrl_ppo"].state_dict(), HERE / "cleanrl_ppo.pt")
    torch.save(actors["cleanrl_sac"].state_dict(), HERE / "cleanrl_sac.pt")
    td3 = actors["cleanrl_td3"].state_dict()
    critic = nn.Module()
    critic.fc1, critic.fc2 = nn.Linear(5, 3), nn.Linear(3, 1)
    torch.save((td3, critic.state_dict()), HERE / "cleanrl_td3.pth")
    torch.save(actors["sequential"].state_dict(), HERE / "sequential.pt")

    base = torch.arange(24.0).reshape(2, 3, 4)
    kinds = {
        "float64": base.double() / 3,
        "float16": base.half() / 3,
        "bfloat16": base.bfloat16() / 3,
        "int64": base.long(),
        "int8": -base.char(),
        "bool": base > 5,
        "transposed": base.permute(2, 0, 1),
        "sliced": base[1, 1:, ::2],
        "expanded": torch.ones(1).expand(3),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(3),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    torch.save({"kinds": kinds, "others": [1, 2.5, None, True, "x", (1, 2)]}, HERE / "kinds.pt")
    torch.save({"w": torch.ones(2)}, HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(nn.Linear(2, 1), HERE / "module.pt")
    np.savez_compressed(
        HERE / "expected.npz",
        observations=observations,
        names=np.array(list(expected)),
        actions=np.stack(list(expected.values())),
        points=points.numpy(),
        kinds=np.array(ACTIVATIONS),
        activations=activations.numpy(),
    )


ACTIVATIONS = (
    "CELU ELU Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU"
    " SiLU Sigmoid Softplus Softsign Tanh"
).split()

if __name__ == "__main__":
    main()
