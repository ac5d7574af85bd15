-- Descriptions of sweeps: what is accepted, what is refused and with which words, the order of configurations.
local lu = require "luaunit"
local lip = require "lip"
local space = require "lip.sweep.space"
local view = require "lip.sweep.view"

local tests = {}

local function refused(words, ...)
  lu.assertErrorMsgContains(words, ...)
end

function tests.test_logspace()
  lu.assertEquals(lip.logspace(0.5, 64, 8), { 0.5, 1, 2, 4, 8, 16, 32, 64 })
  local list = lip.logspace(0.3, 7, 5)
  lu.assertTrue(list[1] == 0.3 and list[5] == 7)
  for i = 2, 5 do lu.assertAlmostEquals(list[i] / list[i - 1], (7 / 0.3) ^ 0.25, 1e-10) end
  local down = lip.logspace(100, 1, 3)
  lu.assertEquals(down, { 100, 10, 1 })
  lu.assertEquals(lip.logspace(3, 3, 1), { 3 })
  refused("above 0", lip.logspace, 0, 1, 3)
  refused("above 0", lip.logspace, 1, math.huge, 3)
  refused("whole number", lip.logspace, 1, 2, 1)
  refused("whole number", lip.logspace, 1, 2, 2.5)
end

function tests.test_the_order_of_a_grid()
  local grid = space.check_grid { norm = { 1, "inf" }, budget = { 4, 2 }, depth = 3 }
  local list = space.grid(grid)
  lu.assertEquals(list, {
    { budget = 4, depth = 3, norm = 1 }, { budget = 4, depth = 3, norm = "inf" },
    { budget = 2, depth = 3, norm = 1 }, { budget = 2, depth = 3, norm = "inf" } })
  lu.assertEquals(space.grid(space.check_grid { widths = { { 64, 32 }, { 16 } } }),
    { { widths = { 64, 32 } }, { widths = { 16 } } })
end

