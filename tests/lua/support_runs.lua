-- A made-up store to look at: made(path) writes what a sweep would have written, without running anything. Numbers come
-- from formulas, so that tests know them.
local lip = require "lip"
local journal = require "lip.sweep.journal"
local store = require "lip.sweep.store"

local support = {}

support.nasty = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'> & \"quotes\""

support.figure = [[<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><script>window.broken = 1;
parent.broken = 1</script><rect width="40" height="30" fill="#0072b2"/></svg>]]

--- A fixture: setUp and tearDown of a test class, with a folder in self.folder and the name of a store in self.path.
function support.fixture(T)
  function T:setUp()
    self.folder = assert(lip.file.temporary())
    self.path = self.folder .. "/runs.db"
  end

  function T:tearDown()
    assert(lip.file.remove_tree(self.folder))
  end

  return T
end

local function key_of(text)
  return lip.sha256(text):sub(1, 16)
end

--- The row of a trial: more budget is more accurate and less certified.
function support.row(config)
  local norm = ({ [1] = 1, [2] = 2, inf = 3 })[config.norm]
  local clean = 99 - 8 / (1 + config.budget) - norm + 0.1 * config.seed
  local certified = clean - 4 * config.budget ^ 0.5 * norm ^ 0.5
  return { clean = clean, ["certified@0.1"] = certified, bound = config.budget, norm = config.norm, note = "made up" }
end

support.provenance = { git = { commit = ("ab"):rep(20), branch = "main", dirty = true }, host = "here", threads = 1,
  argv = { "lipwb", "sweep", "budgets.lua" }, kernels = "haswell", version = lip.version }

local function journal_of(s, trial, sweep, fate)
  local folder = s:folder(trial)
  assert(lip.file.mkdir(folder))
  local time = 1.7e9 + trial.number
  local function append(line) assert(journal.append(folder, line)) end
  append { event = "start", format = 1, key = trial.key, sweep = sweep, number = trial.number, config = trial.config,
    seed = trial.seed, attempt = 1, time = time, pid = fate.pid or 1, pid_start = fate.pid_start or 1,
    host = fate.host or "here", provenance = support.provenance }
  for step = 1, fate.steps or 3 do
    append { event = "metrics", step = step, total = 3, time = time + step,
      values = { loss = 2 / step + 0.01 * trial.number, accuracy = 1 - 0.5 / step } }
  end
  if fate.checkpoint then
    assert(lip.file.write(folder .. "/train.safetensors", ("w"):rep(fate.checkpoint)))
    append { event = "file", kind = "checkpoint", path = "train.safetensors" }
    assert(lip.file.write(folder .. "/best.safetensors", "saved by the script"))
    append { event = "file", kind = "checkpoint", path = "best.safetensors" }
  end
  if fate.figure then
    assert(lip.file.write(folder .. "/" .. fate.figure, support.figure))
    append { event = "file", kind = "figure", path = fate.figure }
    append { event = "file", kind = "figure", path = "../../../../passwd.png" } -- whatever a script may write there
  end
  if fate.state then
    append { event = "end", state = fate.state, row = fate.row, value = fate.row and fate.row[fate.aim],
      message = fate.message, exit = fate.exit or 0, seconds = 10 + trial.number / 10, memory = 50e6, time = time + 10 }
  end
  assert(s:ingest(trial))
end
support.journal = journal_of

--- A sweep "budgets" of 3 norms, 8 budgets, `seeds` seeds: all done but one that failed and one that was pruned.
function support.budgets(s, seeds)
  local description = { kind = "grid", maximise = "certified@0.1", script = "budgets.lua" }
  local id = assert(s:add_sweep("budgets", description))
  local list = {}
  for _, norm in ipairs { 1, 2, "inf" } do
    for b = 0, 7 do
      for seed = 1, seeds do
        local config = { norm = norm, budget = 0.5 * 2 ^ b, seed = seed, epochs = 3, widths = { 64, 32 } }
        list[#list + 1] = { number = #list + 1, key = key_of(lip.to_json(config)), config = config, seed = seed }
      end
    end
  end
  assert(s:enqueue(id, list))
  for i, trial in ipairs(assert(s:trials { sweep = "budgets" })) do
    if i == 5 then
      journal_of(s, trial, "budgets", { state = "failed", exit = 1,
        message = "the loss is not finite\n" .. support.nasty })
    elseif i == 6 then
      journal_of(s, trial, "budgets", { state = "pruned", exit = 3, steps = 1 })
    else
      journal_of(s, trial, "budgets", { state = "done", row = support.row(trial.config),
        aim = "certified@0.1", checkpoint = i == 7 and 3000 or nil,
        figure = i <= 4 and "fit.svg" or nil })
    end
  end
  return id
end

--- A sweep of two trials with names and values that try to break a page.
function support.nasty_sweep(s)
  local id = assert(s:add_sweep("second", { minimise = "loss" }))
  local list = {}
  for i = 1, 2 do
    local config = { ["<b>name</b>"] = support.nasty .. i, comment = "a,b \"c\"\nline \27[31m" .. i }
    list[i] = { number = i, key = key_of(lip.to_json(config)), config = config, seed = 0 }
  end
  assert(s:enqueue(id, list))
  for i, trial in ipairs(assert(s:trials { sweep = "second" })) do
    journal_of(s, trial, "second", { state = i == 1 and "done" or nil, row = { loss = i == 1 and "inf" or 1 },
      aim = "loss", steps = i == 2 and 1 or 3 })
  end
end

--- Both of them in a new store at `path`.
function support.made(path, seeds)
  local s = assert(store.open(path, { create = true }))
  support.budgets(s, seeds or 3)
  support.nasty_sweep(s)
  s:close()
  return path
end

return support
