-- A process that works on a store, for test_store_processes.lua: lipwb store_worker.lua MODE STORE [N]
--   write N   N transactions that read and then write one counter
--   run       takes trials and writes their journals until the queue is empty; prints the numbers it has finished
--   fill      stores texts until something is refused; prints the code
--   read      opens read-only; prints the number of trials that are done and the name of the first
-- Anything refused ends the process with status 1 and the message.
local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
package.path = here .. "/?.lua;" .. package.path
local lip = require "lip"
local stores = require "lip.sweep.store"
local support = require "support_store"

local mode, path, n = arg[1], arg[2], tonumber(arg[3])

local function check(value, message, code)
  if value ~= nil then return value end
  io.stderr:write(("%s: %s (%s)\n"):format(mode, message, code))
  os.exit(1)
end

local modes = {}

function modes.write()
  local store <close> = check(stores.open(path, { create = true }))
  for _ = 1, n do
    check(store.db:transaction(function()
      local v = check(store.db:row "SELECT v FROM counter").v
      return check(store.db:exec("UPDATE counter SET v = ?", v + 1))
    end))
  end
end

function modes.run()
  local store <close> = check(stores.open(path, { create = true }))
  local sweep = check(store:sweeps())[1].id
  local lease = lip.process.self()
  local me = { pid = lease.pid, pid_start = lease.start, host = lease.host }
  while true do
    local trial = check(store:claim(sweep, lease))
    if not trial then break end
    support.start(store, trial, nil, me)
    check(store:ingest(trial))
    support.steps(store, trial, 3)
    check(store:ingest(trial))
    support.finish(store, trial)
    check(store:ingest(trial))
    io.write(trial.number, "\n")
  end
end

function modes.fill()
  local store <close> = check(stores.open(path, { create = true }))
  local sweep = check(store:sweeps())[1].id
  local noise = {}
  for i = 1, 100 do noise[i] = tostring(i * math.pi) end
  for i = 1, 10000 do
    local added, message, code = store:enqueue(sweep, { { number = i, key = support.key(i), seed = i,
      config = { text = table.concat(noise, i) } } })
    if not added then
      io.write(code, "\n", message, "\n")
      return
    end
  end
  io.write "never\n"
end

function modes.read()
  local store <close> = check(stores.open(path, { readonly = true }))
  io.write(#check(store:trials { state = "done" }), " ", store:sweeps()[1].name, "\n")
end

modes[mode]()
