-- How far is each bound of the Lipschitz constant from the truth, and how many certificates does a tighter one bring?
-- Six networks: relu and maxmin, free or held by a norm, three and five layers; every bound between a value that two
-- points attain and the product of the layers' norms; certified test images beside those that an attack leaves standing.
-- Three more with a residual, with branches and with pooled convolutions: the same, and what `local` proves of images.
-- Then what linear relaxation proves of balls cut with the box of pixels, on six nets; and constants of deep nets with few
-- inputs and random weights.
--
--   lipwb experiments/tightness.lua [--set nets=all] [--set epochs=3] [--set points=300] [--set attack=true]
--     [--set seconds=10] [--plot FILE]
--
-- Expected (MNIST, two busy cores, 5 minutes in all): what is attained is 0.998, 0.999 and 0.999 of the multiplier bound on the
-- three relu nets held by a norm, 0.98 on MaxMin, 0.96 and 0.83 on the free ones; the product is up to 2.5 times as large. At
-- l_2 0.3 it certifies 218, 257, 210, 107, 155 and 286 of 300, the product 51, 184, 89, 0, 140 and 286, and the attack
-- leaves 267, 258, 228, 261, 158 and 288. Never more than the attack leaves. `--set nets=branching`: attained 0.95, 0.98 and
-- 0.94 of the multiplier bound, the product 1.8, 1.6 and 1.3 times as large; at l_2 0.3 the product certifies 15, 74 and 40,
-- the multipliers 215, 238 and 95, `local` 262, 267 and 68, the attack leaves 263, 268, 131.
-- `--set nets=balls --set points=100` (18 s): l_2 0.3 / 0.5, l_1 3, l_inf 0.02; before ball and box were taken together, and
-- rows refuted in half spaces, the numbers in brackets were proved; behind them what an attack leaves:
--   relu 64, 64                  93/81 83 93  (83/36 48 91)  93/84 86 93
--   relu 50 x 4                  92/68 76 90  (69/13 37 83)  92/80 84 90
--   relu 128, 128, budget 4      94/86 87 94  (90/76 63 90)  96/88 91 94
--   tanh 64, 64                  90/46 66 88  (30/1 4 48)    91/78 78 89
--   standardised, relu 64, 64    96/81 87 95  (84/26 51 87)  96/88 90 95   (before 15 s, now 0.7 s)
--   two convolutions              2/0   0 92  ( 0/0  0 91)   97/94 93 97   (before 13 s, now 1.3 s)
-- `--set nets=deep` (8 s), multiplier before and now: 72.9 and 69.26, 105.6 and 90.51, 2840 and 1614, 56.3 and 38.48; a solver
-- for semidefinite programs finds 69.26 and 38.48 (of the others it is not done in ten minutes).
local lip = require "lip"

local args = lip.args{
  epochs = { 3, "passes over the data", min = 1 }, seed = { 1, "of weights and shuffling" },
  points = { 300, "test images to certify and to attack", min = 1 },
  attack = { true, "also attack them" }, plot = { "tightness.png", "figure; an empty name draws none" },
  seconds = { 10, "what one bound may take" },
  nets = { "all", "chains of layers, nets with branches and pools, balls around images, deep random nets, or all of them",
    choices = { "all", "chains", "branching", "balls", "deep" } },
  limit = { 0, "samples to train on, 0: all" },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}
local train, test, name = lip.data.main_dataset{ set = args.data, limit = args.limit }
assert(train, test)

