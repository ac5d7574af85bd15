-- Looking at runs, the parts that need no store: conditions, values by name, tables, groups, fronts.
local lu = require "luaunit"
local lip = require "lip"
local field = require "lip.runs.field"
local group = require "lip.runs.group"
local pareto = require "lip.runs.pareto"
local records = require "lip.runs.records"
local text_table = require "lip.runs.table"
local where = require "lip.runs.where"

local run = { id = 7, sweep = "budgets", number = 3, key = "0123456789abcdef", state = "done", seed = 5,
    seconds = 12.5,
  config = { norm = "inf", budget = 2, quick = true, widths = { 64, 32 }, seconds = 3, ["odd name"] = 1 },
  row = { clean = 97.5, ["certified@0.1"] = 88, ["certified@8/255"] = 70, bound = "inf", loss = "nan",
    norm = "other" } }

local function holds(text)
  local test, message = where.compile(text)
  lu.assertNotNil(test, message)
  return test(run)
end

local TestWhere = {}

function TestWhere.test_comparisons()
  for text, expected in pairs {
    ['norm = "inf"'] = true, ["norm = 'inf'"] = true, ['norm == "inf"'] = true, ['norm ~= "inf"'] = false,
    ['norm != "inf"'] = false, ["norm = inf"] = true, ["norm = 2"] = false, ["norm ~= 2"] = true,
    ["norm > 1e300"] = true,    ["budget = 2"] = true, ['budget = "2"'] = true, ["budget < 2"] = false,
    ["budget <= 2"] = true,
    ["budget>1.5"] = true,    ["budget >= 2.0"] = true, ["2 = budget"] = true, ["1 < budget"] = true,
    ["budget < -1"] = false,
    ["budget>-1"] = true,    ["budget > 1e-3"] = true, ["budget > .5"] = true, ["certified@0.1 > 80"] = true,
    ["certified@8/255 = 70"] = true,
    ["row.certified@0.1 = 88"] = true, ["clean > certified@0.1"] = true, ["row.norm = 'other'"] = true,
    ["config.norm = 'inf'"] = true, ["bound = inf"] = true, ["bound > 1e308"] = true, ["loss < 1"] = false,
    ["loss >= 1"] = false, ['loss = "nan"'] = true, ["quick"] = true, ["quick = true"] = true,
    ["quick = false"] = false,    ["nothing"] = false, ["nothing = nil"] = true, ["nothing ~= 3"] = true,
    ["nothing < 3"] = false,
    ["nothing > 3"] = false, ["clean = nil"] = false, ["state = 'done'"] = true, ["seconds = 12.5"] = true,
    ["config.seconds = 3"] = true, ["[odd name] = 1"] = true, ["[config.odd name] = 1"] = true,
    ["widths = '64,32'"] = true, ["'64,32' = widths"] = true, ["norm < 'jnf'"] = true, ["norm < 3"] = false,
    ["key = '0123456789abcdef'"] = true,
  } do
    lu.assertEquals(holds(text), expected, text)
  end
end

function TestWhere.test_and_or_not()
  for text, expected in pairs {
    ['norm = "inf" and budget < 4'] = true, ['norm = "inf" and budget > 4'] = false,
    ["budget = 3 or budget = 2"] = true, ["not budget = 2"] = false, ["not not budget = 2"] = true,
    ["not (budget = 2 and id = 8)"] = true,
    -- and binds tighter than or, not tighter than and
    ["budget = 2 or budget = 2 and id = 8"] = true, ["(budget = 2 or budget = 2) and id = 8"] = false,
    ["not id = 7 or budget = 2"] = true, ["not (id = 7 or budget = 2)"] = false, ["((id=7))and((budget=2))"] = true,
  } do
    lu.assertEquals(holds(text), expected, text)
  end
end

