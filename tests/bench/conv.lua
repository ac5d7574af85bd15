-- How long a training step of a convolutional net takes, and its forward pass, beside PyTorch and other builds.
--
--   lipwb tests/bench/conv.lua [--set python=venv/bin/python] [--set before=path/to/another/lipwb] [--threads 2]
--
-- Every contestant is a process that times a cell when asked (this script again); all of them take turns on
-- each cell. A step is forward, cross entropy, backward, Adam, projection in the norm inf; what other projections cost:
-- `--set also=2,radial,none` (norm 2 Euclidean and scaled, and no budget), each a column.
-- `--set statistic=least` for a machine whose cores are shared: medians of long steps then count the neighbours' slices;
-- `processor`, the least processor time, for one that is full (one thread: two add theirs up).
local lip = require "lip"
local bench = require "lip.bench"

local args = lip.args {
  python = { { "none" }, "Pythons with PyTorch, two columns each: its own order of planes, and channels last" },
  before = { { "none" }, "other builds of lipwb, each a column" },
  also = { { "inf" }, "other projections, each a column beside inf", choices = { "inf", "2", "radial", "none" } },
  projection = { "inf", "of a contestant", choices = { "inf", "2", "radial", "none" } },
  rounds = { 5, "visits of a cell; the median counts", min = 1, whole = true },
  statistic = { "median", "of a visit's steps: the shortest where neighbours share the cores",
    choices = { "median", "least", "processor" } },
  seconds = { 0.3, "that a visit takes", min = 0 },
  nets = { { "conv1", "conv3", "block8", "block16", "depth", "point", "pair16" }, "which rows" },
  batches = { { 32, 128 }, "their batches" },
  quick = { false, "one small cell, to see that it runs" },
  serve = { 0, "threads of a contestant that answers lines; 0: none", min = 0, whole = true },
}

-- input, then { channels, kernel, stride, padding, groups } of each convolution, with relu behind it.
local four = { { 32, 3, 1, 1, 1 }, { 32, 4, 2, 1, 1 }, { 64, 3, 1, 1, 1 }, { 64, 4, 2, 1, 1 }, dense = 512 }
local nets = {
  conv1 = { { 1, 28, 28 }, four },
  conv3 = { { 3, 32, 32 }, four },
  block8 = { { 64, 8, 8 }, { { 64, 3, 1, 1, 1 }, { 64, 3, 1, 1, 1 } } },
  block16 = { { 64, 16, 16 }, { { 64, 3, 1, 1, 1 }, { 64, 3, 1, 1, 1 } } },
  pair16 = { { 16, 28, 28 }, { { 16, 3, 1, 1, 1 }, { 16, 3, 1, 1, 1 } } },
  depth = { { 64, 16, 16 }, { { 64, 3, 1, 1, 64 }, { 64, 3, 1, 1, 64 } } },
  point = { { 64, 14, 14 }, { { 64, 1, 1, 0, 1 }, { 64, 1, 1, 0, 1 } } },
}

local projections = {
  inf = { "inf", 1, "rowwise" }, ["2"] = { "2", 1, "euclidean" }, radial = { "2", 1, "radial" },
  none = { "inf", math.huge, "rowwise" },
}

