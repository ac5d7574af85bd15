-- Which way of holding a layer's constant trains the best certified network in the same time? Every parametrised weight, and
-- the layers that bound themselves, in the same 784 - 256 - 256 - 10, in norm 2 with budget 1; a small convolutional net with
-- each way of holding convolutions; and distance neurons in norm inf.
--
--   lipwb experiments/layers.lua [--set nets=all] [--set seconds=30] [--set minutes=3] [--plot FILE]
--
-- Expected (MNIST, two cores, 9 minutes; --set clock=processor on a busy machine), clean / certified at l_2 0.3 / 1.58: projected
-- 98.7 / 96.8 / 39.2 %, bjorck 98.7 / 96.8 / 41.7, the other orthogonal weights 98.2 to 98.6 / 96.1 to 96.7 / 36.6 to 38.5, aol 98.1 /
-- 95.8 / 34.0, lbdn (sandwich) 98.4 / 95.9 / 30.9, sll 98.0 / 94.8 / 24.4, cpl 98.1 / 95.0 / 21.9; convolutions 97.2 / 92.6 / 12.0,
-- rko 96.4 / 90.8 / 10.0, aol 96.4 / 90.5 / 9.0. Distances, 3 minutes: 96.6 %, 94.9 and 87.4 % at l_inf 0.1 and 0.3.
local lip = require "lip"

local args = lip.args{
  nets = { "all", "dense weights, convolutions, distance neurons, or all of them", choices = { "all", "dense", "conv", "dist" } },
  seconds = { 30, "training time of each dense or convolutional net; 0: one batch", min = 0 },
  minutes = { 3, "training time of the distance neurons", min = 0 },
  clock = { "wall", "processor: its time over the threads, which neighbours disturb less", choices = { "wall", "processor" } },
  plot = { "layers.png", "figure; an empty name draws none" },
  seed = { 1, "of weights and shuffling" }, limit = { 0, "samples to train and to test on, 0: all" },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}
local train, test, name = lip.data.main_dataset{ set = args.data, limit = args.limit }
assert(train, test)

local function now() return args.clock == "wall" and lip.time() or os.clock() / lip.threads() end

