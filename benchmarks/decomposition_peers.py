"""The fit of `decomposition.py` in PyTorch: as the published code does it, and batched by hand."""

import itertools
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from decomposition_problem import EPOCHS_CHECKED, SETTINGS, SHAPES, Problem

__all__ = ["Batched", "Published"]


class Published:
    """One seed: factors tensor by tensor, gradients by `jacrev`, norms in a loop."""

    def __init__(self, torch: ModuleType, problem: Problem) -> None:
        self.torch, self.problem, self.epoch = torch, problem, 0
        self.params = {name: torch.tensor(np.asarray(problem.params[name])) for name in SHAPES}
        self.inputs = torch.tensor(np.asarray(problem.inputs))
        rows = np.asarray(problem.states.factors[0])
        self.encoder, self.decoder = ([], [])
        for side, row in ((self.encoder, rows[0]), (self.decoder, rows[1])):
            for parts in problem.layout.cut(jnp.asarray(row)):
                side.append([torch.tensor(np.asarray(part), requires_grad=True) for part in parts])
        parts = [part for side in (self.encoder, self.decoder) for group in side for part in group]
        self.optimizer = torch.optim.Adam(parts, lr=SETTINGS.learning_rate)

    def losses_of(self, params: dict, x: Any, others: Any) -> Any:
        """Divergences of a batch, a vector."""
        hidden = x @ params["encoder"]
        output = self.torch.relu(hidden @ params["decoder"] + params["bias"])
        return ((output - output[others].detach()) ** 2).mean(dim=-1)

    def dense(self, side: list) -> list:
        """Multiply out, tensor by tensor."""
        patterns = {1: "na,nia->ni", 2: "nab,nia,njb->nij"}
        return [self.torch.einsum(patterns[len(parts) - 1], *parts) for parts in side]

    def step(self, x: Any, others: Any, count: int) -> float:
        """One update; its loss."""
        torch = self.torch
        with torch.no_grad():
            slopes = torch.func.jacrev(self.losses_of, chunk_size=100)(self.params, x, others)
        slopes = [slopes[name] for name in SHAPES]
        encoded = sum(
            torch.einsum("n...,s...->sn", tensor, slope)
            for tensor, slope in zip(self.dense(self.encoder), slopes, strict=True)
        )
        with torch.no_grad():
            cut = torch.sort(abs(encoded).flatten(), descending=True)[0][count - 1]
            keep = (abs(encoded) >= cut).float()
        found = [
            torch.einsum("sn,n...->s...", encoded * keep, tensor)
            for tensor in self.dense(self.decoder)
        ]
        flat, back = (
            torch.cat([part.flatten(1) for part in tensors], dim=1) for tensors in (slopes, found)
        )
        loss = ((flat - back) ** 2).sum() / ((flat**2).sum() + 1e-10)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            tensors = self.dense(self.decoder)
            for k in range(SETTINGS.num_subnetworks):
                norm = sum((tensor[k] ** 2).sum() for tensor in tensors) ** 0.5
                for parts in self.decoder:
                    for part in parts:
                        part.data[k] /= norm ** (1 / len(parts))
        return loss.item()

    def epochs(self, count: int) -> np.ndarray:
        """Train for some epochs; mean losses, (1, epochs)."""
        means = []
        for _ in range(count):
            number = self.epoch % EPOCHS_CHECKED
            order = self.torch.tensor(self.problem.order[0, number])
            others = self.torch.tensor(self.problem.others[0, number])
            kept = self.problem.kept(self.epoch)
            losses = [
                self.step(self.inputs[chosen], other, kept)
                for chosen, other in zip(order, others, strict=True)
            ]
            means.append(np.mean(losses))
            self.epoch += 1
        return np.array(means)[None]


