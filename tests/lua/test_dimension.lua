-- Dimensions of a search space: the unit interval laid over numbers, whole numbers and choices, and what is refused.
local lu = require "luaunit"
local dimension = require "lip.sweep.dimension"

local tests = {}

local described = {
  { kind = "uniform", low = -2, high = 3 }, { kind = "loguniform", low = 1e-5, high = 10 },
  { kind = "integer", low = -3, high = 7 }, { kind = "integer", low = 1, high = 1000, log = true },
  { kind = "choice", values = { 1, 2, "inf", true } }, { kind = "uniform", low = 4, high = 4 },
  { kind = "integer", low = 5, high = 5 },
}

function tests.test_values_and_positions_belong_together()
  for _, given in ipairs(described) do
    local d = dimension.check(given)
    for k = 0, 500 do
      local v = dimension.from_unit(d, k / 500)
      local u, from, to = dimension.to_unit(d, v), dimension.cell(d, v)
      lu.assertTrue(u >= 0 and u <= 1 and from <= u and u <= to)
      if dimension.count(d) < math.huge then
        lu.assertEquals(dimension.from_unit(d, u), v)
        lu.assertTrue(from - 1e-12 <= k / 500 and k / 500 <= to + 1e-12, "a value stands in its cell")
      elseif d.low < d.high then
        lu.assertAlmostEquals(u, k / 500, 1e-12)
      end
    end
    lu.assertEquals(dimension.from_unit(d, -1), dimension.from_unit(d, 0))
    lu.assertEquals(dimension.from_unit(d, 2), dimension.from_unit(d, 1))
  end
end

function tests.test_ends_are_exact()
  for _, d in ipairs(described) do
    if d.low then
      lu.assertTrue(dimension.from_unit(d, 0) == d.low)
      lu.assertTrue(dimension.from_unit(d, 1) == d.high)
    end
  end
end

function tests.test_types()
  lu.assertEquals(math.type(dimension.from_unit(dimension.check(described[3]), 0.4)), "integer")
  lu.assertEquals(math.type(dimension.from_unit(dimension.check(described[4]), 0.4)), "integer")
  lu.assertEquals(math.type(dimension.from_unit({ kind = "uniform", low = 0, high = 1 }, 0)), "float")
end

-- cells of whole numbers and choices cover the interval without gap, in order
function tests.test_cells_cover_the_interval()
  for _, i in ipairs { 3, 4 } do
    local d, reached = dimension.check(described[i]), 0
    for v = d.low, d.high do
      local from, to = dimension.cell(d, v)
      lu.assertAlmostEquals(from, reached, 1e-12)
      lu.assertTrue(to > from)
      reached = to
    end
    lu.assertAlmostEquals(reached, 1, 1e-12)
  end
end

function tests.test_a_logarithm_is_spread_evenly()
  lu.assertAlmostEquals(dimension.from_unit({ kind = "loguniform", low = 0.01, high = 100 }, 0.5), 1, 1e-12)
  local d, below = dimension.check { kind = "integer", low = 1, high = 99, log = true }, 0
  for k = 0, 999 do below = below + (dimension.from_unit(d, (k + 0.5) / 1000) < 10 and 1 or 0) end
  lu.assertEquals(below, 500) -- 1 to 9 and 10 to 99 are one decade each
end

function tests.test_short_forms()
  lu.assertEquals(dimension.check { 1, "a" }, { kind = "choice", values = { 1, "a" } })
  lu.assertEquals(dimension.check(3), { kind = "choice", values = { 3 } })
  lu.assertEquals(dimension.check(false), { kind = "choice", values = { false } })
  local names, dimensions = dimension.space { b = { 1, 2 }, a = { kind = "uniform", low = 0, high = 1 } }
  lu.assertEquals(names, { "a", "b" })
  lu.assertEquals(dimensions[1].kind, "uniform")
end

function tests.test_the_description_is_copied()
  local values = { 1, 2 }
  local d = dimension.check { kind = "choice", values = values }
  values[1] = 7
  lu.assertEquals(d.values, { 1, 2 })
end

function tests.test_foreign_values_have_no_place()
  lu.assertNil(dimension.to_unit(described[1], 4))
  lu.assertNil(dimension.to_unit(described[1], "1"))
  lu.assertNil(dimension.to_unit(described[1], 0 / 0))
  lu.assertNil(dimension.to_unit(described[3], 0.5))
  lu.assertNil(dimension.to_unit(described[5], 3))
  lu.assertAlmostEquals(dimension.to_unit(described[5], 2.0), 0.375, 1e-15)
end

function tests.test_what_is_refused()
  local function refused(value, text)
    lu.assertErrorMsgContains(text, dimension.check, value, "rate")
    lu.assertErrorMsgContains("rate: ", dimension.check, value, "rate")
  end
  refused({ kind = "integer", low = 0, high = math.maxinteger }, "up to 2^53")
  refused({ kind = "integer", low = math.mininteger, high = 0 }, "up to 2^53")
  refused({ kind = "uniform", low = -1e308, high = 1e308 }, "too wide")
  refused({ kind = "normal", low = 0, high = 1 }, "unknown kind 'normal'")
  refused({ kind = "uniform", low = 1, high = 0 }, "the smaller first")
  refused({ kind = "uniform", low = 1 }, "two finite numbers")
  refused({ kind = "uniform", low = 0, high = math.huge }, "two finite numbers")
  refused({ kind = "uniform", low = 0 / 0, high = 1 }, "two finite numbers")
  refused({ kind = "uniform", low = 0, high = 1, step = 2 }, "unknown field 'step'")
  refused({ kind = "uniform", low = 1, high = 2, log = true }, "take loguniform")
  refused({ kind = "loguniform", low = 0, high = 1 }, "above 0")
  refused({ kind = "integer", low = 0, high = 4, log = true }, "above 0")
  refused({ kind = "integer", low = 0.5, high = 4 }, "whole numbers")
  refused({ kind = "choice", values = {} }, "list of values")
  refused({ kind = "choice", values = { 1, 1.0 } }, "twice")
  refused({ kind = "choice", values = { {} } }, "numbers, texts and booleans only")
  refused({ kind = "choice", values = { 1 }, low = 1 }, "neither low")
  refused({}, "list of values")
  refused({ low = 1 }, "the key low")
  refused(nil, "got nil")
  refused(0 / 0, "got NaN")
  lu.assertErrorMsgContains("at least one entry", dimension.space, {})
  lu.assertErrorMsgContains("have names", dimension.space, { 3 })
  lu.assertErrorMsgContains("is NaN", dimension.from_unit, described[1], 0 / 0)
end

return tests