local function build(name)
  local input, convs, norm = nets[name][1], nets[name][2], projections[args.projection]
  local spec = { input = input, norm = norm[1], budget = norm[2], projection = norm[3], init = "he" }
  for _, c in ipairs(convs) do
    spec[#spec + 1] = lip.conv2d { channels = c[1], kernel = c[2], stride = c[3], padding = c[4], groups = c[5] }
    spec[#spec + 1] = lip.relu()
  end
  spec[#spec + 1] = lip.flatten()
  if convs.dense then
    spec[#spec + 1] = lip.dense { out = convs.dense }
    spec[#spec + 1] = lip.relu()
  end
  spec[#spec + 1] = lip.dense { out = 10 }
  return lip.net(spec)
end

-- Microseconds (the statistic) during about `seconds`, after three calls that are not counted.
local function measure(what, name, batch, seconds)
  local net, rng, y = build(name), lip.rng(1), {}
  local x = lip.zeros(batch, table.unpack(nets[name][1])):uniform_(rng, 0, 1)
  for i = 1, batch do y[i] = rng:below(10) end
  y = lip.tensor(y)
  local optim, loss = lip.optim.adam { lr = 1e-3 }, lip.loss.cross_entropy()
  local function run()
    if what == "step" then assert(net:step(x, y, optim, loss)) else net:forward(x) end
  end
  local times = {}
  for _ = 1, 3 do run() end
  local finish, now = lip.time() + seconds, args.statistic == "processor" and os.clock or lip.time
  repeat
    local start = now()
    run()
    times[#times + 1] = now() - start
  until lip.time() >= finish and #times >= 3
  return (args.statistic ~= "median" and math.min(table.unpack(times)) or bench.median(times)) * 1e6
end

if args.serve > 0 then
  lip.threads(args.serve)
  print(lip.info().blas)
  io.stdout:flush()
  for line in io.lines() do
    local what, name, batch, seconds = line:match "^(%S+) (%S+) (%S+) (%S+)$"
    print(("%.1f"):format(measure(what, name, math.tointeger(tonumber(batch)), tonumber(seconds))))
    io.stdout:flush()
  end
  return
end

-- A process asked line by line through a pipe and a FIFO.
local function start(label, command)
  local fifo = os.tmpname()
  os.remove(fifo)
  assert(os.execute("mkfifo " .. fifo))
  local to = assert(io.popen(command .. " >" .. fifo, "w"))
  local from = assert(io.open(fifo))
  os.remove(fifo)
  local banner = assert(from:read "l", label .. " does not start")
  return { label = label, banner = banner, close = function() to:close() end, ask = function(...)
    to:write(table.concat({ ... }, " "), "\n")
    to:flush()
    return (assert(tonumber(from:read "l"), label .. " gave no answer"))
  end }
end

-- For conv_torch.py.
local function described()
  local all = {}
  for name, net in pairs(nets) do
    all[name] = { input = net[1], convs = table.move(net[2], 1, #net[2], 1, {}), dense = net[2].dense or 0 }
  end
  return require "lip.shell".word(lip.to_json(all))
end

-- Without these, each step returns its temporaries to the system and faults them in again; and a worker that spins for
-- milliseconds where a neighbour holds its core costs whole slices of the scheduler.
local QUIET = "MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=100000000 "
  .. "GOMP_SPINCOUNT=20000"

local function add_torch(all, python, threads)
  if os.execute(python .. " -c 'import torch' >/dev/null 2>&1") ~= true then
    print(("PyTorch skipped: %s cannot import torch"):format(python))
    return
  end
  for _, layout in ipairs { "planes", "channels_last" } do
    all[#all + 1] = start("torch " .. layout:gsub("_", " "), ("OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d %s %s %s %d %s %s %s 2>/dev/null"):format(threads,
      threads, QUIET, python, arg[0]:gsub("conv%.lua$", "conv_torch.py"), threads, args.statistic, layout, described()))
  end
end

local function own(label, path, threads, projection)
  return start(label, ("%s %s --set serve=%d --set statistic=%s%s"):format(path, arg[0], threads, args.statistic,
    projection and " --set projection=" .. projection or "")) -- which builds of before do not know
end

local function contestants(threads)
  local this = arg[-1] or "lipwb"
  local all = { own("lipwb", this, threads) }
  for _, projection in ipairs(args.also) do
    if projection ~= "inf" then all[#all + 1] = own(projection, this, threads, projection) end
  end
  for i, path in ipairs(args.before[1] == "none" and {} or args.before) do
    all[#all + 1] = own("before" .. (i > 1 and i or ""), path, threads)
  end
  for _, python in ipairs(args.python[1] == "none" and {} or args.python) do add_torch(all, python, threads) end
  return all
end

if args.quick then args.nets, args.batches, args.rounds, args.seconds = { "block8" }, { 16 }, 1, 0.01 end
local result, most = { cpu = lip.info().cpu, blas = lip.info().blas, rows = {} }, math.min(lip.threads(), 64)
for _, threads in ipairs(most > 1 and { 1, most } or { 1 }) do
  local all = contestants(threads)
  print(("\n%d thread%s"):format(threads, threads == 1 and "" or "s"))
  io.write("| net | what | batch | lipwb us |")
  for i = 2, #all do io.write((" %s us | ratio |"):format(all[i].label)) end
  print()
  for _, name in ipairs(args.nets) do
    for _, batch in ipairs(args.batches) do
      for _, what in ipairs { "step", "forward" } do
        local times = {}
        for i = 1, #all do times[i] = {} end
        for _ = 1, args.rounds do
          for i, one in ipairs(all) do table.insert(times[i], one.ask(what, name, batch, args.seconds)) end
        end
        local row = { net = name, what = what, batch = batch, threads = threads, us = bench.median(times[1]) }
        io.write(("| %s | %s | %d | %.0f |"):format(name, what, batch, row.us))
        for i = 2, #all do
          local us, ratios = bench.median(times[i]), {}
          for r = 1, args.rounds do ratios[r] = times[i][r] / times[1][r] end
          row[all[i].label], row[all[i].label .. "_ratio"] = us, bench.median(ratios)
          io.write((" %.0f | %.2f |"):format(us, bench.median(ratios)))
        end
        print()
        table.insert(result.rows, row)
      end
    end
  end
  for _, one in ipairs(all) do one.close() end
end
print "\nratio: the column's time over lipwb's, the median of the visits"
return result
