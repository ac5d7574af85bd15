-- Nets with branches, pools and sorts from Lua: every method and every verdict looks through them, and what is not seen is
-- said.
local lu = require "luaunit"
local lip = require "lip"

local T = {}
local inf = math.huge

local function net_of(norm, ...)
  return lip.net { input = { 1, 6, 6 }, norm = norm, seed = 5, budget = inf, init = "he", ... }
end

local nets = {
  residual = function(norm)
    return net_of(norm, lip.flatten(), lip.dense { out = 10 }, lip.relu(),
      lip.residual { lip.dense { out = 10 }, lip.relu(), lip.dense { out = 10 } }, lip.relu(), lip.dense { out = 3 })
  end,
  branches = function(norm)
    return net_of(norm, lip.flatten(),
      lip.concat { lip.chain { lip.dense { out = 8 }, lip.maxmin(), lip.dense { out = 6 } }, lip.dense { out = 6 } },
      lip.sum { lip.chain { lip.relu(), lip.dense { out = 12 } }, lip.chain {}, weights = { 0.5, 2 } }, lip.relu(),
      lip.dense { out = 3 })
  end,
  pooled = function(norm)
    return net_of(norm, lip.conv2d { channels = 2, kernel = 3, padding = 1 }, lip.relu(), lip.max_pool2d { kernel = 3 },
      lip.flatten(), lip.dense { out = 3 })
  end,
  sorted = function(norm)
    return net_of(norm, lip.flatten(), lip.dense { out = 24 }, lip.groupsort { size = 12 }, lip.dense { out = 3 })
  end,
}

local function images(n)
  return lip.randn(lip.rng(2), n, 1, 6, 6)
end

function T.test_alpha_is_for_mixes()
  local inside = lip.dense { out = 4 }
  lu.assertErrorMsgContains("residual: option 'alpha' is for mode = \"mix\", and means nothing with \"add\"",
    lip.residual, { mode = "add", alpha = 0.3, inside })
  lip.residual { mode = "mix", alpha = 0.3, inside }
  lip.residual { mode = "add", inside }
  local again = lip.residual { mode = "add", inside }:options() -- all of them
  again[1] = inside
  lu.assertEquals(lip.residual(again):options().mode, "add")
end

-- A container may be asked about in other norms than it was planned for: the rule of its kind holds in each.
function T.test_containers_in_every_norm()
  local function inside() return lip.dense { out = 6 }, lip.relu(), lip.dense { out = 6 } end
  local boxes = {
    chain = function() return lip.chain { inside() } end,
    residual = function() return lip.residual { inside() } end,
    adding = function() return lip.residual { mode = "add", inside() } end,
    sum = function() return lip.sum { lip.chain { inside() }, lip.chain {}, weights = { 0.7, -2 } } end,
    concat = function() return lip.concat { lip.chain { inside() }, lip.dense { out = 3 } } end,
    anchor = function() return lip.anchor { inside() } end,
    deep = function() return lip.residual { lip.sum { lip.residual { inside() }, lip.anchor { inside() } } } end,
  }
  local x = lip.randn(lip.rng(1), 20, 6)
  for name, box in pairs(boxes) do
    for _, norm in ipairs { "1", "2", "inf", "1->2", "1->inf", "2->inf", "1->2->inf" } do
      local net = lip.net { input = 6, norm = norm, seed = 2, budget = inf, init = "he", lip.dense { out = 6 }, box(),
        lip.relu(), lip.dense { out = 3 } }
      for _, p in ipairs { 1, 2, inf } do
        local bound = net:bound { p = p, lower = true, data = x }
        lu.assertTrue(bound.upper < inf and bound.upper >= bound.lower and bound.lower > 0, name .. " " .. norm)
        local layer = net:bound { p = p }.layers[2]
        lu.assertTrue(layer.upper < inf, name .. " " .. norm)
      end
      lu.assertTrue(net:bound().upper < inf)
    end
  end
end

function T.test_every_method_is_between_attained_and_product()
  for name, make in pairs(nets) do
    for _, norm in ipairs { "1", "2", "inf" } do
      local net = make(norm)
      local low = net:bound { lower = true, data = images(20) }.lower
      local best, product = net:bound { method = "best", seconds = 20 }, net:bound().upper
      lu.assertTrue(low > 0 and low <= best.upper and best.upper <= product, name)
      for _, row in ipairs(best.tried) do
        lu.assertTrue(row.upper >= low, name .. " " .. row.method)
        if row.method == "multiplier" and norm == "2" then
          lu.assertTrue(row.upper < product, name)
        end
        if row.upper == inf then lu.assertStrMatches(row.reason, ".+") end
      end
    end
  end
end

function T.test_another_norm_than_the_net_was_made_for()
  local net = nets.branches "2"
  for _, p in ipairs { "1", "inf" } do
    local b = net:bound { p = p, method = "best", seconds = 20 }
    lu.assertTrue(b.upper < inf and b.upper <= net:bound { p = p }.upper)
    local c = net:certify(images(10), nil, { p = p, method = "multiplier" })
    for i = 1, 10 do lu.assertTrue(c.radii[i] > 0) end
  end
end

function T.test_verdicts_of_balls()
  for name, make in pairs(nets) do
    local net, x = make "2", images(30)
    local labels = net:predict(x) -- so that everything unproven is for want of proof
    local eps = 0.1
    local plain = net:certify(x, labels, { eps = eps })
    local near = net:certify(x, labels, { method = "local", eps = eps })
    lu.assertNil(near.reason, name)
    lu.assertTrue(near.certified[eps] >= plain.certified[eps], name)
    local v = lip.verify(net, x, labels, { eps = eps, p = 2, seed = 1 })
    lu.assertAlmostEquals(v.verified + v.violated + v.unproven, 1, 1e-9)
    lu.assertTrue(v.verified >= near.certified[eps] and v.verified > 0.3, name)
    local ball = net:bound { method = "local", x = x[1], eps = 0.01, global = "recursion" }
    lu.assertTrue(ball.upper <= net:bound { method = "recursion" }.upper * (1 + 1e-9), name)
  end
end

function T.test_what_is_not_seen_is_said()
  local net = net_of("2", lip.l2_pool2d { kernel = 2 }, lip.flatten(), lip.dense { out = 3 })
  local b = net:bound { method = "multiplier" }
  lu.assertStrContains(b.reason, "layer 1 (l2_pool2d) is no matrix")
  local long = net_of("2", lip.flatten(), lip.dense { out = 80 }, lip.fullsort(), lip.dense { out = 3 })
  lu.assertStrContains(long:bound { method = "abs" }.reason, "layer 3 (fullsort)")
  local deep = { lip.flatten(), lip.dense { out = 2 } }
  for i = 1, 400 do deep[i + 2] = i % 2 == 0 and lip.relu() or lip.dense { out = 2 } end
  local many = net_of("2", table.unpack(deep))
  lu.assertTrue(many:bound { method = "recursion" }.upper < inf)
  for i = 401, 900 do deep[i + 2] = i % 2 == 0 and lip.relu() or lip.dense { out = 2 } end
  lu.assertStrContains(net_of("2", table.unpack(deep)):bound { method = "recursion" }.reason, "it takes 300 at most")
end

return T
