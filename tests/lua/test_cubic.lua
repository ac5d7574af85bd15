-- The cubic experiment, run as it stands: both nets fit at least as well as the published ones, the budget is met, and
-- no chord of an executed net is steeper than its bound beyond the rounding of two forward passes.
local lu = require "luaunit"
local lip = require "lip"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local script = here .. "/../../experiments/cubic_1d.lua"
local published = { bounded = 0.0062, free = 0.0166 }

local T = {}
local result

function T.setupClass()
  local set = lip.settings.set
  lip.settings.set = { plot = "" }
  local ok, row, nets = pcall(dofile, script)
  lip.settings.set = set
  assert(ok, row)
  result = nets
  lu.assertEquals({ row.loss, row.bound, row.free_bound }, { nets.bounded.loss, nets.bounded.bound, nets.free.bound })
end

-- Mean squared distance of the executed net from x^3 on the 512 points, in double.
local function loss_of(net)
  local t = {}
  for i = 1, 512 do t[i] = -1 + 2 * (i - 1) / 511 end
  local x = lip.tensor(t):reshape(512, 1)
  local at, y, sum = x:flatten():totable(), net:forward(x):flatten():totable(), 0
  for i = 1, 512 do sum = sum + (y[i] - at[i] ^ 3) ^ 2 end
  return sum / 512
end

-- The steepest chord over neighbours of a grid of n points, and how much of it rounding may explain. The allowance is
-- stated for the whole range: each of the two values is within net:deviation of the exact one.
local function steepest(net, n)
  local x = lip.linspace(-1, 1, n):reshape(n, 1)
  local at, y = x:flatten():totable(), net:forward(x):flatten():totable()
  local off, most, excess = 2 * net:deviation(1), 0, -math.huge
  local bound = net:bound().upper
  for i = 1, n - 1 do
    local run, rise = at[i + 1] - at[i], math.abs(y[i + 1] - y[i])
    most, excess = math.max(most, rise / run), math.max(excess, rise - (bound * run + off))
  end
  return most, excess, off / (2 / (n - 1))
end

function T.test_the_losses_reach_the_published_ones()
  for kind, limit in pairs(published) do
    local loss = loss_of(result[kind].net)
    lu.assertTrue(loss <= limit, ("%s: loss %.5f against x^3, published %.4f"):format(kind, loss, limit))
    lu.assertAlmostEquals(result[kind].loss, loss, 1e-6) -- what the script prints is what was asked
  end
end

function T.test_the_budget_is_met_and_only_by_the_constrained_net()
  lu.assertTrue(result.bounded.net:bound().upper <= 2)
  lu.assertTrue(result.free.net:bound().upper > 10)
end

function T.test_no_slope_exceeds_the_bound()
  for _, kind in ipairs{ "bounded", "free" } do
    for _, n in ipairs{ 33, 401, 4001 } do
      local most, excess, allowance = steepest(result[kind].net, n)
      lu.assertTrue(excess <= 0, ("%s, %d points: slope %.9g above the bound"):format(kind, n, most))
      if kind == "bounded" then
        lu.assertTrue(allowance < 0.5, "an allowance that hides nothing: " .. allowance)
        lu.assertTrue(most > 1, "a fit of x^3 is steep at the ends: " .. most)
      end
    end
  end
  lu.assertTrue(steepest(result.free.net, 4001) > 2) -- what the budget prevents does happen without it
end

return T
