-- The search by Parzen estimators: better than random draws at the same number of trials on functions whose least value
-- is known, a function of trial number and results alone, and never the same configuration twice.
local lu = require "luaunit"
local lip = require "lip"
local tpe = require "lip.sweep.tpe"
local dimension = require "lip.sweep.dimension"

local stressed = os.getenv "LIPWB_GC_STRESS" == "1"

local function range(low, high)
  return { kind = "uniform", low = low, high = high }
end

-- Functions with their least value taken off.
local problems = {
  branin = {
    space = { x = range(-5, 10), y = range(0, 15) },
    value = function(c)
      local b, k = 5.1 / (4 * math.pi ^ 2), 5 / math.pi
      local wave = 10 * (1 - 1 / (8 * math.pi)) * math.cos(c.x)
      return (c.y - b * c.x ^ 2 + k * c.x - 6) ^ 2 + wave + 10 - 0.39788735772973816
    end,
  },
  sphere = {
    space = { a = range(-1, 1), b = range(-1, 1), c = range(-1, 1), d = range(-1, 1), e = range(-1, 1) },
    value = function(c)
      local sum = 0
      for _, v in pairs(c) do sum = sum + (v - 0.3) ^ 2 end
      return sum
    end,
  },
  mixed = {
    space = { rate = { kind = "loguniform", low = 1e-5, high = 1 }, depth = { kind = "integer", low = 1, high = 8 },
      width = { kind = "integer", low = 8, high = 512, log = true }, act = { "relu", "maxmin", "abs", "tanh" } },
    value = function(c)
      return math.log(c.rate / 3e-3) ^ 2 / 4 + math.log(c.width / 128) ^ 2 / 2 + (c.depth - 3) ^ 2 / 4
        + ({ relu = 1, maxmin = 0, abs = 0.5, tanh = 2 })[c.act]
    end,
  },
}

-- The least value after n trials.
local function run(problem, n, suggest)
  local results, best = {}, math.huge
  for i = 1, n do
    local config = suggest(i, results)
    local value = problem.value(config)
    results[i] = { config = config, value = value }
    best = math.min(best, value)
  end
  return best
end

local function searching(problem, options)
  options.minimise = true
  local search = tpe(problem.space, options)
  return function(i, results) return search:suggest(i, results) end
end

local function at_random(problem, seed)
  local names, dimensions = dimension.space(problem.space)
  local rng = lip.rng(seed)
  return function()
    local config = {}
    for k, name in ipairs(names) do config[name] = dimension.from_unit(dimensions[k], rng:uniform()) end
    return config
  end
end

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

local tests = {}

function tests.test_the_known_optima_are_optima()
  lu.assertAlmostEquals(problems.branin.value { x = math.pi, y = 2.275 }, 0, 1e-9)
  lu.assertEquals(problems.sphere.value { a = 0.3, b = 0.3, c = 0.3, d = 0.3, e = 0.3 }, 0)
  lu.assertEquals(problems.mixed.value { rate = 3e-3, width = 128, depth = 3, act = "maxmin" }, 0)
end

-- 20 seeds each, as many trials for both; trials are suggested four ahead of the results, as two workers need it
for name, problem in pairs(problems) do
  tests["test_better_than_random_on_" .. name] = function()
    if stressed then lu.skip "20 searches take too long under a merciless collector" end
    local found, random, won = {}, {}, 0
    for seed = 1, 20 do
      found[seed] = run(problem, 60, searching(problem, { seed = seed }))
      random[seed] = run(problem, 60, at_random(problem, 1000 + seed))
      won = won + (found[seed] < random[seed] and 1 or 0)
    end
    lu.assertTrue(won >= 14, ("%s: better with %d of 20 seeds"):format(name, won))
    local ours, theirs = median(found), median(random)
    lu.assertTrue(ours < 0.6 * theirs, ("%s: %g, at random %g"):format(name, ours, theirs))
  end
end

-- the same search with larger values better, and with results that are worse than all of them
function tests.test_maximise_and_failures()
  local problem = problems.sphere
  local search = tpe(problem.space, { seed = 3, minimise = false })
  local least = tpe(problem.space, { seed = 3, minimise = true })
  local up, down = {}, {}
  for i = 1, 30 do
    local config = search:suggest(i, up)
    lu.assertEquals(least:suggest(i, down), config)
    local value = problem.value(config)
    if i % 7 == 0 then value = nil elseif i % 11 == 0 then value = 0 / 0 end
    up[i], down[i] = { config = config, value = value and -value }, { config = config, value = value }
  end
  -- none of the failures counts as good: with all values replaced by the worst number nothing changes
  local worst = {}
  for i, r in ipairs(down) do
    worst[i] = { config = r.config, value = r.value ~= nil and r.value == r.value and r.value or 1e300 }
  end
  lu.assertEquals(least:suggest(31, worst), least:suggest(31, down))