function tests.test_the_house_example()
  local sweep = lip.sweep { script = "x.lua",
    grid = { norm = { 1, 2, "inf" }, budget = lip.logspace(0.5, 64, 8), seed = { 1, 2, 3 } },
    maximise = "certified@0.1", scheduler = lip.asha { resource = "epoch", min = 1, max = 30, eta = 3 } }
  local list = space.grid(sweep.search.space)
  lu.assertEquals(#list, 72)
  lu.assertEquals(list[1], { budget = 0.5, norm = 1, seed = 1 })
  lu.assertEquals(list[2], { budget = 0.5, norm = 1, seed = 2 })
  lu.assertEquals(list[72], { budget = 64, norm = "inf", seed = 3 })
  lu.assertEquals(tostring(sweep), "sweep of x.lua over a grid")
end

function tests.test_infinity_is_a_word()
  lu.assertEquals(space.check_grid { eps = { 1, math.huge, -math.huge } }.eps, { 1, "inf", "-inf" })
  lu.assertEquals(math.type(space.check_grid { n = { 2.0 } }.n[1]), "integer")
end

-- a longer sweep begins like a shorter one, and other seeds give other points
function tests.test_random_and_sobol()
  local given = space.check({ lr = lip.loguniform(1e-4, 1), width = lip.integer(1, 9), norm = { 1, "inf" } }, "random")
  for _, draw in ipairs { space.random, space.sobol } do
    local short, long = draw(given, 7, 1), draw(given, 40, 1)
    lu.assertEquals(table.move(long, 1, 7, 1, {}), short)
    lu.assertNotEquals(draw(given, 7, 2), short)
    local seen = {}
    for _, config in ipairs(long) do
      lu.assertTrue(config.lr >= 1e-4 and config.lr <= 1)
      lu.assertTrue(config.width >= 1 and config.width <= 9 and math.type(config.width) == "integer")
      local text = lip.to_json(config)
      lu.assertNil(seen[text])
      seen[text] = true
    end
  end
end

function tests.test_finite_spaces()
  local given = space.check({ a = { 1, 2, 3 }, b = lip.integer(0, 1) }, "random")
  lu.assertEquals(space.count(given), 6)
  lu.assertEquals(#space.random(given, 6, 1), 6)
  refused("6 different configurations", space.random, given, 7, 1)
end

function tests.test_keys_and_seeds()
  local function key(config) return space.key { script = "abc", config = config } end
  lu.assertEquals(#key { a = 1 }, 16)
  lu.assertTrue(key { a = 1 }:find "^%x+$" ~= nil)
  lu.assertEquals(key { a = 1, b = "x" }, key { b = "x", a = 1.0 })
  lu.assertNotEquals(key { a = 1 }, key { a = "1" })
  -- independent of this file: sha256 of {"config":{"a":1},"script":"abc"}
  local pipe <close> = io.popen [[printf '%s' '{"config":{"a":1},"script":"abc"}' | sha256sum]]
  lu.assertEquals(key { a = 1 }, pipe:read "a":sub(1, 16))
  lu.assertEquals(space.seed({ seed = 7 }, "00"), 7)
  lu.assertEquals(space.seed({}, "00000010ffffffff"), 16)
  refused("seed", space.seed, { seed = -1 }, "00")
  refused("seed", space.seed, { seed = "x" }, "00")
end

function tests.test_what_is_refused()
  local function no(words, given) refused(words, lip.sweep, given) end
  local grid = { a = { 1 } }
  no("did you mean 'grid'", { script = "x", gird = grid })
  no("either script", { grid = grid })
  no("either script", { script = "x", run = print, grid = grid })
  no("nothing to try", { script = "x" })
  no("one of them at a time", { script = "x", grid = grid, list = { {} } })
  no("needs n", { script = "x", random = { a = lip.uniform(0, 1) } })
  no("n belongs to", { script = "x", grid = grid, n = 3 })
  no("seed belongs to", { script = "x", grid = grid, seed = 3 })
  no("ahead belongs to", { script = "x", grid = grid, ahead = 3 })
  no("grid.a: an empty list", { script = "x", grid = { a = {} } })
  no("grid.a: a grid needs a list", { script = "x", grid = { a = lip.uniform(0, 1) } })
  no("grid.a: NaN", { script = "x", grid = { a = { 0 / 0 } } })
  no("grid.a: expected a number", { script = "x", grid = { a = { print } } })
  no("grid.a", { script = "x", grid = { a = { x = 1 } } })
  no("settings have names", { script = "x", grid = { ["a b"] = { 1 } } })
  no("at least one entry", { script = "x", grid = {} })
  no("more than", { script = "x", grid = { a = lip.logspace(1, 2, 10000), b = lip.logspace(1, 2, 10000) } })
  no("list[2].a", { script = "x", list = { { a = 1 }, { a = { { 1 } } } } })
  no("maximise and minimise", { script = "x", grid = grid, maximise = "a", minimise = "b" })
  no("scheduler needs", { script = "x", grid = grid, scheduler = lip.asha { max = 3 } })
  no("tpe needs maximise", { script = "x", tpe = { a = lip.uniform(0, 1) }, n = 3 })
  no("scheduler expects", { script = "x", grid = grid, maximise = "a", scheduler = "asha" })
  no("name", { script = "x", grid = grid, name = "../x" })
  no("retries", { script = "x", grid = grid, retries = -1 })
  no("set is for scripts", { run = print, grid = grid, set = { a = 1 } })
  no("figure", { script = "x", grid = grid, figure = "a.svg" })
  no("run expects", { run = "x", grid = grid })
  refused("expects a table", lip.sweep, "x.lua")
  refused("lip.uniform", lip.uniform, 2, 1)
  refused("lip.loguniform", lip.loguniform, 0, 1)
  refused("lip.integer", lip.integer, 0.5, 1)
  refused("lip.choice", lip.choice, {})
end

-- ---- what is shown ----

function tests.test_durations()
  for seconds, text in pairs { [0.04] = "0.0 s", [9.9] = "9.9 s", [59.4] = "59 s", [59.6] = "1:00", [3599] = "59:59",
    [3600] = "1:00:00", [200000] = "2 d 07 h", [math.huge] = "?" } do
    lu.assertEquals(view.duration(seconds), text)
  end
end

local function state()
  return { counts = { done = 13, failed = 2, pruned = 0, running = 2, queued = 55 }, total = 72, left = 250,
    goal = "clean", best = { value = 0.98765432, number = 12, config = { budget = 4, name = "a\27[31m" } },
    workers = { { number = 5, config = { budget = 2 }, seconds = 70, step = 20, total = 30, first = 10, since = 60 },
      { number = 7, config = { budget = 8, widths = { 64, 32 } }, seconds = 3 } } }
end

function tests.test_lines_of_a_terminal()
  local lines = view.lines(state(), 100)
  lu.assertEquals(lines[1], "     5  [###########.....] 20/30  1:00 left  budget=2")
  lu.assertEquals(lines[2], "     7  3.0 s  budget=8 widths=64,32")
  lu.assertEquals(lines[3], "13 of 72 done, 2 failed, 2 running  4:10 left")
  lu.assertEquals(lines[4], "best: clean = 0.98765  trial 12  budget=4 name=a?[31m")
  for columns = 1, 60 do
    for _, text in ipairs(view.lines(state(), columns)) do
      lu.assertTrue(utf8.len(text) <= columns, columns .. ": " .. text)
      lu.assertNil(text:find "%c")
    end
  end
  lu.assertEquals(view.cut("äöüßé", 4), "ä...")
  lu.assertEquals(view.cut("a\xff\xfeb", 10), "a??b")
end

-- what is written, and a clock
local function recorder(columns)
  local r = { text = "", time = 0 }
  r.view = view.new { columns = function() return columns end, now = function() return r.time end,
    out = { write = function(_, text) r.text = r.text .. text end, flush = function() end } }
  return r
end

function tests.test_never_more_than_ten_drawings_a_second()
  local r, drawn = recorder(80), 0
  for i = 0, 999 do
    r.time = i / 1000
    if r.view:draw(state()) then drawn = drawn + 1 end
  end
  lu.assertTrue(drawn >= 9 and drawn <= 10, tostring(drawn))
  local _, moves = r.text:gsub("\27%[4A\r\27%[J", "")
  lu.assertEquals(moves, drawn - 1)
  r.view:say("trial %d failed", 3)
  lu.assertStrContains(r.text, "\27[4A\r\27[Jtrial 3 failed\n")
  r.view:draw(state())
  r.view:close()
  lu.assertEquals(r.text:sub(-8), "\27[4A\r\27[J")
end

function tests.test_many_workers_fit_a_terminal()
  local s = state()
  for i = 1, 100 do s.workers[i] = { number = i, config = {}, seconds = 1 } end
  lu.assertTrue(#view.lines(s, 80) <= 20)
end

function tests.test_without_a_terminal()
  local r = recorder(nil)
  lu.assertFalse(r.view:draw(state()))
  r.view:say "done 3"
  r.view:close()
  lu.assertEquals(r.text, "done 3\n")
end

return tests
