"""Products with the Jacobians of networks, as adjoint and tangent linear models take them."""

import itertools
from functools import partial

import numpy as np
from case import Case, Contenders, Goal, agreeing
from peers import torch

import pyfq
from pyfq import Network, reference

GOAL = Goal("derivatives", mean=1.0, least=1.0, peers=("torch",))
SIZES = ((64, 32, 10), (124, 512, 512, 60))
BATCHES = (1, 16, 256, 4096)
SHORT = ("vjp 64-32-10, batch 1", "vjp 124-512-512-60, batch 256", "jacobian 64-32-10, batch 16")


def cases(quick: bool) -> list[Case]:
    if quick:
        return [case(method, (8, 6, 4), 3) for method in ("vjp", "jvp", "jacobian")]
    return [
        *(case(method, sizes, batch) for method in ("vjp", "jvp") for sizes in SIZES
          for batch in BATCHES),
        case("jacobian", (64, 32, 10), 16),
    ]  # fmt: skip


def case(method: str, sizes: tuple[int, ...], batch: int) -> Case:
    weights = sum(n * k for n, k in itertools.pairwise(sizes))
    directions = sizes[-1] if method == "jacobian" else 1
    return Case(
        f"{method} {'-'.join(map(str, sizes))}, batch {batch}",
        partial(differentiate, method, sizes, batch),
        moved=8 * weights + 4 * batch * (sizes[0] + sizes[-1]) * directions,
        elements=batch * sizes[0],
        flops=2 * batch * weights * (1 + directions),
        unit="float32",
        goals=(GOAL,),
    )


def differentiate(method: str, sizes: tuple[int, ...], batch: int) -> Contenders:
    network = Network.create(sizes, activation="tanh")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, sizes[0]), np.float32)
    arguments = [x]
    if method != "jacobian":
        entries = sizes[-1] if method == "vjp" else sizes[0]
        arguments.append(generator.standard_normal((batch, entries), np.float32))
    contenders: Contenders = {"pyfq": lambda: getattr(network, method)(*arguments)}
    if method != "jacobian":
        product = getattr(reference, f"{method}_network")
        contenders["reference"] = lambda: product(*arguments, network)
    if torch:
        contenders["torch"] = in_torch(method, network, arguments)
    return agreeing(contenders, 1e-4)


def in_torch(method: str, network: Network, arguments):
    """Return the call of its transforms of functions."""
    module = pyfq.to_torch(network)
    tensors = [torch.from_numpy(array) for array in arguments]
    if method == "vjp":

        def call():
            _, pull_back = torch.func.vjp(module, tensors[0])
            return pull_back(tensors[1])[0].detach().numpy()
    elif method == "jvp":

        def call():
            return torch.func.jvp(module, (tensors[0],), (tensors[1],))[1].detach().numpy()
    else:
        jacobian = torch.func.vmap(torch.func.jacrev(module))

        def call():
            return jacobian(tensors[0]).detach().numpy()

    return call
