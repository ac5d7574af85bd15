-- For tests that run the program's sweeps: a folder of their own, the program's words, and what a store holds afterwards.
local lip = require "lip"
local store = require "lip.sweep.store"

local support = { program = require "support_program".program }

--- A fixture: setUp and tearDown of a test class, with the folder in self.dir.
function support.fixture(T)
  function T:setUp()
    self.dir = assert(lip.file.temporary())
  end

  function T:tearDown()
    assert(lip.file.remove_tree(self.dir))
  end

  function T:write(name, text)
    assert(lip.file.write(self.dir .. "/" .. name, text))
    return name
  end

  --- Starts the program in the folder; returns the process.
  function T:spawn(out, ...)
    return assert(lip.process.spawn { support.program, stdout = self.dir .. "/" .. out, cwd = self.dir,
      env = { LIPWB_STORE = false }, group = true, ... })
  end

  --- Runs `lipwb sweep ...` to its end: exit status (or "KILL"), all that it wrote.
  function T:sweep(...)
    local process = self:spawn("said", "sweep", ...)
    local result = assert(process:wait(300))
    return result.exit or lip.process.signal_name(result.signal), assert(lip.file.read(self.dir .. "/said"))
  end

  --- The table of results: one line of JSON for each trial, without what a clock or a process id says.
  function T:results(name, file)
    local s = assert(store.open(self.dir .. "/" .. (file or "runs.db"), { readonly = true }))
    local lines = {}
    for i, r in ipairs(assert(s:trials { sweep = name })) do
      lines[i] = lip.to_json { number = r.number, key = r.key, config = r.config, seed = r.seed, state = r.state,
        row = r.row, value = r.value }
    end
    s:close()
    return lines
  end

  --- Records of a sweep.
  function T:records(name, file)
    local s <close> = assert(store.open(self.dir .. "/" .. (file or "runs.db"), { readonly = true }))
    return assert(s:trials { sweep = name })
  end

  --- How often each trial has begun and ended, by the journals: { [key] = { start =, done =, failed =, stopped = } }.
  function T:history(file)
    local journal = require "lip.sweep.journal"
    local root, all = self.dir .. "/" .. (file or "runs.db") .. ".d/trials", {}
    for _, key in ipairs(assert(lip.file.list(root))) do
      local seen = { start = 0, done = 0, failed = 0, stopped = 0, pruned = 0 }
      for _, line in ipairs(assert(journal.read(root .. "/" .. key, 0))) do
        if line.event == "start" then seen.start = seen.start + 1 end
        if line.event == "end" then seen[line.state] = seen[line.state] + 1 end
      end
      all[key] = seen
    end
    return all
  end
  return T
end

return support