-- activation, width, hidden layers, then the norm, the budget of the whole net (none: free) and how it is kept
local nets = {
  { "relu, free", "relu", 128, 2 },
  { "relu, scaled to sigma <= 2", "relu", 128, 2, norm = 2, budget = 2 ^ 3, projection = "radial" },
  { "relu, 5 layers, scaled to sigma <= 1.6", "relu", 100, 4, norm = 2, budget = 1.6 ^ 5, projection = "radial" },
  { "relu, 5 layers, free", "relu", 100, 4 },
  { "relu, rows scaled to l_1 <= 3", "relu", 128, 2, norm = "inf", budget = 3 ^ 3, projection = "rowwise" },
  { "maxmin, sigma <= 1", "maxmin", 128, 2, norm = 2, budget = 1, eps = 0.3 },
}
local branching = {
  { "residual", lip.flatten(), lip.dense{ out = 64 }, lip.relu(),
    lip.residual{ lip.dense{ out = 64 }, lip.relu(), lip.dense{ out = 64 } }, lip.relu(), lip.dense{ out = 10 } },
  { "concat of a deep and a flat branch", lip.flatten(),
    lip.concat{ lip.chain{ lip.dense{ out = 48 }, lip.relu(), lip.dense{ out = 32 } }, lip.dense{ out = 32 } }, lip.relu(),
    lip.dense{ out = 10 } },
  { "convolution and max_pool2d", lip.conv2d{ channels = 4, kernel = 4, stride = 4 }, lip.relu(), lip.max_pool2d{ kernel = 2 },
    lip.flatten(), lip.dense{ out = 32 }, lip.relu(), lip.dense{ out = 10 } },
}
-- nets asked about balls, cut with the box {0, 1}
local ball_nets = {
  { "relu 64, 64", "relu", 64, 2 },
  { "relu 50 x 4", "relu", 50, 4 },
  { "relu 128, 128, norm 2, budget 4", "relu", 128, 2, norm = 2, budget = 4 },
  { "tanh 64, 64", "tanh", 64, 2 },
  { "standardised, relu 64, 64", lip.flatten(), lip.standardise{ mean = 0.13, std = 0.31 }, lip.dense{ out = 64 }, lip.relu(),
    lip.dense{ out = 64 }, lip.relu(), lip.dense{ out = 10 } },
  { "two convolutions", lip.conv2d{ channels = 8, kernel = 4, stride = 2, padding = 1 }, lip.relu(),
    lip.conv2d{ channels = 16, kernel = 4, stride = 2, padding = 1 }, lip.relu(), lip.flatten(), lip.dense{ out = 64 },
    lip.relu(), lip.dense{ out = 10 } },
}
local balls = { { 2, { 0.3, 0.5 } }, { 1, { 3 } }, { "inf", { 0.02 } } }
-- inputs, width, hidden layers, outputs: relu nets with weights as He et al. draw them
local deep = { { 5, 20, 6, 5 }, { 4, 80, 5, 10 }, { 4, 80, 10, 1 }, { 1, 30, 4, 2 } }
local radii = { { 2, { 0.1, 0.3, 0.5, 1 } }, { "inf", { 1 / 255, 2 / 255, 8 / 255 } } }

