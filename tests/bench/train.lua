-- How long one training step takes: forward, cross entropy, backward, Adam, rowwise projection onto the inf-norm ball.
--
--   lipwb tests/bench/train.lua [--set quick=true] [--set rounds=5] [--set python=python3] [--set threads=2]
--
-- Interleaves lipwb and PyTorch (when `python` can import torch) in one run and prints, for every network, activation,
-- batch and number of threads: microseconds, the ratio to PyTorch, and the fraction of the measured matrix-product
-- speed that the step's necessary floating-point operations reach. Medians over rounds.
local lip = require "lip"

local args = lip.args{quick = false, rounds = 5, python = "python3", threads = 2}

local sizes = {M = {784, 256, 256, 10}, S = {784, 64, 32, 16, 10}, L = {784, 1024, 1024, 1024, 10}}
local batches = args.quick and {128} or {32, 128, 512}
local nets = args.quick and {"M", "S"} or {"M", "S", "L"}

local function median(t)
  table.sort(t)
  return t[(#t + 1) // 2]
end

local function build(name, act)
  local size, spec = sizes[name], {input = sizes[name][1], norm = "inf", budget = 1, projection = "rowwise", init = "he"}
  for i = 2, #size do
    spec[#spec + 1] = lip.dense{out = size[i]}
    if i < #size then spec[#spec + 1] = act == "relu" and lip.relu() or lip.maxmin() end
  end
  return lip.net(spec)
end

-- floating-point operations of the products a step cannot avoid (no input gradient for the first layer)
local function flops(name, batch)
  local size, sum = sizes[name], 0
  for i = 2, #size do sum = sum + size[i - 1] * size[i] * (i == 2 and 2 or 3) end
  return 2 * batch * sum
end

local function steps_for(name, batch)
  return math.max(5, math.min(200, math.floor(4e9 / flops(name, batch))))
end

-- Median microseconds of one step.
local function time_lip(name, act, batch, steps)
  local net, rng = build(name, act), lip.rng(1)
  local x, y = lip.zeros(batch, 784):uniform_(rng, 0, 1), {}
  for i = 1, batch do y[i] = rng:below(10) end
  y = lip.tensor(y)
  local opt, loss, times = lip.optim.adam{lr = 1e-3}, lip.loss.cross_entropy(), {}
  for i = 1, steps + 3 do
    local start = lip.time()
    assert(net:step(x, y, opt, loss))
    if i > 3 then times[#times + 1] = lip.time() - start end
  end
  return median(times) * 1e6
end

-- One PyTorch process per number of threads, asked line by line through a pipe and a FIFO.
local function start_torch(threads)
  if os.execute(args.python .. " -c 'import torch' >/dev/null 2>&1") ~= true then return nil end
  local fifo = os.tmpname()
  os.remove(fifo)
  assert(os.execute("mkfifo " .. fifo))
  local script = arg[0]:gsub("train%.lua$", "train_torch.py")
  local to = assert(io.popen(("OPENBLAS_NUM_THREADS=%d OMP_NUM_THREADS=%d %s %s %d > %s"):format(
    threads, threads, args.python, script, threads, fifo), "w"))
  local from = assert(io.open(fifo))
  os.remove(fifo)
  return {version = from:read("l"), ask = function(...)
    to:write(table.concat({...}, " "), "\n")
    to:flush()
    return tonumber(from:read("l"))
  end}
end

-- Speed of a large product on one thread, floating-point operations per second.
local function gemm_speed()
  local n, rng, times = 768, lip.rng(2), {}
  local a, b = lip.zeros(n, n):normal_(rng), lip.zeros(n, n):normal_(rng)
  for i = 1, 7 do
    local start = lip.time()
    a:matmul(b)
    times[i] = lip.time() - start
  end
  return 2 * n ^ 3 / median(times)
end

local info = lip.info()
print(("lipwb %s, %s, %s"):format(lip.version, info.blas, info.cpu))
local speed = gemm_speed()
print(("matrix product, one thread: %.1f Gflop/s"):format(speed / 1e9))
for threads = 1, args.threads do
  local torch = start_torch(threads)
  print(("\n%d thread(s); %s"):format(threads, torch and torch.version or "PyTorch skipped: " .. args.python ..
    " cannot import torch"))
  print(("%-4s %-7s %6s %12s %12s %8s %10s"):format("net", "act", "batch", "lipwb us", "torch us", "ratio", "of peak"))
  lip.threads(threads)
  for _, name in ipairs(nets) do
    for _, act in ipairs{"relu", "maxmin"} do
      for _, batch in ipairs(batches) do
        local ours, theirs, steps = {}, {}, steps_for(name, batch)
        for round = 1, args.rounds do
          ours[round] = time_lip(name, act, batch, steps)
          if torch then theirs[round] = torch.ask(name, act, batch, math.max(5, steps // 2)) end
        end
        local us, torch_us = median(ours), torch and median(theirs)
        print(("%-4s %-7s %6d %12.1f %12s %8s %10.2f"):format(name, act, batch, us,
          torch and ("%.1f"):format(torch_us) or "-", torch and ("%.2f"):format(torch_us / us) or "-",
          flops(name, batch) / (us * 1e-6) / (speed * threads)))
      end
    end
  end
end
