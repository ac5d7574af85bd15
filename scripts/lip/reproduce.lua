--- lipwb reproduce RUN [--store FILE]: runs a stored trial once more, from the stored text of its script, in a new
-- folder, and compares every figure of every epoch and of the result. Status: 0 equal, 1 different or failed, 2 wrong
-- usage, 130 interrupted.
--
-- On the kernels of that time the bits must agree; on others sums are added in another order, and figures agree to a
-- tolerance. Times, memory and paths are no figures.
local argparse = require "argparse"
local commands = require "lip.command"
local lip = require "lip"
local compare = require "lip.reproduce_compare"
local decimal = require "lip.decimal"
local journal = require "lip.sweep.journal"
local records = require "lip.runs.records"

local reproduce = {}

local LOOK = 0.2 -- seconds between two looks at the journal
local ROWS = 40 -- differences that are printed

local function say(format, ...)
  io.stdout:write(lip.plain(format:format(...), true), "\n")
end

-- Raised for what the user is told without a traceback.
local function fail(format, ...)
  error(setmetatable({ message = format:format(...) }, { __tostring = function(self) return self.message end }), 0)
end

local function must(value, message)
  if value == nil then fail("%s", tostring(message)) end
  return value
end

-- ---- what is run ----

-- What is used of trial.json here; the worker looks at the rest.
local function is_whole(told, key)
  local function may(name, kind) return told[name] == nil or type(told[name]) == kind end
  return type(told) == "table" and told.key == key and type(told.script_sha256) == "string"
    and told.script_sha256:find("^" .. ("%x"):rep(64) .. "$") and may("script", "string") and may("config", "table")
end

--- A run as it was: what its worker was told, and what its journal says.
local function read_run(store, record)
  local folder = store:folder(record)
  local text = lip.file.read(folder .. "/trial.json", 0, store.below)
  if not text then fail("%s/trial.json is gone: nothing tells how the run was made", folder) end
  local told = lip.from_json(text)
  if not is_whole(told, record.key) then fail("%s/trial.json is damaged", folder) end
  return { told = told, folder = folder, seen = compare.read(must(journal.read(folder))) }
end

-- A folder like that of a store, with this one trial in it.
local function prepare(store, run, root, options)
  local told = {}
  for name, v in pairs(run.told) do told[name] = v end
  local folder = ("%s/trials/%s"):format(root, told.key)
  must(lip.file.mkdir(folder))
  must(lip.file.mkdir(root .. "/objects"))
  local text, message = store:object(told.script_sha256)
  if text then
    must(lip.file.write(("%s/objects/%s.gz"):format(root, told.script_sha256), lip.deflate(text)))
  else
    local file = told.script and lip.file.read(told.script)
    if not file or lip.sha256(file) ~= told.script_sha256 then fail("the text of the script is lost: %s", message) end
  end
  told.objects, told.store, told.tensorboard, told.attempt = "../../objects", nil, nil, 1
  told.threads, told.data = options.threads or told.threads, options.data or told.data
  must(lip.file.write(folder .. "/trial.json", lip.to_json(told)))
  return folder, told
end

-- Where the run was started, if that is still there: its script may read files beside it.
local function working_folder(run)
  local cwd = run.seen.provenance.cwd
  local stat = type(cwd) == "string" and cwd:find "^[^%z]+$" and lip.file.stat(cwd)
  return stat and stat.kind == "folder" and cwd or nil
end

-- Runs the trial to its end, or, when it was ended early, until it has come as far as then.
local function run_again(run, folder, cwd)
  local program = lip.process.self().program
  if not program or not lip.file.exists(program) then program = "/proc/self/exe" end
  local process = must(lip.process.spawn { program, "trial", folder, stdout = folder .. "/output.txt", cwd = cwd,
    group = true, dies_with_parent = true })
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore guard
    process:signal "TERM" -- an ended one is left alone
    if not process:wait(5) then
      process:signal "KILL"
      lip.process.pending()
      process:wait(5)
    end
  end })
  local ended, asked
  repeat
    ended = process:wait(LOOK)
    if lip.process.pending() > 0 then return nil end
    if not ended and run.seen.state == "pruned" and not asked then
      asked = compare.read(must(journal.read(folder))).last >= run.seen.last
      if asked then process:signal "TERM" end
    end
  until ended
  local seen = compare.read(must(journal.read(folder)))
  if run.seen.state == "pruned" and seen.last >= run.seen.last then seen.state = "pruned" end -- as far as then
  if not seen.state then
    seen.state = "failed"
    seen.message = ended.signal and "ended by signal " .. lip.process.signal_name(ended.signal)
      or ("left with status %d and no result"):format(ended.exit)
  end
  return seen
end

-- ---- what is said ----

-- What is not as it was, one line each; none of it is a difference by itself.
local function tell_surroundings(run, now, cwd)
  local script = run.told.script or ""
  local beside = script:match "^(.*)/" or "."
  if script:sub(1, 1) ~= "/" then beside = ("%s/%s"):format(cwd or ".", beside) end
  local was = run.seen.provenance
  for _, name in ipairs { "version", "kernels", "cpu", "compiler", "flags", "threads" } do
    if was[name] ~= nil and was[name] ~= now.provenance[name] then
      say("  %s: then %s, now %s", name, tostring(was[name]), tostring(now.provenance[name]))
    end
  end
  if was.cwd and not cwd then say("  the folder %s is gone: the script runs here", was.cwd) end
  local git = was.git
  if type(git) == "table" and type(git.commit) == "string" then
    local here, diff = lip.provenance.git(beside)
    if here.commit ~= git.commit then
      say("  git: then at %s, now at %s: modules that the script loads may be others", git.commit:sub(1, 12),
        here.commit and here.commit:sub(1, 12) or "no commit")
    elseif (diff and lip.sha256(diff)) ~= git.diff then
      say "  git: the changes against the commit are others: modules that the script loads may be, too"
    end
  end