function TestWhere.test_texts()
  lu.assertTrue(where.compile [[a = "x\"y\\z"]] { config = { a = [[x"y\z]] } })
  lu.assertTrue(where.compile [[a = 'it\'s']] { config = { a = "it's" } })
  lu.assertTrue(where.compile [[a = "and or ()"]] { config = { a = "and or ()" } })
end

-- the message, and the column the mark stands under
local function refusal(text, ...)
  local test, message = where.compile(text, ...)
  lu.assertNil(test, text)
  local what, shown, mark = message:match "^(.-)\n  (.-)\n  ( *)%^$"
  lu.assertNotNil(what, message)
  return what, #mark + 1, shown
end

function TestWhere.test_errors_point_at_the_place()
  for text, expected in pairs {
    ["budget <"] = { 9, "expected a name or a value, got the end" }, [""] = { 1, "got the end" },
    ["budget < and 3"] = { 10, "got 'and'" }, ["budget 3"] = { 8, "expected 'and', 'or' or the end" },
    ["(budget = 3"] = { 1, "never closed" }, ["budget = 3)"] = { 11, "or the end" }, ["(a = 1 b"] = { 8, "or ')'" },
    ["a = 'x"] = { 5, "no end" }, ["1 < a < 3"] = { 7, "one comparison" }, ["a = 3x"] = { 5, "'3x' is no number" },
    ["a = 0x"] = { 5, "no number" }, ["a = #"] = { 5, "'#' does not belong" }, ["a = é"] = { 5, "this character" },
    ["[a = 3"] = { 1, "']' is missing" }, ["a = 1; os.exit()"] = { 6, "';'" }, ["f(x)"] = { 2, "expected 'and'" },
    ["not"] = { 4, "got the end" }, ["a ="] = { 4, "the end" }, ["= 3"] = { 1, "got '='" },
  } do
    local what, column = refusal(text)
    lu.assertStrContains(what, expected[2])
    lu.assertEquals(column, expected[1], text)
  end
  local what, column, shown = refusal("a = 1 and " .. ("b = 2 and "):rep(40) .. "c = ")
  lu.assertStrContains(what, "the end")
  lu.assertTrue(#shown <= 76 and column <= 77)
  lu.assertStrContains(refusal(("("):rep(150) .. "a" .. (")"):rep(150)), "levels of parentheses")
  lu.assertStrContains(refusal(("not "):rep(150) .. "a"), "levels of parentheses")
  lu.assertNotNil(where.compile(("("):rep(50) .. "a" .. (")"):rep(50)))
end

function TestWhere.test_unknown_names()
  local is_known, names = field.known { run }
  local what, column = refusal("norm = 1 and budgt < 3", is_known, names)
  lu.assertStrContains(what, "no run has a 'budgt' (did you mean 'budget'?)")
  lu.assertEquals(column, 14)
  lu.assertStrContains(refusal("row.budget = 3", is_known, names), "no run has a 'row.budget'")
  lu.assertNotNil(where.compile("config.budget = 3 and message = nil", is_known, names))
end

-- Random expressions, evaluated by Lua itself as the oracle.
function TestWhere.test_agrees_with_lua()
  local rng = lip.rng(20)
  local function pick(list) return list[1 + rng:below(#list)] end
  local function expression(depth)
    local kind = depth > 3 and 0 or rng:below(5)
    if kind <= 1 then
      local ours = ("%s %s %d"):format(pick { "a", "b", "c" }, pick { "<", "<=", ">", ">=", "=", "~=" }, rng:below(4))
      return ours, (ours:gsub(" = ", " == "))
    elseif kind == 2 then
      local x, y = expression(depth + 1)
      return "not (" .. x .. ")", "not (" .. y .. ")"
    end
    local x, y = expression(depth + 1)
    local p, q = expression(depth + 1)
    local word = pick { " and ", " or " }
    if rng:below(2) == 0 then return x .. word .. p, y .. word .. q end
    return "(" .. x .. ")" .. word .. p, "(" .. y .. ")" .. word .. q
  end
  for _ = 1, 300 do
    local ours, lua = expression(0)
    local test = assert(where.compile(ours))
    for _ = 1, 5 do
      local values = { a = rng:below(4), b = rng:below(4), c = rng:below(4) }
      lu.assertEquals(test { config = values }, load("return " .. lua, "oracle", "t", values)(), ours)
    end
  end
end

-- Whatever is typed: a function that answers true or false, or a message that points into the text.
function TestWhere.test_any_text()
  local rng = lip.rng(21)
  local words = { "and", "or", "not", "(", ")", "=", "<", "~=", "!", "a", "certified@0.1", "1", "-1e", "0x1p", ".", "'",
    '"', "\\", "[", "]", "@", "é", "\0", "\n", "inf", "nil", "-", "budget", ",", "\xff" }
  local understood = 0
  for _ = 1, 5000 do
    local parts = {}
    for i = 1, rng:below(8) do parts[i] = words[1 + rng:below(#words)] end
    local text = table.concat(parts, rng:below(2) == 0 and " " or "")
    local test, message = where.compile(text)
    if test then
      understood = understood + 1
      lu.assertIsBoolean(test(run), text)
    else
      lu.assertStrContains(message, "^", false, text)
    end
  end
  lu.assertTrue(understood > 50)
end

local TestTable = {}

function TestTable.test_values()
  for v, expected in pairs { [0] = "0", [3] = "3", [97.123456] = "97.123", [1e-5] = "1e-5",
    [math.huge] = "inf", [-math.huge] = "-inf", [-0.25] = "-0.25", [123456] = "123456" } do
    lu.assertEquals(text_table.number(v), expected)
  end
  lu.assertEquals(text_table.number(0 / 0), "nan")
  lu.assertEquals({ text_table.number(1.5e12), text_table.number(370380001) }, { "1.5e12", "370380001" })
  for v, expected in pairs { [0] = "0.0 s", [59.94] = "59.9 s", [59.96] = "1:00", [3599.6] = "1:00:00",
    [86400] = "1 d 00:00" } do
    lu.assertEquals(text_table.duration(v), expected)
  end
  for v, expected in pairs { [0] = "0 B", [999] = "999 B", [1000] = "1.0 kB", [123456] = "123 kB",
    [999999] = "1.0 MB" } do
    lu.assertEquals(text_table.bytes(v), expected)
  end
  lu.assertEquals(text_table.plain "a\27[31mb\nc\xff", "a?[31mb?c?")
  lu.assertEquals(text_table.clip("größer als", 6), "grö...")
end

local function columns(...)
  local list = {}
  for i, name in ipairs { ... } do list[i] = { title = name, get = function(row) return row[name] end } end
  return list
end

function TestTable.test_numbers_stand_under_each_other()
  local lines = text_table.lines(columns("norm", "x", "y", "word"), {
    { norm = 1, x = 97.5, y = 1, word = "a" }, { norm = "inf", x = 8.25, y = 1e-9 },
    { norm = 2, x = math.huge, word = "ü\t" } })
  lu.assertEquals(lines, {
    "norm      x     y  word",
    "   1  97.50     1  a",
    " inf   8.25  1e-9",
    "   2    inf        ü?",
  })
end

function TestTable.test_too_narrow()
  local cols = columns("first", "second", "third", "fourth")
  cols[4].keep = true
  local rows = { { first = ("a"):rep(20), second = ("b"):rep(20), third = ("c"):rep(20), fourth = ("d"):rep(20) } }
  local lines, left_out = text_table.lines(cols, rows, 64)
  lu.assertEquals(left_out, { "third" })
  lu.assertStrContains(lines[2], "dddd")
  for width = 4, 100 do
    for _, line in ipairs((text_table.lines(cols, rows, width))) do lu.assertTrue(utf8.len(line) <= width) end
  end
end

local TestGroup = {}

function TestGroup.test_statistics()
  local mean, deviation = group.statistics { 2, 4, 4, 4, 5, 5, 7, 9 }
  lu.assertEquals(mean, 5)
  lu.assertAlmostEquals(deviation, math.sqrt(32 / 7), 1e-15)
  mean, deviation = group.statistics { 1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16 } -- the one-pass formula gives 0 or worse
  lu.assertEquals({ mean, deviation }, { 1e9 + 10, math.sqrt(30) })
  lu.assertEquals({ group.statistics { 3 } }, { 3 })
  lu.assertNil(group.statistics {})
end

local function made()
  local list = {}
  for _, norm in ipairs { 2, "inf" } do
    for budget = 1, 2 do
      for seed = 1, 3 do
        list[#list + 1] = { id = #list + 1, sweep = "s", number = #list + 1, state = "done", seconds = seed,
          config = { norm = norm, budget = budget, seed = seed, epochs = 4 },
          row = { clean = 90 + budget + seed, bound = budget == 2 and "inf" or 1, note = "text", norm = norm } }
      end
    end
  end
  return list
end

function TestGroup.test_over_seeds()
  local list = made()
  local by = group.without(list, { "seed" })
  lu.assertEquals(by, { "budget", "norm" })
  local groups = group.make(list, by)
  lu.assertEquals(#groups, 4)
  for _, g in ipairs(groups) do
    lu.assertEquals(g.n, 3)
    lu.assertEquals(g.row.clean, 92 + g.config.budget)
    lu.assertEquals(group.deviation(g, "clean"), 1)
    lu.assertEquals(group.deviation(g, "row.clean"), 1)
    lu.assertEquals({ g.seconds, group.deviation(g, "seconds") }, { 2, 1 })
    lu.assertNil(g.row.note)
    lu.assertEquals(g.row.bound, g.config.budget == 2 and math.huge or 1)
  end
  lu.assertEquals({ groups[1].config.norm, groups[2].config.norm, groups[3].config.budget }, { 2, "inf", 2 })
end

function TestGroup.test_varying_and_results()
  local list = made()
  local varying, constant = records.varying(list)
  lu.assertEquals(varying, { "budget", "norm", "seed" })
  lu.assertEquals(constant, { { "epochs", 4 } })
  lu.assertEquals(records.results(list), { "bound", "clean" }) -- norm says what the setting says, note never differs
end

function TestGroup.test_sort()
  local list = { { id = 1, row = { x = 2 } }, { id = 2, row = {} }, { id = 3, row = { x = "inf" } },
    { id = 4, row = { x = "b" } }, { id = 5, row = { x = 2 } }, { id = 6, row = { x = -1 } }, { id = 7,
    row = { x = "nan" } } }
  local function ids(...)
    local copy = table.move(list, 1, #list, 1, {})
    local order = {}
    for i, r in ipairs(records.sort(copy, { ... })) do order[i] = r.id end
    return order
  end
  lu.assertEquals(ids "x", { 6, 1, 5, 3, 4, 7, 2 })
  lu.assertEquals(ids "-x", { 3, 1, 5, 6, 7, 4, 2 })
  lu.assertEquals(ids("x", "-id"), { 6, 5, 1, 3, 4, 7, 2 })
end

local TestFront = {}

-- against the definition, point by point
function TestFront.test_front_is_what_nothing_beats()
  local rng = lip.rng(3)
  for round = 1, 200 do
    local points, n = {}, rng:below(30)
    for i = 1, n do points[i] = { rng:below(6), rng:below(6) } end
    points[n + 1], points[n + 2], points[n + 3] = { 0 / 0, 9 }, { nil, 9 }, { -math.huge, -math.huge }
    local more_x, more_y = round % 2 == 0, round % 3 == 0
    local function as_good(a, b, more) return more and a >= b or not more and a <= b end
    local expected = {}
    for i, p in ipairs(points) do
      local kept = p[1] ~= nil and p[1] == p[1]
      for _, q in ipairs(points) do
        if kept and q[1] and q[1] == q[1] and as_good(q[1], p[1], more_x) and as_good(q[2], p[2], more_y)
          and (q[1] ~= p[1] or q[2] ~= p[2]) then
          kept = false
        end
      end
      if kept then expected[#expected + 1] = i end
    end
    local front = pareto.front(points, more_x, more_y)
    for i = 2, #front do
      local a, b = points[front[i - 1]][1], points[front[i]][1]
      lu.assertTrue(more_x and a >= b or not more_x and a <= b)
    end
    table.sort(front)
    lu.assertEquals(front, expected)
  end
end

function TestFront.test_names_that_ask_for_less()
  for name, more in pairs { loss = false, bound = false, ["row.bound"] = false, clean = true,
    ["certified@0.1"] = true } do
    lu.assertEquals(records.more_is_better(name), more, name)
  end
end

return { TestWhere = TestWhere, TestTable = TestTable, TestGroup = TestGroup, TestFront = TestFront }
