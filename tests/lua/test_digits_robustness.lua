-- The study of digits and constants runs from start to end on few drawn digits, and its figures are possible: counts
-- make up the test set, a larger change proves no more, what is proved survives the attack, bounds are kept.
local lu = require "luaunit"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."

local outside = require "support_program"
local program, quote, run = outside.program, outside.quote, outside.run

-- The text of a run on 120 + 40 digits, with further settings.
local function study(settings)
  local command = ("LIPWB_OFFLINE=1 LIPWB_GC_STRESS=0 %s --threads 1 %s --set data=digits --set samples=160"):format(
    quote(program), quote(here .. "/../../experiments/digits_robustness.lua"))
  for name, value in pairs(settings) do command = command .. (" --set %s=%s"):format(name, quote(value)) end
  local text, ok = run(command .. " 2>&1")
  lu.assertTrue(ok, text)
  return text
end

-- { { budget =, reached =, clean =, attacked =, in_fact =, counts = { {verified, violated, unproven}, ... } }, ... }
local function parse(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do
    local row = rows[#rows]
    local budget, reached = line:match "^constant at most (%S+): reached (%S+)"
    if budget then rows[#rows + 1] = { budget = tonumber(budget), reached = tonumber(reached), counts = {} } end
    local clean, attacked, in_fact = line:match "clean ([%d.]+) .* attacked ([%d.]+) .* in fact ([%d.]+) %%"
    if clean then row.clean, row.attacked, row.in_fact = tonumber(clean), tonumber(attacked), tonumber(in_fact) end
    local size, verified, violated, unproven = line:match "^  %+%-(%d) +(%d+) +%S+ +(%d+) +(%d+)$"
    if size then row.counts[tonumber(size)] = { tonumber(verified), tonumber(violated), tonumber(unproven) } end
  end
  return rows
end

local function check(rows)
  for _, row in ipairs(rows) do
    lu.assertTrue(row.reached > 0 and row.reached <= row.budget)
    lu.assertTrue(row.attacked <= row.clean and row.in_fact <= row.clean)
    lu.assertEquals(#row.counts, 5)
    local last = { 40, 0, 0 }
    for _, count in ipairs(row.counts) do
      lu.assertEquals(count[1] + count[2] + count[3], 40)
      lu.assertTrue(count[1] <= last[1], "a larger change proves no more")
      lu.assertTrue(count[2] >= last[2], "and breaks no less")
      lu.assertTrue(count[1] <= 0.4 * row.clean + 1e-9, "what is wrong is not verified")
      last = count
    end
  end
end

local tests = {}

-- The study is a program of its own, which the collector of this one does not touch: one run of it is enough.
local function not_twice()
  lu.skipIf(os.getenv "LIPWB_GC_STRESS" == "1", "the study is a program of its own: the plain run is the same")
end

function tests.test_a_small_study()
  not_twice()
  local rows = parse(study { budgets = "16,4", epochs = "30", plot = "" })
  lu.assertEquals(#rows, 2)
  lu.assertEquals({ rows[1].budget, rows[2].budget }, { 16, 4 })
  check(rows)
  lu.assertTrue(rows[1].clean > 20, "it learns: one in ten is chance")
end

function tests.test_other_starts_and_nets()
  not_twice()
  for _, settings in ipairs { { start = "0" }, { rectified = "false" }, { projection = "euclidean" } } do
    settings.budgets, settings.epochs, settings.plot = "8", "2", ""
    local rows = parse(study(settings))
    lu.assertEquals(#rows, 1)
    check(rows)
    if settings.start then lu.assertAlmostEquals(rows[1].reached, 8, 0.5) end -- orthogonal weights reach any budget
  end
end

function tests.test_figure_is_drawn()
  if not os.execute "command -v gnuplot >/dev/null 2>&1" then lu.skip "gnuplot is not installed" end
  local file = os.tmpname()
  os.remove(file)
  local text = study { budgets = "16,4", epochs = "2", plot = file .. ".svg" }
  lu.assertStrContains(text, "figure: " .. file .. ".svg")
  local svg = assert(io.open(file .. ".svg", "rb"))
  lu.assertStrContains(svg:read "a", "attacked, published")
  svg:close()
  os.remove(file .. ".svg")
end

return tests
