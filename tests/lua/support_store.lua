-- Stores for tests: made-up sweeps, workers that only write journals, and every table as one text.
local lip = require "lip"
local journal = require "lip.sweep.journal"

local support = {}

-- A key as the runner makes them: 16 hexadecimal digits.
function support.key(i)
  return ("%016x"):format(i * 0x9e3779b97f4a7c15)
end

-- n trials with two settings each.
function support.trials(n)
  local list = {}
  for i = 1, n do
    local config = { budget = i / 2, norm = i % 2 == 0 and "inf" or 2 }
    list[i] = { number = i, key = support.key(i), config = config, seed = i }
  end
  return list
end

-- Lines of a whole run, as a worker writes them.
function support.start(store, trial, attempt, more)
  local line = { event = "start", format = 1, key = trial.key, sweep = trial.sweep, number = trial.number,
    config = trial.config, seed = trial.seed, attempt = attempt or trial.attempt, time = 1000.5, pid = 1,
    pid_start = 1, host = "elsewhere", provenance = { program = "lipwb", flags = "-O3" } }
  for name, value in pairs(more or {}) do line[name] = value end
  assert(lip.file.mkdir(store:folder(trial)))
  assert(journal.append(store:folder(trial), line))
end

function support.steps(store, trial, n)
  for step = 1, n do
    assert(journal.append(store:folder(trial), { event = "metrics", step = step, total = n, time = 1000.5 + step,
      values = { loss = 1 / step, accuracy = step / n } }))
  end
end

function support.finish(store, trial, state, more)
  local line = { event = "end", state = state or "done", seconds = 2.25, memory = 1 << 20, time = 1010.75,
    attempt = trial.attempt }
  if line.state == "done" then line.row, line.value, line.exit = { clean = trial.number / 8, note = "it's" }, trial.number / 8, 0 end
  for name, value in pairs(more or {}) do line[name] = value end
  assert(journal.append(store:folder(trial), line, { sync = true }))
end

-- All tables, row by row, without what only a live sweep knows (who holds which lease, when it was last heard of).
function support.dump(store)
  local lines = {}
  for _, query in ipairs {
    "SELECT * FROM sweeps ORDER BY id", "SELECT * FROM trials ORDER BY id",
    "SELECT * FROM metrics ORDER BY trial, name, step", "SELECT * FROM rungs ORDER BY trial, rung",
    "SELECT * FROM files ORDER BY trial, kind, path", "SELECT * FROM data ORDER BY trial, name",
  } do
    for _, row in ipairs(assert(store.db:rows(query))) do
      row.owner, row.owner_start = nil, nil
      lines[#lines + 1] = lip.to_json(row)
    end
  end
  return table.concat(lines, "\n")
end

function support.check(store)
  return assert(store.db:row "PRAGMA integrity_check").integrity_check
end

return support
