-- The experiments on images run from start to end on few drawn digits, and their results are possible: no more
-- certified than recognised, no more at a larger radius, an interval for the constant that is not empty.
local lu = require "luaunit"
local lip = require "lip"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local root = here .. "/../.."

local outside = require "support_program"
local program, quote, run = outside.program, outside.quote, outside.run

local function list(pattern)
  local paths = {}
  for path in run("ls " .. quote(root) .. "/experiments/" .. pattern):gmatch "[^\n]+" do paths[#paths + 1] = path end
  return paths
end

local scripts, mnist = list "*.lua", list "mnist_*.lua" -- those on images share their settings and their result row

-- What the head comment must hold: how to run it, and what to expect.
local function head_of(path)
  local lines = {}
  for line in io.lines(path) do
    if not line:find "^%-%-" then break end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

-- Result rows as { name=, clean=, certified = {...}, lower=, upper= }.
local function results(text)
  local rows = {}
  for line in text:gmatch "result: ([^\n]+)" do
    local row = { name = line:match "^[^,]+", clean = tonumber(line:match "clean ([%d.]+) %%"), certified = {} }
    for percent, eps in line:gmatch "([%d.]+) %% at ([%d.]+)" do
      row.certified[#row.certified + 1] = { eps = tonumber(eps), percent = tonumber(percent) }
    end
    row.lower, row.upper = line:match "constant in %[([%d.e+-]+), ([%d.e+-]+)%]"
    row.lower, row.upper = tonumber(row.lower), tonumber(row.upper)
    rows[#rows + 1] = row
  end
  return rows
end

local function check_row(row, what)
  lu.assertEquals(row.name, "digits", what)
  lu.assertTrue(row.clean >= 0 and row.clean <= 100, what)
  lu.assertTrue(#row.certified > 0, what .. ": no certified accuracy")
  local last = { eps = 0, percent = row.clean }
  for _, at in ipairs(row.certified) do
    lu.assertTrue(at.eps > last.eps, what .. ": radii grow")
    lu.assertTrue(at.percent >= 0 and at.percent <= last.percent, what .. ": a larger radius certifies no more")
    last = at
  end
  lu.assertTrue(row.lower >= 0 and row.lower <= row.upper and row.upper > 0, what .. ": an interval for the constant")
end

local tests = {}

function tests.test_there_are_experiments()
  lu.assertTrue(#mnist >= 3 and #scripts >= #mnist)
end

function tests.test_heads_say_how_to_run_and_what_to_expect()
  for _, path in ipairs(scripts) do
    local head, name = head_of(path), path:match "[^/]*$"
    lu.assertStrContains(head, "?", false, path .. " asks nothing")
    lu.assertStrContains(head, "experiments/" .. name)
    lu.assertStrContains(head, "Expected")
  end
end

local small = { epochs = "1", limit = "1000", data = "digits", plot = "" }

-- What a script would take too long with.
local smaller = { mnist_certified = { width = "32", seconds = "1" } }

-- Runs a script on little data, with further settings; the text it printed. A setting it does not have is an error.
local function run_small(path, settings)
  local further = {}
  for key, value in pairs(smaller[path:match "([^/]*)%.lua$"] or {}) do further[key] = value end
  for key, value in pairs(settings) do further[key] = value end
  local command = ("LIPWB_OFFLINE=1 LIPWB_GC_STRESS=0 %s --threads 1 %s"):format(quote(program), quote(path))
  for key, value in pairs(small) do
    command = command .. (" --set %s=%s"):format(key, quote(further[key] or value))
  end
  for key, value in pairs(further) do
    if not small[key] then command = command .. (" --set %s=%s"):format(key, quote(value)) end
  end
  local text, ok = run(command .. " 2>&1")
  lu.assertTrue(ok, path .. ": " .. text)
  return text
end

function tests.test_every_experiment_on_images_gives_a_possible_result()
  for _, path in ipairs(mnist) do
    local rows = results(run_small(path, {}))
    lu.assertEquals(#rows, 1, path .. " prints one result")
    check_row(rows[1], path)
  end
end

function tests.test_projections_side_by_side()
  local text = run_small(root .. "/experiments/mnist_linf.lua", { compare = "true" })
  local rows = results(text)
  lu.assertEquals(#rows, 3)
  for i, projection in ipairs { "euclidean", "rowwise", "radial" } do
    check_row(rows[i], projection)
    lu.assertStrContains(text, "result: digits, l_inf, " .. projection)
  end
end

function tests.test_losses_side_by_side()
  local text = run_small(root .. "/experiments/mnist_certified.lua", { compare = "0.1", limit = "300" })
  local rows = results(text)
  lu.assertEquals(#rows, 6)
  for i, loss in ipairs { "projection", "product", "recursion", "multiplier", "gloro", "emma" } do
    check_row(rows[i], loss)
    lu.assertStrContains(text, "result: digits, l_2, " .. loss)
  end
end

-- A net for each kind of weight in the list of parametrisations that serves norm 2, and for each layer that bounds itself.
function tests.test_layers_side_by_side()
  local text, ok = run(("LIPWB_OFFLINE=1 LIPWB_GC_STRESS=0 %s --threads 1 %s/experiments/layers.lua --set seconds=0 "
    .. "--set minutes=0 --set data=digits --set limit=300 --set plot= 2>&1"):format(quote(program), quote(root)))
  lu.assertTrue(ok, text)
  local rows = results(text)
  lu.assertEquals(#rows, 14)
  for _, row in ipairs(rows) do check_row(row, "layers.lua") end
  for _, w in ipairs(lip.weights()) do
    local serves = pcall(function() return lip.net{ input = 4, norm = 2, lip.dense{ out = 4, weight = w.name } } end)
    if serves then lu.assertStrContains(text, "digits, " .. w.name .. ",") end
  end
end

function tests.test_presets()
  for script, preset in pairs { mnist_linf = "robust", mnist_l2 = "far", mnist_certified = "far" } do
    local rows = results(run_small(("%s/experiments/%s.lua"):format(root, script), { preset = preset, limit = "300" }))
    lu.assertEquals(#rows, 1)
    check_row(rows[1], script .. " " .. preset)
  end
end

function tests.test_zero_or_eight()
  local text, ok = run(("LIPWB_OFFLINE=1 LIPWB_GC_STRESS=0 %s --threads 1 %s --set data=digits --set limit=6000 --set epochs=10 2>&1")
    :format(quote(program), quote(root .. "/experiments/zero_or_eight.lua")))
  lu.assertTrue(ok, text)
  local clean, first, second, last = text:match
    "result: digits 0 or 8, l_2, clean ([%d.]+) %%, ([%d.]+) %% at 0.5, ([%d.]+) %% at 1, ([%d.]+) %% at 2, median"
  clean, first, second, last = tonumber(clean), tonumber(first), tonumber(second), tonumber(last)
  lu.assertTrue(clean > 80 and clean >= first and first >= second and second >= last and last >= 0, text)
  lu.assertTrue(tonumber(text:match "distance at least ([%d.]+)") > 0)
end

function tests.test_figure_is_drawn()
  if not os.execute "command -v gnuplot >/dev/null 2>&1" then lu.skip "gnuplot is not installed" end
  local file = os.tmpname()
  os.remove(file)
  local function drawn(path, settings)
    settings.plot, settings.limit = file .. ".svg", "300"
    lu.assertStrContains(run_small(path, settings), "figure: " .. file .. ".svg")
    local svg = assert(io.open(file .. ".svg", "rb"))
    lu.assertStrContains(svg:read "a", "</svg>")
    svg:close()
    os.remove(file .. ".svg")
  end
  for _, path in ipairs(mnist) do drawn(path, {}) end
  for _, show in ipairs { "images", "bounds", "weights", "singular" } do
    drawn(root .. "/experiments/mnist_l2.lua", { show = show })
  end
end

-- A sweep of six trials on few digits: a row for each, nothing certified that the attack breaks, and the figure.
function tests.test_sweep_of_budgets()
  local folder = assert(lip.file.temporary())
  local draws = os.execute "command -v gnuplot >/dev/null 2>&1"
  local store, figure = folder .. "/runs.db", draws and "--plot " .. quote(folder .. "/budget.svg") or ""
  local text, ok = run(("LIPWB_OFFLINE=1 LIPWB_GC_STRESS=0 %s sweep %s/experiments/sweep_budget.lua -j 2 --threads 1 "
    .. "--store %s %s --set quick=true --set data=digits --set train=300 --set points=40 --set seeds=1 --set budgets=2 "
    .. "2>&1"):format(quote(program), quote(root), quote(store), figure))
  lu.assertTrue(ok, text)
  lu.assertStrContains(text, "6 of 6 done")
  local opened <close> = assert(require "lip.sweep.store".open(store, { readonly = true }))
  local records = opened:trials { sweep = "budget_quick" }
  lu.assertEquals(#records, 6)
  for _, r in ipairs(records) do
    local row = r.row
    lu.assertEquals(row.data, "digits")
    lu.assertTrue(0 <= row.certified and row.certified <= row.attacked)
    lu.assertTrue(row.attacked <= row.clean and row.clean <= 1)
    lu.assertTrue(row.lower <= row.bound and row.bound <= r.config.budget * (1 + 1e-6))
  end
  if draws then
    local svg = assert(lip.file.read(folder .. "/budget.svg"))
    for _, words in ipairs { "norm 1", "norm 2", "norm inf", "certified", "attacked" } do
      lu.assertStrContains(svg, words)
    end
  end
  assert(lip.file.remove_tree(folder))
end

-- In a trial of a sweep the figure of a script lies in the trial's folder, and the row is the script's.
function tests.test_a_trial_draws_into_its_folder()
  lu.skipIf(not os.execute "command -v gnuplot >/dev/null 2>&1", "gnuplot is not installed")
  local folder = assert(lip.file.temporary())
  assert(lip.file.write(folder .. "/two.lua", [[return require "lip".sweep{ script = "cubic_1d.lua",
    list = {{ epochs = 2, plot = "fit.svg" }, { epochs = 3, plot = "" }} }]]))
  local text, ok = run(("cd %s/experiments && LIPWB_GC_STRESS=0 %s sweep %s/two.lua -j 1 --store %s/runs.db 2>&1"):format(
    quote(root), quote(program), quote(folder), quote(folder)))
  lu.assertTrue(ok, text)
  local opened <close> = assert(require "lip.sweep.store".open(folder .. "/runs.db", { readonly = true }))
  local records = opened:trials { sweep = "two" }
  lu.assertEquals(#records, 2)
  for i, r in ipairs(records) do
    lu.assertTrue(r.row.bound <= 2.001 and r.row.loss > 0)
    lu.assertEquals(lip.file.exists(opened:folder(r) .. "/fit.svg"), i == 1)
    local noted = 0
    for _, line in ipairs(require "lip.sweep.journal".read(opened:folder(r))) do
      noted = noted + (line.event == "file" and line.kind == "figure" and line.path == "fit.svg" and 1 or 0)
    end
    lu.assertEquals(noted, i == 1 and 1 or 0)
  end
  assert(lip.file.remove_tree(folder))
end

function tests.test_an_unknown_data_set_is_refused()
  local ok, message = pcall(lip.data.main_dataset, { set = "letters" })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "no set 'letters' (known: any, digits, fashion-mnist, mnist)")
  local train, test, name = lip.data.main_dataset { set = "digits", limit = 20 }
  lu.assertEquals({ #train, #test, name }, { 20, 20, "digits" })
end

return tests