-- Trains for a time: the learning rate is a cosine of it, and done() says which part has passed; seconds an epoch.
local function train_for(net, seconds, options)
  local began, batches = now(), 0
  local function done() return seconds > 0 and math.min(1, (now() - began) / seconds) or 1 end
  local o = options(done)
  o.epochs, o.batch, o.seed = 10000, o.batch or 256, args.seed
  o.schedule = function() return 0.5 * (1 + math.cos(math.pi * done())) end
  local after = o.on_batch
  o.on_batch = function(info)
    batches = batches + 1
    if after then after(info) end
    return done() < 1
  end
  assert(lip.train(net, train, o))
  return (now() - began) / batches * math.ceil(#train / o.batch)
end

local rows, panels = {}, {}
local function judge(panel, title, net, radii, per_epoch)
  local bound, report = net:bound{ lower = true, data = test }, net:certify(test, { eps = radii })
  local text = ("result: %s, %-12s clean %.2f %%"):format(name, title .. ",", 100 * report.clean)
  rows["clean " .. title] = report.clean
  for _, eps in ipairs(radii) do
    text = text .. (", %.2f %% at %g"):format(100 * report.certified[eps], eps)
    rows[("certified@%g %s"):format(eps, title)] = report.certified[eps]
  end
  print(text .. (", constant in [%.4g, %.6g], %.2f s an epoch"):format(lip.round_down(bound.lower, 4),
    lip.round_up(bound.upper, 6), per_epoch))
  local curve = lip.curve(report, test, { max = radii[#radii] * 1.2 })
  panels[panel] = panels[panel] or {}
  local list = panels[panel]
  list[#list + 1] = { x = curve.x, y = curve.y, title = title, dash = #list >= 7 and 2 or nil } -- there are seven colours
end

-- Two logits move apart by at most sqrt 2 times the constant times the distance. The projected gradient method wants one rate
-- for all weights of a row, the others bear Adam.
local function margin(optimiser)
  return function()
    return { loss = lip.loss.cross_entropy{ temperature = 0.25, offset = math.sqrt(2) * 0.6 }, opt = optimiser }
  end
end
local function momentum(lr) return lip.optim.sgd{ lr = lr, momentum = 0.95, nesterov = true } end
local function adam(lr) return lip.optim.adam{ lr = lr } end

local dense = {
  { "projected", momentum(0.1) }, { "aol", adam(0.01) }, { "bjorck", adam(0.01) }, { "cayley", adam(0.01) },
  { "exponential", adam(0.01) }, { "bro", adam(0.01) }, { "frobenius", momentum(0.1) },
  { "sll", adam(0.005) }, { "cpl", adam(0.001) }, { "sandwich", adam(0.001) },
}
local function dense_net(kind)
  local rows_alone = kind == "frobenius"
  local common = { input = { 1, 28, 28 }, norm = rows_alone and "2->2->2->inf" or 2, budget = 1, seed = args.seed,
    lip.flatten() }
  if kind == "sandwich" then
    return lip.lbdn{ input = { 1, 28, 28 }, widths = { 256, 256 }, outputs = 10, gamma = 1, seed = args.seed }
  elseif lip[kind] then -- a residual layer: of as many outputs as inputs
    return lip.net(table.move({ lip.dense{ out = 256 }, lip[kind](), lip[kind](), lip.dense{ out = 10 } }, 1, 4, 2, common))
  end
  for k, out in ipairs{ 256, 256, 10 } do
    common[2 * k] = lip.dense{ out = out, weight = (k == 3 or not rows_alone) and kind or nil }
    common[2 * k + 1] = k < 3 and lip.maxmin() or nil
  end
  return lip.net(common)
end

local conv = { { "projected", momentum(0.1) }, { "aol", adam(0.01) }, { "rko", adam(0.01) } }
local function conv_net(weight)
  return lip.net{ input = { 1, 28, 28 }, norm = 2, budget = 1, seed = args.seed,
    lip.conv2d{ channels = 16, kernel = 4, stride = 2, padding = 1, weight = weight }, lip.maxmin(),
    lip.conv2d{ channels = 32, kernel = 4, stride = 2, padding = 1, weight = weight }, lip.maxmin(), lip.flatten(),
    lip.dense{ out = 10 } }
end

local function wanted(what) return args.nets == "all" or args.nets == what end
for _, row in ipairs(wanted "dense" and dense or {}) do
  local net = dense_net(row[1])
  judge("dense, l_2", row[1], net, { 0.3, 1.58 }, train_for(net, args.seconds, margin(row[2])))
end
for _, row in ipairs(wanted "conv" and conv or {}) do
  local net = conv_net(row[1])
  judge("convolutions, l_2", "conv " .. row[1], net, { 0.3, 1.58 }, train_for(net, args.seconds, margin(row[2])))
end

-- Distances to trained points: the exponent p of their norm rises from 8, where every difference has a gradient, to infinity,
-- where the constant from norm inf is 1, while a fading share of cross entropy makes place for a hinge of the margin.
if wanted "dist" then
  local eps = 0.3
  local net = lip.net{ input = { 1, 28, 28 }, norm = "inf", seed = args.seed, lip.flatten(),
    lip.linf_dist{ out = 512, p = 8, bias = false, shift = true }, lip.linf_dist{ out = 512, p = 8, bias = false, shift = true },
    lip.linf_dist{ out = 10, p = 8 }, lip.scale{ factor = -1 } } -- the nearest point has the largest output
  local per_epoch = train_for(net, 60 * args.minutes, function(done)
    local function part() return math.max(0, math.min(1, (done() - 0.1) / 0.8)) end
    return { batch = 64, loss = lip.loss.clipped_hinge{ margin = 2 * eps, mix = 0.3, temperature = 1 / 3 },
      anneal = { mix = function() return 0.01 ^ part() end }, opt = lip.optim.adam{ lr = 0.02, beta2 = 0.99, eps = 1e-10 },
      on_batch = function() net:power(part() < 1 and 2 ^ math.floor(3 + 7 * part() + 0.5) or math.huge) end }
  end)
  judge("distances, l_inf", "linf_dist", net, { 0.1, 0.3 }, per_epoch)
end
if args.plot ~= "" then
  local list = {}
  for _, title in ipairs{ "dense, l_2", "convolutions, l_2", "distances, l_inf" } do
    if panels[title] then
      list[#list + 1] = lip.figures.radius(panels[title], nil, { title = title, xlabel = "radius (pixels in [0, 1])" })
      list[#list].key = "bottom left"
    end
  end
  lip.figures.draw(args.plot, { title = name .. ": certified accuracy, the same time", columns = #list, panels = list })
end
return rows
