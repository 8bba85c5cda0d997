"""One point of a plane in a process of its own: what reward-surfaces does for every point.

Starts Python, imports gymnasium and PyTorch, reads weights, steps episodes on one thread, and
writes JSON. Its recipe builds on Stable-Baselines3 besides, whose import would be paid for at
every point; it is left out here. The environment is our pendulum behind gymnasium's interface,
in plain Python, so that the return can be compared.

    python scan_point.py WEIGHTS.npz POINT EPISODES OUTPUT.json
"""

import json
import math
import sys
from typing import Any

import gymnasium
import numpy as np
import torch

__all__ = ["Pendulum", "evaluate"]


class Pendulum(gymnasium.Env):
    """fracjax's pendulum; the seed of a reset is the number of the initial state."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, starts: np.ndarray) -> None:
        self._starts = starts.tolist()
        self._state = (0.0, 0.0)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Start again from the initial state of that number."""
        super().reset(seed=seed, options=options)
        self._state = tuple(self._starts[seed or 0])
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one step of the fourth-order Runge-Kutta method."""
        theta, omega = self._state
        torque = 2 * float(action[0])
        reward = -(2 * (1 - math.cos(theta)) + 0.1 * omega**2 + 0.001 * torque**2)
        dt = 0.05

        def slope(theta: float, omega: float) -> tuple[float, float]:
            return omega, 15 * math.sin(theta) + 3 * torque

        a, b = slope(theta, omega)
        c, d = slope(theta + dt / 2 * a, omega + dt / 2 * b)
        e, f = slope(theta + dt / 2 * c, omega + dt / 2 * d)
        g, h = slope(theta + dt * e, omega + dt * f)
        self._state = (
            theta + dt / 6 * (a + 2 * (c + e) + g),
            omega + dt / 6 * (b + 2 * (d + f) + h),
        )
        return self._seen(), reward, False, False, {}

    def _seen(self) -> np.ndarray:
        theta, omega = self._state
        return np.array([math.cos(theta), math.sin(theta), omega], np.float32)


def evaluate(stored: Any, point: int, episodes: int) -> dict[str, float]:
    """Mean discounted return of one point over episodes."""
    torch.set_num_threads(1)
    factors = np.concatenate([[1.0], stored["coordinates"][point]]).astype(np.float32)
    modules: list[torch.nn.Module] = []
    for index in range(3):
        kernel = np.tensordot(factors, stored[f"kernel{index}"], 1)
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data = torch.tensor(kernel.T.copy())
        layer.bias.data = torch.tensor(factors @ stored[f"bias{index}"])
        modules += [layer, torch.nn.Tanh()]
    network = torch.nn.Sequential(*modules)
    mean, std = torch.tensor(stored["mean"]), torch.tensor(stored["std"])
    horizon, discount = int(stored["horizon"]), float(stored["discount"])
    environment = gymnasium.wrappers.TimeLimit(Pendulum(stored["states"]), horizon)
    returns = []
    with torch.no_grad():
        for episode in range(episodes):
            seen, _ = environment.reset(seed=episode)
            total, weight, ended = 0.0, 1.0, False
            while not ended:
                action = network((torch.from_numpy(seen) - mean) / std).numpy()
                seen, reward, terminated, truncated, _ = environment.step(action)
                total, weight = total + weight * reward, weight * discount
                ended = terminated or truncated
            returns.append(total)
    return {"return": float(np.mean(returns)), "steps": horizon * episodes}


def main() -> None:
    weights, point, episodes, output = sys.argv[1:]
    with np.load(weights) as stored:
        found = evaluate(stored, int(point), int(episodes))
    with open(output, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