end

local function tell_differences(list)
  say("different: %d value%s", #list, #list == 1 and "" or "s")
  local rows, wide = { { "figure", "step", "then", "now", "difference" } }, { 6, 4, 4, 3, 10 }
  for i = 1, math.min(#list, ROWS) do
    local d = list[i]
    rows[i + 1] = { d.name, d.step and tostring(d.step) or "", d.was, d.now, d.difference or "" }
  end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do wide[i] = math.max(wide[i], utf8.len(cell) or #cell) end
  end
  for _, row in ipairs(rows) do
    local line = ""
    for i, cell in ipairs(row) do line = line .. "  " .. cell .. (" "):rep(wide[i] - (utf8.len(cell) or #cell)) end
    say("%s", (line:gsub("%s+$", "")))
  end
  if #list > ROWS then say("  ... %d more", #list - ROWS) end
end

-- ---- the command ----

local function make_parser()
  local parser = argparse("lipwb reproduce", "Runs a stored trial once more and compares every figure.")
  parser:argument("run", "SWEEP/NUMBER, an id, or the beginning of a key.")
  parser:option("--store", "The store (default: $LIPWB_STORE, or runs.db)."):argname "FILE"
  parser:option("--threads", "Threads (default: as then; they change no bit)."):argname "N":convert(function(text)
    local n = math.tointeger(tonumber(text))
    if n and n >= 1 and n <= 64 then return n end
    return nil, ("--threads expects a whole number from 1 to 64, got '%s'"):format(text)
  end)
  parser:option("--data", "Where data sets lie (default: as then)."):argname "DIR"
  parser:option("--tolerance", "Relative difference allowed (default: none on the kernels of then, else 0.001).")
    :argname "X":convert(function(text)
      local x = tonumber(text)
      if not x or x ~= x or x < 0 then return nil, ("--tolerance expects a number >= 0, got '%s'"):format(text) end
      return x
    end)
  parser:flag("--keep", "Keep the folder of the new run, and say where it is.")
  return parser
end

local function check_state(record, run)
  local state = run.seen.state
  if state ~= "done" and state ~= "failed" and state ~= "pruned" then
    fail("%s/%d has not ended (%s): there is nothing to compare with", record.sweep, record.number, record.state)
  end
end

--- Returns the exit status, nil after an interrupt.
local function main(args)
  local store <close> = must(records.open(args.store))
  local record = must(records.find(store, args.run))
  local run = read_run(store, record)
  check_state(record, run)
  local root = must(lip.file.temporary())
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore guard
    if not args.keep then lip.file.remove_tree(root) end
  end })
  local folder, told = prepare(store, run, root, args)
  local cwd = working_folder(run)
  say("%s/%d, key %s: %s, %s", record.sweep, record.number, record.key, told.script or "its script",
    decimal.json(record.config))
  if args.keep then say("the new run is in %s", folder) end
  io.stdout:flush()
  local now = run_again(run, folder, cwd)
  if not now then return nil end
  tell_surroundings(run, now, cwd)
  if now.state == "failed" and run.seen.state ~= "failed" then
    say("could not be run%s: %s", now.last > 0 and " to its end" or "", (now.message or "no message"):match "^[^\n]*")
    say("output of the new run:\n%s", lip.file.tail(folder .. "/output.txt", 2000) or "")
    if now.last == 0 then return 1 end -- nothing to compare with
  end
  local same = run.seen.provenance.kernels == now.provenance.kernels
  local tolerance = args.tolerance or (same and 0 or compare.TOLERANCE)
  if same then
    say("kernels %s, as then%s", now.provenance.kernels or "unknown", tolerance > 0
      and (": compared to a relative %g"):format(tolerance) or ": compared bit for bit")
  else
    say("other kernels than then: compared to a relative %g", tolerance)
  end
  local list, count = compare.runs({ seen = run.seen, folder = run.folder }, { seen = now, folder = folder }, tolerance)
  if #count.others > 0 then
    say("not compared: %s, asked for by another sweep of the store", table.concat(count.others, ", "))
  end
  if #list > 0 then
    tell_differences(list)
    return 1
  end
  say("equal: %d value%s of %d epoch%s and %d of the result (%s)", count.metrics, count.metrics == 1 and "" or "s",
    count.steps, count.steps == 1 and "" or "s", count.row, run.seen.state)
  return 0
end

---@return integer status
function reproduce.main(...)
  local complain = commands.complainer "lipwb reproduce"
  local args, wrong = commands.parse(make_parser(), { ... }, complain)
  if not args then return wrong end
  lip.process.signals "hold" -- what was begun is tidied up first
  local done, status = pcall(main, args)
  if done then return status or commands.INTERRUPTED end
  return complain(status)
end

return reproduce
