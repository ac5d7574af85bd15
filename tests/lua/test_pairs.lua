-- Constants of some pairs of outputs only: net:bound{ pairs = {{i, j}}, outputs = {i} }.
local lu = require "luaunit"
local lip = require "lip"

local tests = {}
local inf = math.huge

local function small(norm)
  return lip.net { input = 4, norm = norm, budget = inf, init = "he", seed = 2,
    lip.dense { out = 7 }, lip.relu(), lip.dense { out = 5 } }
end

local function each_method(visit)
  for _, norm in ipairs { "2", "inf" } do
    local net = small(norm)
    for _, m in ipairs(lip.bound_methods()) do visit(net, m.name, net:bound { method = m.name, pairs = true }.pairs) end
  end
end

-- The numbers are those of the whole table, what is not asked for is infinite.
local function check(some, all, wanted)
  for i = 1, 5 do
    for j = 1, 5 do
      local asked = i == j or wanted(i, j) or wanted(j, i)
      lu.assertEquals(some[i][j], asked and all[i][j] or inf)
    end
  end
end

function tests.test_listed_pairs()
  each_method(function(net, method, all)
    local b = net:bound { method = method, pairs = { { 1, 2 }, { 5, 3 } } }
    check(b.pairs, all, function(i, j) return (i == 1 and j == 2) or (i == 5 and j == 3) end)
  end)
end

function tests.test_pairs_of_outputs()
  each_method(function(net, method, all)
    check(net:bound { method = method, outputs = { 4 } }.pairs, all, function(i) return i == 4 end)
    check(net:bound { method = method, outputs = { 4, 1 }, pairs = true }.pairs, all,
      function(i) return i == 4 or i == 1 end)
    check(net:bound { method = method, outputs = {} }.pairs, all, function() return false end)
    lu.assertNil(net:bound { method = method, pairs = false }.pairs)
  end)
end

function tests.test_pairs_of_a_ball()
  local net, x = small "2", lip.tensor { { 0.1, 0.2, 0.3, 0.4 } }
  local function ball(options)
    options.method, options.x, options.eps = "local", x, 0.05
    return net:bound(options).pairs
  end
  local all, some = ball { pairs = true }, ball { pairs = { { 2, 3 } } }
  lu.assertEquals(some[2][3], all[2][3])
  lu.assertEquals(some[3][2], all[3][2])
  lu.assertEquals(some[1][2], inf)
end

function tests.test_mistakes_are_named()
  local net = small "2"
  for text, options in pairs {
    ["'pairs' expects true, false or a list of pairs {i, j}, element 2 is a table of another length"] =
      { pairs = { { 1, 2 }, { 1 } } },
    ["'pairs' expects true, false or a list of pairs {i, j}, element 1 is the number 3"] = { pairs = { 3 } },
    ["'pairs' expects outputs from 1 to 5, one of element 1 is 6"] = { pairs = { { 1, 6 } } },
    ["'pairs' expects two different outputs, element 1 has 2 twice"] = { pairs = { { 2, 2 } } },
    ["'pairs' expects true or false, got the string \"all\""] = { pairs = "all" },
    ["'outputs' expects a list of outputs, got the number 3"] = { outputs = 3 },
    ["'outputs' expects outputs from 1 to 5, element 1 is 0"] = { outputs = { 0 } },
    ["'outputs' expects outputs from 1 to 5, element 2 is 1.5"] = { outputs = { 1, 1.5 } },
    ["'outputs' expects outputs from 1 to 5, element 1 is nan"] = { outputs = { 0 / 0 } },
    ["'outputs' expects outputs from 1 to 5, element 1 is the string \"1\""] = { outputs = { "1" } },
    ["'outputs' says which pairs, and 'pairs' is false"] = { outputs = { 1 }, pairs = false },
    ["options 'pairs' and 'outputs' both list pairs"] = { outputs = { 1 }, pairs = { { 1, 2 } } },
  } do
    lu.assertErrorMsgContains((text:gsub("nan", tostring(0 / 0))), function() net:bound(options) end)
  end
end

return tests