class Batched:
    """All seeds in one program, with one flat tensor of factors."""

    def __init__(self, torch: ModuleType, problem: Problem, *, compiled: bool = False) -> None:
        self.torch, self.problem, self.epoch = torch, problem, 0
        self.params = {name: torch.tensor(np.asarray(problem.params[name])) for name in SHAPES}
        self.inputs = torch.tensor(np.asarray(problem.inputs))
        self.factors = torch.tensor(np.array(problem.states.factors), requires_grad=True)
        self.powers = torch.tensor(problem.layout.powers() / 2, dtype=torch.float32)
        self.optimizer = torch.optim.Adam([self.factors], lr=SETTINGS.learning_rate, fused=True)
        over_samples = torch.func.vmap(torch.func.grad(self.divergence), in_dims=(None, 0, 0))
        self.slopes = torch.func.vmap(over_samples, in_dims=(None, 0, 0))
        self.outputs = torch.func.vmap(self.output, in_dims=(None, 0))
        self.loss = self.loss_of
        self.normalised = self.normalised_of
        if compiled:
            self.loss = torch.compile(self.loss_of)
            self.normalised = torch.compile(self.normalised_of)

    def output(self, params: dict, x: Any) -> Any:
        """Of one sample or many."""
        hidden = x @ params["encoder"]
        return self.torch.relu(hidden @ params["decoder"] + params["bias"])

    def divergence(self, params: dict, x: Any, reference: Any) -> Any:
        """Of one sample."""
        return ((self.output(params, x) - reference) ** 2).mean()

    def matrix(self, rows: Any) -> Any:
        """(..., factors) to (..., parameters); rank 1, so that all is elementwise."""
        tensors, used = [], 0
        for shape in SHAPES.values():
            ends = list(itertools.accumulate(shape, initial=used + 1))
            core = rows[..., used : used + 1]
            modes = [rows[..., a:b] for a, b in itertools.pairwise(ends)]
            used = ends[-1]
            tensor = core * modes[0]
            if len(shape) == 2:
                tensor = (tensor[..., :, None] * modes[1][..., None, :]).flatten(-2)
            tensors.append(tensor)
        return self.torch.cat(tensors, dim=-1)

    def loss_of(self, factors: Any, x: Any, others: Any, count: int) -> Any:
        """Loss of a batch of every seed."""
        torch = self.torch
        with torch.no_grad():
            seeds, batch = x.shape[:2]
            output = self.output(self.params, x)
            reference = torch.gather(output, 1, others[..., None].expand(-1, -1, output.shape[2]))
            slopes = self.slopes(self.params, x, reference)
            flat = torch.cat([slopes[name].reshape(seeds, batch, -1) for name in SHAPES], dim=2)
        dense = self.matrix(factors)
        encoded = flat @ dense[:, 0].transpose(1, 2)
        with torch.no_grad():
            sizes = abs(encoded).flatten(1)
            chosen = torch.topk(sizes, count, dim=1, sorted=False)[1]
            keep = torch.zeros_like(sizes).scatter_(1, chosen, 1.0).view_as(encoded)
        left = ((flat - (encoded * keep) @ dense[:, 1]) ** 2).sum((1, 2))
        return left / ((flat**2).sum((1, 2)) + 1e-10)

    def normalised_of(self, rows: Any) -> Any:
        """Factors of unit directions."""
        squares = (self.matrix(rows) ** 2).sum(-1, keepdim=True)
        return rows * self.torch.exp(-self.torch.log(squares) * self.powers)

    def step(self, x: Any, others: Any, count: int) -> Any:
        """One update of every seed; the losses."""
        self.optimizer.zero_grad(set_to_none=False)
        losses = self.loss(self.factors, x, others, count)
        losses.sum().backward()
        self.optimizer.step()
        with self.torch.no_grad():
            self.factors[:, 1] = self.normalised(self.factors[:, 1])
        return losses.detach()

    def epochs(self, count: int) -> np.ndarray:
        """Train for some epochs; mean losses, (seeds, epochs)."""
        means = []
        for _ in range(count):
            number = self.epoch % EPOCHS_CHECKED
            order = self.torch.tensor(self.problem.order[:, number])
            others = self.torch.tensor(self.problem.others[:, number])
            kept = self.problem.kept(self.epoch)
            losses = [
                self.step(self.inputs[order[:, step]], others[:, step], kept)
                for step in range(order.shape[1])
            ]
            means.append(self.torch.stack(losses).mean(0).numpy())
            self.epoch += 1
        return np.stack(means, axis=1)
