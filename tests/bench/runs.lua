-- How long it takes to look at 10,000 finished trials: lipwb tests/bench/runs.lua [--set n=10000]
-- Every command is run as people run it, a process of its own; the least of `repeats` is what counts. Target: list,
local lip = require "lip"
local store = require "lip.sweep.store"

local args = lip.args {
  n = { 10000, "finished trials", min = 100, whole = true }, repeats = { 5, "runs of each", min = 1, whole = true },
}

local first = 0
while arg[first - 1] do first = first - 1 end
local program = arg[first]

-- As a sweep leaves it: settings, results, provenance, ten epochs of two metrics.
local function fill(path)
  local s <close> = assert(store.open(path, { create = true }))
  local id = assert(s:add_sweep("many", { maximise = "certified@0.1" }))
  local provenance = { argv = { "lipwb", "sweep" }, flags = ("-O2 "):rep(20), cpu = "one", threads = 1,
    git = { commit = ("0"):rep(40), untracked = { "a", "b", "c" } } }
  local norms, rng = { 1, 2, "inf" }, lip.rng(1)
  assert(s:transaction(function(self)
    for i = 1, args.n do
      local budget = 0.5 * 2 ^ (i // 3 % 8)
      local config = { norm = norms[i % 3 + 1], budget = budget, seed = i // 24, epochs = 10, lr = 0.001 }
      local clean = 90 + math.log(budget) + rng:uniform()
      local row = { clean = clean, ["certified@0.1"] = clean - budget / 4 - rng:uniform(), bound = budget, loss = 0.1,
        seconds = 3.5 }
      local values = { id, i, ("%016x"):format(i * 0x9e3779b97f4a7c15), lip.to_json(config), config.seed,
        lip.to_json(row), row["certified@0.1"], lip.to_json(provenance), i }
      assert(self.db:exec([[INSERT INTO trials(sweep, number, key, config, seed, row, value, provenance, started, state,
        attempt, seconds, memory, step, total) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 1.7e9 + ?, 'done', 1, 4.5, 5e7, 10, 10)]],
        table.unpack(values)))
      local trial = assert(self.db:row "SELECT last_insert_rowid() AS id").id
      for step = 1, 10 do
        assert(self.db:exec("INSERT INTO metrics VALUES(?, 'loss', ?, ?)", trial, step, 1 / step))
        assert(self.db:exec("INSERT INTO metrics VALUES(?, 'accuracy', ?, ?)", trial, step, 1 - 1 / step))
      end
    end
    return true
  end))
end

local folder = assert(lip.file.temporary())
local _ <close> = setmetatable({}, { __close = function() lip.file.remove_tree(folder) end })
local path = folder .. "/runs.db"
fill(path)

local commands = {
  { "ls", "runs", "ls" },
  { "ls, filtered", "runs", "ls", "--where", 'norm = "inf" and budget < 4 and certified@0.1 > 91' },
  { "ls, sorted, 20 rows", "runs", "ls", "--sort=-certified@0.1", "-n", "20" },
  { "ls, mean over seeds", "runs", "ls", "--over", "seed" },
  { "best", "runs", "best" },
  { "pareto", "runs", "pareto", "clean", "certified@0.1" },
  { "plot budget (svg)", "runs", "plot", "budget", "-o", folder .. "/budget.svg" },
  { "plot pareto (svg)", "runs", "plot", "pareto", "-o", folder .. "/pareto.svg" },
  { "show", "runs", "show", "many/77" },
  { "export csv", "runs", "export", "csv" },
  { "report", "report", "-o", folder .. "/report.html" },
}

-- seconds on the clock, and of processor time
local function once(words)
  local argv = { program, words[2], "--store", path, table.unpack(words, 3) }
  argv.stdout = "/dev/null"
  local start = lip.now()
  local ended = assert(assert(lip.process.spawn(argv)):wait())
  assert(ended.exit == 0, words[1])
  return lip.now() - start, ended.seconds
end

print(("%d finished trials, database of %.1f MB"):format(args.n, lip.file.stat(path).size / 1e6))
print(("  %-22s %10s %10s"):format("", "clock", "processor"))
local row = { n = args.n }
for _, words in ipairs(commands) do
  local clock, processor = math.huge, math.huge
  for _ = 1, args.repeats do
    local a, b = once(words)
    clock, processor = math.min(clock, a), math.min(processor, b)
  end
  row[words[1]] = clock
  print(("  %-22s %7.0f ms %7.0f ms"):format(words[1], 1000 * clock, 1000 * processor))
end
return row
