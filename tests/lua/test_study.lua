-- The one-dimensional study: whatever the activation, the norm and the target, a trained net keeps its bound on a grid
-- of pairs, and meets its budget. The only allowance is the rounding bound of two forward passes.
local lu = require "luaunit"
local lip = require "lip"

local points, budget = 96, 2
local rng = lip.rng(3)
local noise = {}
for i = 1, points do noise[i] = 0.05 * rng:normal() end

local targets = {
  identity = function(x) return x end,
  negative = function(x) return -x end,
  noisy_square = function(x, i) return x ^ 2 + noise[i] end,
  wavy_fourth = function(x) return x ^ 4 + 0.05 * math.sin(10 * x) end,
  wavy_cube = function(x) return x ^ 3 + 0.05 * math.sin(10 * x) end,
}

local function grid(n, f)
  local t = {}
  for i = 1, n do t[i] = f(-1 + 2 * (i - 1) / (n - 1), i) end
  return lip.tensor(t):reshape(n, 1)
end

local x = grid(points, function(v) return v end)

local function train(activation, norm, y)
  local net = lip.net{input = 1, norm = norm, budget = budget, init = "orthogonal", seed = 1,
    lip.dense{out = 32}, lip[activation](), lip.dense{out = 16}, lip[activation](), lip.dense{out = 8},
    lip[activation](), lip.dense{out = 1}}
  local opt, loss, first, last = lip.optim.adam{lr = 0.03}, lip.loss.mse()
  for epoch = 1, 150 do
    opt:lr(0.03 / (1 + 0.05 * epoch))
    last = assert(net:step(x, y, opt, loss))
    first = first or last
  end
  assert(net:project())
  return net, first, last
end

-- Largest violation of |f(a) - f(b)| <= bound |a - b| + allowance over all pairs; in exact multiples, no tolerance.
local function check(net, what)
  local fine = grid(301, function(v) return 1.5 * v end)
  local xs, ys = fine:flatten():totable(), net:forward(fine):flatten():totable()
  local bound, allowance = net:bound().upper, 2 * net:deviation(1.5)
  lu.assertTrue(bound <= budget, what .. ": bound " .. bound)
  lu.assertTrue(allowance < 1e-3, what .. ": rounding allowance " .. allowance)
  local steepest = 0
  for i = 1, #xs do
    for k = i + 1, #xs do
      local rise, run = math.abs(ys[i] - ys[k]), math.abs(xs[i] - xs[k])
      steepest = math.max(steepest, rise / run)
      if rise > bound * run + allowance then
        lu.fail(("%s: |f(%.9g) - f(%.9g)| = %.9g > %.9g * %.9g"):format(what, xs[i], xs[k], rise, bound, run))
      end
    end
  end
  return steepest
end

for _, activation in ipairs{"relu", "tanh", "fullsort"} do
  for _, norm in ipairs{"1", "2", "inf"} do
    _G[("test_%s_in_norm_%s"):format(activation, norm)] = function()
      for name, target in pairs(targets) do
        local what = ("%s, p = %s, %s"):format(activation, norm, name)
        local net, first, last = train(activation, norm, grid(points, target))
        lu.assertTrue(last < first, what .. " did not learn")
        local steepest = check(net, what)
        -- the straight lines have slope 1: a net that learnt anything is not flat there (an even target may be)
        if name == "identity" or name == "negative" then lu.assertTrue(steepest > 0.5, what .. " is flat") end
      end
    end
  end
end