end

-- Only results 1 .. i - ahead count, and a search made anew (after a crash) says the same.
function tests.test_a_suggestion_depends_on_its_number_and_early_results_only()
  local problem, results, configs = problems.mixed, {}, {}
  local search = tpe(problem.space, { seed = 5, ahead = 3, minimise = true })
  for i = 1, 25 do
    configs[i] = search:suggest(i, results)
    results[i] = { config = configs[i], value = problem.value(configs[i]) }
  end
  for _, i in ipairs { 25, 3, 17, 14, 24 } do
    local early = {}
    for k = 1, i - 3 do early[k] = results[k] end
    local again = tpe(problem.space, { seed = 5, ahead = 3, minimise = true })
    lu.assertEquals(again:suggest(i, early), configs[i])
    lu.assertEquals(search:suggest(i, results), configs[i])
  end
  results[1] = { config = configs[1], value = -100 }
  local changed = search:suggest(20, results)
  lu.assertNotEquals(changed, configs[20]) -- and they do count
  results[2] = nil
  lu.assertErrorMsgContains("needs the result of trial 2", search.suggest, search, 25, results)
end

function tests.test_seeds_differ()
  local space = problems.sphere.space
  lu.assertEquals(tpe(space, { seed = 1 }):suggest(2, {}), tpe(space, { seed = 1 }):suggest(2, {}))
  lu.assertNotEquals(tpe(space, { seed = 1 }):suggest(2, {}), tpe(space, { seed = 2 }):suggest(2, {}))
end

-- a space of 24 configurations: each once, then nothing
function tests.test_a_finite_space_is_exhausted()
  local space = { a = { 1, 2, 3 }, b = { kind = "integer", low = 0, high = 3 }, c = { true, false } }
  for seed = 1, 3 do
    local search, results, seen = tpe(space, { seed = seed, startup = 6 }), {}, {}
    for i = 1, 24 do
      local config = search:suggest(i, results)
      local key = lip.to_json(config)
      lu.assertNil(seen[key], "twice: " .. key)
      seen[key] = true
      results[i] = { config = config, value = config.a - config.b + (config.c and 0.5 or 0) }
    end
    lu.assertNil(search:suggest(25, results))
    lu.assertNil(search:suggest(26, results))
  end
end

function tests.test_values_are_of_the_space()
  local problem = problems.mixed
  local names, dimensions = dimension.space(problem.space)
  run(problem, 40, function(i, results)
    local config = searching(problem, { seed = 2, candidates = 8 })(i, results)
    local count = 0
    for _ in pairs(config) do count = count + 1 end
    lu.assertEquals(count, #names)
    for k, name in ipairs(names) do lu.assertNotNil(dimension.to_unit(dimensions[k], config[name])) end
    lu.assertEquals(math.type(config.width), "integer")
    return config
  end)
end

-- single values, dimensions of one number, and more dimensions than Sobol points have
function tests.test_odd_spaces()
  local space, n = { fixed = "x", point = range(2, 2), free = range(0, 1) }, 0
  local search, results = tpe(space, { startup = 2, ahead = 1 }), {}
  for i = 1, 8 do
    local config = search:suggest(i, results)
    lu.assertEquals({ config.fixed, config.point }, { "x", 2.0 })
    results[i] = { config = config, value = config.free }
  end
  local wide = {}
  for k = 1, 40 do wide["d" .. k] = range(0, 1) end
  for _ in pairs(tpe(wide):suggest(3, {})) do n = n + 1 end
  lu.assertEquals(n, 40)
end

function tests.test_what_is_refused()
  local space = { a = range(0, 1) }
  lu.assertErrorMsgContains("unknown option 'depth'", tpe, space, { depth = 1 })
  lu.assertErrorMsgContains("'ahead' expects a whole number >= 1, got 0", tpe, space, { ahead = 0 })
  lu.assertErrorMsgContains("'gamma' expects", tpe, space, { gamma = 1 })
  lu.assertErrorMsgContains("at least one entry", tpe, {})
  lu.assertErrorMsgContains("a: unknown kind", tpe, { a = { kind = "wide" } })
end

return tests
