"""PyTorch's side of conv.lua: the same steps and forward passes, timed on request.

Arguments: threads, statistic (median, least or processor), memory format (planes or channels_last), and the nets as JSON:
name -> {input: [C, H, W], convs: [[channels, kernel, stride, padding, groups], ...], dense: width or 0}. Reads lines "WHAT NET
BATCH SECONDS" from standard input and answers each with the microseconds of one call during about so long, after three
calls that are not counted. A step is forward, cross entropy, backward, Adam, and the projection of every output channel
onto the l1 ball's radius by scaling.
"""
import json
import statistics
import sys
import time

import torch
import torch.nn as nn

threads, which, layout, nets = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
torch.set_num_threads(threads)
torch.set_flush_denormal(True)
FORMAT = torch.channels_last if layout == "channels_last" else torch.contiguous_format


def build(net):
    c, h, w = net["input"]
    layers = []
    for out, kernel, stride, padding, groups in net["convs"]:
        layers += [nn.Conv2d(c, out, kernel, stride, padding, groups=groups), nn.ReLU()]
        c, h, w = out, (h + 2 * padding - kernel) // stride + 1, (w + 2 * padding - kernel) // stride + 1
    layers.append(nn.Flatten())
    width = c * h * w
    if net["dense"]:
        layers += [nn.Linear(width, net["dense"]), nn.ReLU()]
        width = net["dense"]
    layers.append(nn.Linear(width, 10))
    return nn.Sequential(*layers).to(memory_format=FORMAT)


def adam(params):
    # fused Adam on the CPU came with 2.4
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return torch.optim.Adam(params, lr=1e-3, **({"fused": True} if version >= (2, 4) else {}))


def measure(what, name, batch, seconds):
    torch.manual_seed(1)
    model = build(nets[name])
    optimiser, loss = adam(model.parameters()), nn.CrossEntropyLoss()
    weights = [m.weight for m in model if hasattr(m, "weight")]
    x = torch.rand(batch, *nets[name]["input"]).to(memory_format=FORMAT)
    y = torch.randint(0, 10, (batch,))

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss(model(x), y).backward()
        optimiser.step()
        with torch.no_grad():
            for w in weights:
                norm = w.abs().sum(tuple(range(1, w.dim())), keepdim=True)
                w.mul_((1 / norm).clamp(max=1))

    def forward():
        with torch.no_grad():
            model(x)

    run, times = step if what == "step" else forward, []
    for _ in range(3):
        run()
    now = time.process_time if which == "processor" else time.perf_counter
    finish = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < finish:
        start = now()
        run()
        times.append(now() - start)
    return (statistics.median(times) if which == "median" else min(times)) * 1e6


print("torch", torch.__version__, layout, flush=True)
for line in sys.stdin:
    what, name, batch, seconds = line.split()
    print("%.1f" % measure(what, name, int(batch), float(seconds)), flush=True)
