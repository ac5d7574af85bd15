-- Weights with orthonormal rows or columns (weight = "bjorck", "cayley", "exponential", "bro"): what training leaves of
-- that, their options, what no training should meet, and the benchmark of all kinds of weights.
local lu = require "luaunit"
local lip = require "lip"
local outside = require "support_program"

local KINDS = { "bjorck", "cayley", "exponential", "bro" }
local root = (debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or ".") .. "/../.."

local function net_of(kind, options)
  local spec = { input = 12, norm = 2, budget = 8, seed = 3,
    lip.dense { out = 8, weight = kind }, lip.maxmin(),
    lip.dense { out = 8, weight = kind }, lip.maxmin(), lip.dense { out = 10, weight = kind } }
  for name, v in pairs(options or {}) do spec[name] = v end
  return lip.net(spec)
end

local function batch(n)
  local rng, y = lip.rng(5), {}
  local x = lip.zeros(n, 12):uniform_(rng, -1, 1)
  for i = 1, n do y[i] = rng:below(10) end
  return x, lip.tensor(y)
end

-- Largest entry of |W W' - K^2 I|, or of |W'W - K^2 I|.
local function defect(W, K)
  local M, N = table.unpack(W:shape())
  local G = M <= N and W:matmul(W:transpose()) or W:transpose():matmul(W)
  local n = math.min(M, N)
  for i = 1, n do G:set(i, i, G:get(i, i) - K * K) end
  return G:abs():max()
end

local tests = {}

-- Each layer's norm is its budget, 2: nothing of it is given away.
function tests.test_training_keeps_rows_orthonormal()
  for _, kind in ipairs(KINDS) do
    for _, init in ipairs { "orthogonal", "he" } do
      local net, x, y = net_of(kind, { init = init }), batch(40)
      local opt, loss = lip.optim.adam { lr = 0.02 }, lip.loss.cross_entropy()
      for _ = 1, 60 do assert(net:step(x, y, opt, loss)) end
      for i = 1, 3 do lu.assertTrue(defect(net:weights(i), 2) < 1e-2, kind .. " " .. init) end
      assert(net:project())
      local bound = net:bound { lower = true }
      lu.assertTrue(bound.upper <= 8 and bound.upper > 7.9, kind)
    end
  end
end

-- A retraction: what is trained is the weight itself, over its budget.
function tests.test_bjorck_keeps_what_it_trains_orthonormal()
  local net, x, y = net_of "bjorck", batch(40)
  local opt, loss = lip.optim.sgd { lr = 0.1, momentum = 0.9 }, lip.loss.cross_entropy()
  for _ = 1, 10 do
    assert(net:step(x, y, opt, loss))
    local seen = 0
    for _, p in ipairs(net:parameters()) do
      if p.name == "free" then
        seen = seen + 1
        lu.assertTrue((p.value * 2 - net:weights(seen)):abs():max() <= 1e-6)
      end
    end
    lu.assertEquals(seen, 3)
  end
end

function tests.test_options()
  local function refused(text, options)
    lu.assertErrorMsgContains(text, lip.dense, options)
  end
  refused("option 'rank' is for weight = \"bro\", and means nothing with \"cayley\"", { out = 3, weight = "cayley", rank = 2 })
  refused("option 'iterations' is for weight = \"bjorck\"", { out = 3, weight = "bro", iterations = 2 })
  refused("option 'iterations' expects a whole number in [0, 30]", { out = 3, weight = "bjorck", iterations = 31 })
  lu.assertErrorMsgContains("rank = 13 is more than the larger side of the weight, 12", lip.net,
    { input = 12, norm = 2, lip.dense { out = 3, weight = "bro", rank = 13 } })
  for _, kind in ipairs(KINDS) do
    for _, path in ipairs { "inf", "1" } do
      lu.assertErrorMsgContains("orthonormal rows or columns bound steps from norm 1 or 2 to norm 2 or inf", lip.net,
        { input = 12, norm = path, lip.dense { out = 3, weight = kind } })
    end
    for _, path in ipairs { "1->2", "2->inf", "1->inf" } do
      local net = lip.net { input = 12, norm = path, budget = 3, lip.dense { out = 4, weight = kind } }
      lu.assertTrue(net:bound().upper <= 3.00001)
    end
  end
  local few = lip.net { input = 12, norm = 2, lip.dense { out = 12, weight = "bro", rank = 2 } }
  local singular = 0 -- the trace of a reflector of rank 2: ten times 1, twice -1
  for i = 1, 12 do singular = singular + few:weights(1):get(i, i) end
  lu.assertAlmostEquals(singular, 8, 1e-5)
  local more = lip.net { input = 9, norm = 2, init = "he", lip.dense { out = 9, weight = "bjorck", iterations = 30 } }
  lu.assertTrue(defect(more:weights(1), 1) < 1e-2)
end

-- Whatever a script writes there: a number, or no certificate.
function tests.test_numbers_that_nobody_trains()
  local x, y = batch(20)
  for _, kind in ipairs(KINDS) do
    for _, value in ipairs { 0, 1e-40, 1e-20, 1, 1e20, 3e38, math.huge, 0 / 0 } do
      local net = net_of(kind)
      for _, p in ipairs(net:parameters()) do
        if p.name == "free" then p.value:mul_(0):add_(value) end
      end
      local z, finite = net:forward(x), value == value and value < math.huge
      local report = net:certify(x, y, { eps = 0.1 })
      if finite then
        lu.assertTrue(z:abs():max() < math.huge, kind .. " " .. value)
        lu.assertTrue(net:bound().upper < 8.1, kind .. " " .. value)
      else
        lu.assertEquals(net:bound().upper, math.huge, kind .. " " .. value)
        lu.assertEquals(report.certified[0.1], 0)
      end
      local ok, why = net:project()
      if not finite then lu.assertTrue(ok == nil and #why > 10) end
    end
  end
end

function tests.test_the_benchmark_runs()
  local path = os.tmpname()
  local status, out, err = outside.start(("--threads 1 --json %s %s/tests/bench/parametrise.lua --set widths=6 --set batch=4 "
    .. "--set rounds=1 --set seconds=0"):format(path, outside.quote(root)))
  local row = outside.slurp(path)
  lu.assertEquals({ status, err }, { 0, "" })
  for _, layer in ipairs(lip.layers()) do
    for _, option in ipairs(layer.name == "dense" and layer.options or {}) do
      for _, choice in ipairs(option.name == "weight" and option.choices or {}) do
        local lines = select(2, out:gsub("\n784%-6%-6%-10 +" .. choice .. " +[%d.inf>-]+ +%d+ +%d+%.%d%d", ""))
        lu.assertEquals(lines, choice == "projected" and 0 or 1, choice)
        lu.assertEquals(select(2, row:gsub('"weight":"' .. choice .. '"', "")), lines)
      end
    end
  end
end

return tests
