"""PyTorch's side of train.lua: the same training step, timed on request.

Reads lines "NET ACT BATCH SECONDS" from standard input and answers each with the median microseconds of one step
during about so long, after three steps that are not counted (forward, cross entropy, backward, Adam, projection of every row onto the l1 ball's radius by scaling). Threads are
bounded by the environment (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS) as well as by set_num_threads: on its own the
latter does not bound OpenBLAS.
"""
import statistics
import sys
import time

import torch
import torch.nn as nn

threads = int(sys.argv[1])
torch.set_num_threads(threads)
torch.set_flush_denormal(True)
SIZES = {"M": [784, 256, 256, 10], "S": [784, 64, 32, 16, 10], "L": [784, 1024, 1024, 1024, 10]}


class MaxMin(nn.Module):
    def forward(self, x):
        pair = x.view(x.shape[0], -1, 2)
        return torch.stack((pair.max(2)[0], pair.min(2)[0]), 2).view_as(x)


def build(net, act):
    sizes, layers = SIZES[net], []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            layers.append(nn.ReLU() if act == "relu" else MaxMin())
    return nn.Sequential(*layers)


def adam(params):
    # fused Adam on the CPU came with 2.4
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return torch.optim.Adam(params, lr=1e-3, **({"fused": True} if version >= (2, 4) else {}))


def median_step(net, act, batch, seconds):
    torch.manual_seed(1)
    model = build(net, act)
    optimiser = adam(model.parameters())
    loss = nn.CrossEntropyLoss()
    weights = [m.weight for m in model if isinstance(m, nn.Linear)]
    x = torch.rand(batch, SIZES[net][0])
    y = torch.randint(0, 10, (batch,))
    times, i, finish = [], 0, 0.0
    while i < 6 or time.perf_counter() < finish:
        start = time.perf_counter()
        if i == 3:
            finish = start + seconds
        optimiser.zero_grad(set_to_none=True)
        value = loss(model(x), y)
        value.backward()
        optimiser.step()
        with torch.no_grad():
            for w in weights:
                norm = w.abs().sum(1, keepdim=True)
                w.mul_((1 / norm).clamp(max=1))
        if i >= 3:
            times.append(time.perf_counter() - start)
        i += 1
    return statistics.median(times) * 1e6


print("torch", torch.__version__, flush=True)
for line in sys.stdin:
    net, act, batch, seconds = line.split()
    print("%.1f" % median_step(net, act, int(batch), float(seconds)), flush=True)
