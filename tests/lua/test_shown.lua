-- What is printed of a bound is never on its wrong side: the text read back is no less than an upper bound, no more than what
-- is attained, certified or verified.
local lu = require "luaunit"
local lip = require "lip"
local field = require "lip.runs.field"
local text_table = require "lip.runs.table"
local view = require "lip.sweep.view"

local tests = {}

local function nets(each)
  for seed = 1, 12 do
    local norm = ({ 1, 2, "inf" })[seed % 3 + 1]
    each(lip.net{ input = 7, norm = norm, seed = seed, init = "he", lip.dense{ out = 6 }, lip.relu(),
      lip.scale{ factor = 0.7 / seed }, lip.dense{ out = 4 }, lip.maxmin(), lip.dense{ out = 3 } }, seed)
    each(lip.net{ input = 7, norm = norm, seed = seed, budget = 0.1 * seed, lip.dense{ out = 6 }, lip.relu(),
      lip.dense{ out = 3 } }, seed)
  end
end

local function last_number(line)
  return tonumber(line:match "(%S+)%s*$")
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

function tests.test_nets_and_bounds()
  local cut = 0
  nets(function(net)
    local bound = net:bound{ method = "best", lower = true }
    local lines = lines_of(tostring(bound))
    for i, layer in ipairs(bound.layers) do
      local upper = tonumber(lines[i + 1]:match "%->%S+%s+(%S+)")
      lu.assertTrue(upper >= layer.upper and upper <= layer.upper * (1 + 1e-7), lines[i + 1])
      if upper ~= layer.upper then cut = cut + 1 end
    end
    local total = lines[#bound.layers + 2]
    lu.assertTrue(tonumber(total:match "%->%S+%s+(%S+)") >= bound.upper, total)
    local lower = tonumber(tostring(bound):match "attained from below: (%S+)")
    lu.assertTrue(lower <= bound.lower and lower >= bound.lower * (1 - 1e-7))
    for i, tried in ipairs(bound.tried) do
      local shown = tostring(bound):match("\n%s+" .. tried.method .. "%s+(%S+)")
      lu.assertTrue(field.number(shown) >= tried.upper, i)
    end
    lines = lines_of(tostring(net))
    local product = net:bound()
    for i, layer in ipairs(product.layers) do
      lu.assertTrue(last_number(lines[i + 1]) >= layer.upper, lines[i + 1])
    end
    lu.assertTrue(last_number(lines[#lines]) >= product.upper, lines[#lines])
  end)
  lu.assertTrue(cut > 20)
end

function tests.test_the_float32_number_0_1()
  local net = lip.net{ input = 1, norm = "inf", lip.dense{ out = 1 } }
  net:weights(1):fill(0.1)
  lu.assertEquals(net:bound().upper, 0.10000000149011612)
  lu.assertStrContains(tostring(net:bound()), " 0.100000002 ")
  lu.assertStrContains(tostring(net), " 0.10000001")
end

function tests.test_results_of_runs_by_name()
  for i = 1, 2000 do
    local v = (math.random() + 0.01) * 10 ^ math.random(-6, 8)
    for _, name in ipairs { "bound", "row.bound", "upper", "bound_at_2" } do
      lu.assertTrue(tonumber(text_table.number(v, name)) >= v, name)
      lu.assertTrue(field.shown(name, v, i % 15 + 1) >= v)
    end
    for _, name in ipairs { "lower", "row.certified@0.1", "certified@8/255", "radius", "mean_radius", "verified" } do
      lu.assertTrue(tonumber(text_table.number(v, name)) <= v, name)
      lu.assertTrue(field.shown(name, v, i % 15 + 1, true) <= v)
    end
    for _, name in ipairs { "loss", "config.bound", "unbound", "seconds" } do
      lu.assertEquals(field.shown(name, v, 3), v)
    end
    local best = view.best({ value = v, number = 1, config = {} }, "bound")
    lu.assertTrue(tonumber(best:match "= (%S+)") >= v, best)
  end
end

function tests.test_columns_of_equal_decimals()
  local rows, columns = {}, {}
  for i = 1, 50 do rows[i] = { bound = 1 + math.random(), lower = math.random(), loss = math.random() } end
  for i, name in ipairs { "bound", "lower" } do
    columns[i] = { title = name, name = name, get = function(row) return row[name] end }
  end
  local up, down = text_table.cells(columns[1], rows), text_table.cells(columns[2], rows)
  for i, row in ipairs(rows) do
    lu.assertTrue(tonumber(up[i]) >= row.bound and tonumber(down[i]) <= row.lower)
    lu.assertEquals(#up[i], #up[1])
  end
end

function tests.test_rounding_asked_for()
  lu.assertEquals(lip.round_up(0.10000000149, 3), 0.101)
  lu.assertEquals(lip.round_down(0.10000000149, 3), 0.1)
  lu.assertEquals(lip.round_up(2, 3), 2.0)
  lu.assertEquals(lip.round_up(12.341, 2, true), 12.35)
  lu.assertEquals(lip.round_down(-12.341, 2, true), -12.35)
  lu.assertEquals(lip.round_up(math.huge, 3), math.huge)
  lu.assertErrorMsgContains("number expected", lip.round_up, "x", 3)
  lu.assertErrorMsgContains("expected 1 to 15 digits", lip.round_up, 1, 0)
  lu.assertErrorMsgContains("expected 0 to 15 decimals", lip.round_down, 1, 16, true)
end

return tests
