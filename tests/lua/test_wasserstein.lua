-- Wasserstein-1 distances by training: a net of constant 1 and the loss `kr`. Minus the loss, divided by a proved bound of the
-- net, is never above the distance of the samples, and training comes within 1 % of it.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

local function net(input, widths)
  local layers = { input = input, norm = 2, budget = 1, seed = 1, lip.flatten() }
  for _, n in ipairs(widths) do
    layers[#layers + 1] = lip.dense { out = n }
    layers[#layers + 1] = lip.fullsort()
  end
  layers[#layers + 1] = lip.dense { out = 1 }
  return lip.net(layers)
end

-- What is proved before and after training, of all samples in one batch.
local function distance(n, x, y, options)
  local kr = lip.loss.kr()
  local function proved() return -kr:value(n:forward(x), y) / n:bound().upper end
  local before = proved()
  options.loss, options.schedule = kr, lip.schedule.cosine()
  assert(lip.train(n, lip.data.tensors(x, y), options))
  return proved(), before
end

-- Samples and the same ones moved by v: the distance is |v|. Moving each to its copy costs |v|, and a linear f of slope v / |v|
-- gains as much.
function T.test_two_gaussians_three_apart()
  local n, d = 500, 2
  local x, y = lip.zeros(2 * n, d), {}
  local samples = lip.randn(lip.rng(1), n, d)
  x:slice(1, 1, n):copy(samples)
  x:slice(1, n + 1, 2 * n):copy(samples)
  local moved = x:slice(1, n + 1, 2 * n):select(2, 1)
  moved:copy(moved:add(3))
  for i = 1, 2 * n do y[i] = i > n and 1 or -1 end
  local found, before = distance(net(d, { 32, 32 }), x, y,
    { epochs = 100, batch = 250, opt = lip.optim.adam { lr = 0.01 } })
  lu.assertTrue(before < 2.9)
  lu.assertTrue(found > 0.99 * 3, found)
  lu.assertTrue(found <= 3 + 1e-5, found)
end

-- Black images against those with a square of 1 or of -1 in the middle: every image is as far from black as its square, 35 for 35
-- by 35 pixels, and f(x) = |<x, square> / 35| says so.
function T.test_black_and_squares()
  local size, side = 64, 35
  local x, y, from = lip.zeros(4, 1, size, size), { 0, 0, 1, 1 }, (size - side) // 2
  for i = 1, 2 do
    x:select(1, 2 + i):slice(2, from + 1, from + side):slice(3, from + 1, from + side):fill(i == 1 and 1 or -1)
  end
  local found = distance(net({ 1, size, size }, { 64, 32 }), x, y,
    { epochs = 600, batch = 4, opt = lip.optim.adam { lr = 0.003 } })
  lu.assertTrue(found > 0.99 * side, found)
  lu.assertTrue(found <= side * (1 + 1e-6), found)
end

-- A margin makes a classifier of it, at the cost of some of the distance.
function T.test_hkr_separates()
  local x, y = lip.randn(lip.rng(2), 400, 2), {}
  for i = 1, 400 do
    local far = i % 2 == 1 -- rings of radius 1 and 3
    local scale = (far and 3 or 1) / math.sqrt(x[i][1] ^ 2 + x[i][2] ^ 2)
    x:select(1, i):copy(x:select(1, i):mul(scale))
    y[i] = far and 1 or -1
  end
  local n = net(2, { 64, 64 })
  local data = lip.data.tensors(x, y)
  assert(lip.train(n, data, { epochs = 100, batch = 100, loss = lip.loss.hkr { alpha = 0.9, margin = 1 },
    opt = lip.optim.adam { lr = 0.01 }, schedule = lip.schedule.cosine() }))
  local r = assert(n:certify(data, { eps = { 0, 0.4 } }))
  lu.assertTrue(r.clean > 0.99)
  lu.assertTrue(r.certified[0.4] > 0.9)
  lu.assertTrue(r.radii:mean() > 0.8 and r.radii:mean() < 1.02) -- both sides of a border share the 2 between the rings
  lu.assertTrue(-lip.loss.kr():value(n:forward(x), y) / n:bound().upper <= 2)
end

return T