local function build(row)
  local spec = { input = { 1, 28, 28 }, norm = row.norm or 2, budget = row.budget or math.huge, seed = args.seed,
    projection = row.projection }
  if type(row[2]) == "string" then
    spec[1] = lip.flatten()
    for k = 1, row[4] do spec[2 * k], spec[2 * k + 1] = lip.dense{ out = row[3] }, lip[row[2]]() end
    spec[2 * row[4] + 2] = lip.dense{ out = 10 }
  else
    table.move(row, 2, #row, 1, spec)
  end
  local net = lip.net(spec)
  local opt, loss = lip.optim.adam{ lr = 1e-3 }, lip.loss.cross_entropy()
  if row.eps then -- gradients keep their length, margins are small: ask for one where a certificate needs it
    opt = lip.optim.sgd{ lr = 0.1, momentum = 0.95, nesterov = true }
    loss = lip.loss.cross_entropy{ temperature = 0.25, offset = math.sqrt(2) * row.eps }
  end
  assert(lip.train(net, train, { epochs = args.epochs, batch = 128, seed = args.seed, opt = opt, loss = loss,
    schedule = lip.schedule.cosine() }))
  return net
end

local methods = {}
for _, method in ipairs(lip.bound_methods()) do
  if method.name ~= "exact" and method.name ~= "best" and method.name ~= "local" then methods[#methods + 1] = method.name end
end

local local_too = table.move(methods, 1, #methods, 1, { [#methods + 1] = "local" })

local function percent(part)
  return ("%d"):format(math.floor(part * args.points + 0.5))
end

local function report(row)
  local net, shown = build(row), { title = row[1], xlabel = "l_2 radius", ylabel = "% of " .. args.points, series = {},
    yrange = { 0, 100 }, key = "below" }
  local clean = net:evaluate(test).accuracy
  print(("\n%s: %.2f %% of %s"):format(row[1], 100 * clean, name))
  print(("  %-12s %12s %10s %9s"):format("l_2", "constant", "of product", "seconds"))
  local product, best
  for _, method in ipairs(methods) do
    local b = net:bound{ p = 2, method = method, seconds = args.seconds }
    product = product or b.upper
    best = math.min(best or b.upper, b.upper)
    print(("  %-12s %12.6g %10.3f %9.2f"):format(method, lip.round_up(b.upper, 6), b.upper / product, b.seconds))
  end
  local low = net:bound{ p = 2, lower = true, data = test, points = args.points }
  print(("  %-12s %12.6g %10.3f %9.2f   tightness %.4f"):format("attained", lip.round_down(low.lower, 6), low.lower / product, low.seconds,
    low.lower / best))
  for _, question in ipairs(radii) do
    local p, eps = question[1], question[2]
    local head = ("  %-12s"):format("l_" .. p .. " of " .. args.points)
    for _, e in ipairs(eps) do head = head .. (" %9.4g"):format(e) end
    print(head)
    for _, method in ipairs(local_too) do
      local c = net:certify(test, { p = p, method = method, eps = eps, limit = args.points, seconds = args.seconds })
      local line, y = ("  %-12s"):format(method), {}
      for k, e in ipairs(eps) do
        line, y[k] = line .. (" %9s"):format(percent(c.certified[e])), 100 * c.certified[e]
      end
      print(line)
      if p == 2 then shown.series[#shown.series + 1] = { x = eps, y = y, title = method, style = "linespoints" } end
    end
    if args.attack then
      local line, y = ("  %-12s"):format "attacked", {}
      for k, e in ipairs(eps) do
        local a = assert(lip.attack(net, test, { p = p, eps = e, limit = args.points, steps = 40, seed = args.seed }))
        line, y[k] = line .. (" %9s"):format(percent(a.robust)), 100 * a.robust
      end
      print(line)
      if p == 2 then
        shown.series[#shown.series + 1] = { x = eps, y = y, title = "attacked", style = "linespoints", dash = 2,
          colour = "#555555" }
      end
    end
  end
  return shown, low.lower / best
end

-- Of the points: how many balls are proved to have one class, and how many an attack leaves.
local function report_balls(row)
  local net = build(row)
  print(("\n%s: %.2f %% of %s"):format(row[1], 100 * net:evaluate(test).accuracy, name))
  print(("  %-8s %8s %10s %10s %9s   of %d, box {0, 1}"):format("ball", "eps", "proved", "attacked", "seconds", args.points))
  local sum = 0
  for _, question in ipairs(balls) do
    local p, eps = question[1], question[2]
    for _, e in ipairs(eps) do
      local began = lip.time()
      local c = assert(net:certify(test, { p = p, method = "local", eps = e, limit = args.points, box = { 0, 1 } }))
      local took, left = lip.time() - began, "-"
      if args.attack then
        left = percent(assert(lip.attack(net, test, { p = p, eps = e, limit = args.points, steps = 40, seed = args.seed,
          box = { 0, 1 } })).robust)
      end
      sum = sum + c.certified[e]
      print(("  %-8s %8g %10s %10s %9.2f"):format("l_" .. p, e, percent(c.certified[e]), left, took))
    end
  end
  return sum
end

local function report_deep(row)
  local inputs, width, layers, outputs = table.unpack(row)
  local spec = { input = inputs, norm = 2, budget = math.huge, init = "he", seed = args.seed }
  for k = 1, layers do spec[2 * k - 1], spec[2 * k] = lip.dense{ out = width }, lip.relu() end
  spec[2 * layers + 1] = lip.dense{ out = outputs }
  local net = lip.net(spec)
  print(("\n%d inputs, relu %d x %d, %d outputs, weights drawn"):format(inputs, width, layers, outputs))
  print(("  %-12s %12s %10s %9s"):format("l_2", "constant", "of product", "seconds"))
  local product, best
  for _, method in ipairs(methods) do
    local b = net:bound{ method = method, seconds = args.seconds }
    product = product or b.upper
    best = math.min(best or b.upper, b.upper)
    print(("  %-12s %12s %10.3f %9.2f"):format(method, lip.round_up(b.upper, 6), b.upper / product, b.seconds))
  end
  local low = net:bound{ lower = true }
  print(("  %-12s %12s %10.3f %9.2f   tightness %.4f"):format("attained", lip.round_down(low.lower, 6), low.lower / product, low.seconds,
    low.lower / best))
  return low.lower / best
end

local start, panels, result, n = lip.time(), {}, {}, 0
local function all_of(list)
  for _, row in ipairs(list) do
    n = n + 1
    panels[n], result["tightness " .. n] = report(row)
  end
end
local function wanted(what)
  return args.nets == "all" or args.nets == what
end
if wanted "chains" then all_of(nets) end
if wanted "branching" then all_of(branching) end
for k, row in ipairs(wanted "balls" and ball_nets or {}) do
  n, result["proved " .. k] = n + 1, report_balls(row)
end
for k, row in ipairs(wanted "deep" and deep or {}) do
  n, result["tightness of deep net " .. k] = n + 1, report_deep(row)
end
result.seconds = lip.time() - start
if #panels > 0 then lip.figures.draw(args.plot, { title = name .. ": certified by each bound, and what an attack leaves", columns = 2,
  panels = panels }) end
print(("\nresult: %d nets in %.0f s"):format(n, result.seconds))
return result
