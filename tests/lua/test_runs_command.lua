-- `lipwb runs` from outside, on a made-up store: what each command prints, its exit status, what gc removes.
local lu = require "luaunit"
local lip = require "lip"
local store = require "lip.sweep.store"
local support = require "support_runs"

local outside = require "support_program"
local program, quote = outside.program, outside.quote
local T = support.fixture {}

function T:made(seeds)
  support.made(self.path, seeds or 1)
end

-- exit status, standard output, standard error of `lipwb runs --store ... words`
function T:run(words, environment)
  local out, err = self.folder .. "/out", self.folder .. "/err"
  local _, _, status = os.execute(("%s COLUMNS= %s runs --store %s %s >%s 2>%s </dev/null"):format(environment or "",
    quote(program), quote(self.path), words, quote(out), quote(err)))
  return status, assert(lip.file.read(out)), assert(lip.file.read(err))
end

function T:lines(words)
  local status, out, err = self:run(words)
  lu.assertEquals(err, "", words)
  lu.assertEquals(status, 0, words)
  local lines = {}
  for line in out:gmatch "([^\n]*)\n" do
    lines[#lines + 1] = line
    lu.assertNil(line:find "[%c\x7f]", "no control character: " .. line)
  end
  return lines
end

function T:test_ls()
  self:made()
  local lines = self:lines "ls"
  lu.assertEquals(lines[1], "sweep budgets")
  lu.assertStrMatches(lines[2], "run +state +budget +norm +certified@0.1 +bound +clean +time")
  lu.assertStrMatches(lines[3], "budgets/1 +done +0.5 +1 +89.938 +0.5 +92.767 +10.1 s")
  for _, line in ipairs(lines) do lu.assertTrue(utf8.len(line) <= 80, line) end
  local text = table.concat(lines, "\n")
  lu.assertStrContains(text, "in all: epochs=3 seed=1 widths=64,32")
  lu.assertStrContains(text, "24 runs: 22 done, 1 failed, 1 pruned")
  lu.assertStrContains(text, "sweep second")
  lu.assertStrContains(text, "running 1/3")
  lu.assertStrContains(text, "2 runs: 1 done, 1 running")
end

function T:test_ls_filtered()
  self:made()
  local lines = self:lines [[ls --sweep budgets --where 'norm = "inf" and budget < 4' --columns number,config.budget]]
  lu.assertEquals(lines[1], "number  budget")
  lu.assertEquals({ lines[2], lines[3], lines[4] }, { "    17     0.5", "    18     1.0", "    19     2.0" })
  lu.assertStrContains(lines[#lines], "3 runs: 3 done")
  lu.assertEquals(#self:lines "ls --state failed --columns id", 3)
  lu.assertEquals(self:lines "ls --sort -clean -n 2 --columns id,clean", { "id   clean", " 8  97.977", " 7  97.858",
    "26 runs: 23 done, 1 running, 1 failed, 1 pruned, 2 of 26 rows shown" })
  lu.assertEquals(self:lines "ls --sort clean --desc -n 1 --columns id", { "id", " 8",
    "26 runs: 23 done, 1 running, 1 failed, 1 pruned, 1 of 26 rows shown" })
  lu.assertEquals(self:lines "ls --where 'id = 12345'", { "no runs" })
end

function T:test_groups()
  self:made(3)
  local lines = self:lines "ls --sweep budgets --over seed --where 'norm = 2'"
  lu.assertEquals(#lines, 1 + 8 + 2)
  -- mean of 0.1 * {1, 2, 3} is 0.2, its deviation 0.1
  local row = support.row { norm = 2, budget = 4, seed = 2 }
  lu.assertStrContains(lines[5], ("4.0  3    %.2f ±0.10"):format(row["certified@0.1"]))
  lines = self:lines "ls --sweep budgets --by norm --columns clean"
  lu.assertStrMatches(lines[1], "norm   n +clean")
  lu.assertStrMatches(lines[2], " +1  22 .*±.*") -- without the failed and the pruned one
  lu.assertStrMatches(lines[3], " +2  24 .*")
  local status, _, err = self:run "ls --by norm --over norm"
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "both name 'norm'")
end

function T:test_best_and_pareto()
  self:made()
  local lines = self:lines "best --sweep budgets -n 1"
  lu.assertStrContains(lines[3], "largest certified@0.1 of 22")
  local best, value = nil, -math.huge
  for b = 0, 7 do
    local v = support.row { norm = 1, budget = 0.5 * 2 ^ b, seed = 1 }["certified@0.1"]
    local ended = b ~= 4 and b ~= 5
    if ended and v > value then best, value = b + 1, v end
  end
  lu.assertStrMatches(lines[2], ("budgets/%d .*"):format(best))
  lines = self:lines "best clean --min --sweep budgets -n 1"
  lu.assertStrMatches(lines[2], "budgets/17 .*")
  lines = self:lines "best --over seed --sweep budgets -n 1"
  lu.assertStrMatches(lines[1], "budget .*n  certified@0.1.*")
  lines = self:lines "pareto clean certified@0.1 --sweep budgets"
  lu.assertStrContains(lines[#lines], "of 22 runs, large clean, large certified@0.1, a front for each norm")
  lines = self:lines "pareto bound clean --sweep budgets"
  lu.assertStrContains(lines[#lines], "small bound, large clean")
  lines = self:lines "pareto bound clean --sweep budgets --max bound --min clean"
  lu.assertStrContains(lines[#lines], "large bound, small clean")
end

function T:test_show()
  self:made()
  local text = table.concat(self:lines "show budgets/5", "\n")
  for _, words in ipairs { "run budgets/5 (#5)", "failed, exit status 1", "the loss is not finite", "widths  64,32",
    "abab", "loss", "again: lipwb reproduce " } do
    lu.assertStrContains(text, words)
  end
  local s = assert(store.open(self.path, { readonly = true }))
  local record = s:trials { sweep = "budgets", number = 7 }[1]
  s:close()
  for _, word in ipairs { "7", "#7", "budgets/7", record.key, record.key:sub(1, 6), record.key:upper() } do
    lu.assertStrContains(self:lines("show " .. quote(word))[1], "run budgets/7 (#7)", false, word)
  end
  lu.assertStrContains(table.concat(self:lines "show 7 --metrics", "\n"),
    "step  accuracy    loss\n   1    0.5000  2.0700")
  local parsed = lip.from_json((select(2, self:run "show 7 --json")))
  lu.assertEquals(parsed.row.clean, support.row(record.config).clean)
  lu.assertEquals(parsed.config.widths, { 64, 32 })
  for words, expected in pairs { ["show 999"] = "no run 999", ["show nothing"] = "no run nothing",
    ["show budgets/99"] = "no run budgets/99", ["show ffff0000"] = "no run ffff0000" } do
    local status, out, err = self:run(words)
    lu.assertEquals({ status, out }, { 1, "" }, words)
    lu.assertStrContains(err, expected)
  end
end

-- A worker of this machine that is gone, and one that is there.
function T:test_running()
  local s = assert(store.open(self.path, { create = true }))
  local id, me = assert(s:add_sweep("alive", {})), lip.process.self()
  assert(s:enqueue(id, { { number = 1, key = ("a"):rep(16), config = { x = 1 }, seed = 1 },
    { number = 2, key = ("b"):rep(16), config = { x = 2 }, seed = 1 },
    { number = 3, key = ("c"):rep(16), config = { x = 3 }, seed = 1 } }))
  local trials = s:trials {}
  support.journal(s, trials[1], "alive", { steps = 2, pid = me.pid, pid_start = me.start, host = me.host })
  support.journal(s, trials[2], "alive", { steps = 2, pid = me.pid, pid_start = me.start + 1, host = me.host })
  s:close()
  lu.assertEquals(self:lines "ls", { "run  state          x", "  1  running 2/3    1", "  2  running, dead  2",
    "  3  queued         3", "3 runs: 2 running, 1 queued" })
  lu.assertNil(table.concat(self:lines "show 3", "\n"):find "again")
end

function T:test_diff()
  self:made()
  local text = table.concat(self:lines "diff 1 budgets/12", "\n")
  lu.assertStrMatches(text, ".*configuration +budgets/1 +budgets/12.*")
  lu.assertStrMatches(text, ".*budget +0.5 +4.*")
  lu.assertStrMatches(text, ".*bound +0.5 +4 +3.5.*")
  lu.assertNil(text:find "epochs")
  lu.assertNil(text:find "provenance")
  lu.assertEquals(self:lines "diff 3 3", { "budgets/3 and budgets/3 do not differ" })
end

-- CSV as RFC 4180 has it, read by a parser of the test's own.
local function parse_csv(text)
  local rows, row, at = {}, {}, 1
  while at <= #text do
    local cell, stop
    if text:sub(at, at) == '"' then
      local parts = {}
      at = at + 1
      while true do
        local close = assert(text:find('"', at, true))
        parts[#parts + 1] = text:sub(at, close - 1)
        at = close + 1
        if text:sub(at, at) ~= '"' then break end
        parts[#parts + 1] = '"'
        at = at + 1
      end
      cell = table.concat(parts)
    else
      stop = text:find("[,\r]", at)
      cell, at = text:sub(at, stop - 1), stop
    end
    row[#row + 1] = cell
    if text:sub(at, at) == "," then
      at = at + 1
    else
      assert(text:sub(at, at + 1) == "\r\n")
      rows[#rows + 1], row, at = row, {}, at + 2
    end
  end
  return rows
end

function T:test_export()
  self:made()
  local status, out = self:run "export csv"
  lu.assertEquals(status, 0)
  local rows = parse_csv(out)
  lu.assertEquals(#rows, 27)
  local column = {}
  for i, name in ipairs(rows[1]) do column[name] = i end
  for _, row in ipairs(rows) do lu.assertEquals(#row, #rows[1]) end
  lu.assertEquals(rows[26][column["config.<b>name</b>"]], support.nasty .. "1")
  lu.assertEquals(rows[26][column["config.comment"]], "a,b \"c\"\nline \27[31m1")
  lu.assertEquals(rows[26][column["row.loss"]], "inf")
  local row = support.row { norm = "inf", budget = 64, seed = 1 }
  lu.assertEquals(tonumber(rows[25][column["row.certified@0.1"]]), row["certified@0.1"]) -- every bit
  for k = 2, #rows do -- and no digit more
    for _, text in ipairs(rows[k]) do
      local x = text:find "%." and tonumber(text)
      if x then lu.assertEquals(text, require "lip.decimal".text(x)) end
    end
  end
  lu.assertNil(self:lines "export jsonl"[1]:find "%d%.%d*[09][09][09][09][09][09][09]%d")
  status, out = self:run "export jsonl --metrics"
  lu.assertEquals(status, 0)
  local n = 0
  for line in out:gmatch "[^\n]+" do
    local value = assert(lip.from_json(line))
    n = n + 1
    if n == 1 then
      lu.assertEquals(value.metrics[1], { name = "accuracy", step = 1, value = 0.5 })
      lu.assertEquals(value.provenance.kernels, "haswell")
    end
  end
  lu.assertEquals(n, 26)
  lu.assertEquals(self:run("export csv " .. quote(self.folder .. "/all.csv")), 0)
  lu.assertEquals(#parse_csv(assert(lip.file.read(self.folder .. "/all.csv"))), 27)
  lu.assertEquals(self:run "export csv /nonexistent/folder/x.csv", 1)
  for _, format in ipairs { "tensorboard", "optuna" } do
    local place = self.folder .. "/" .. format
    lu.assertStrMatches(self:lines(("export %s %s --sweep budgets"):format(format, quote(place)))[1], ".*: 24 runs")
    lu.assertTrue(lip.file.exists(place))
    lu.assertEquals(self:run(("export %s %s --where 'id = 1'"):format(format, quote(place))), 2)
  end
end

function T:test_plot()
  lu.skipIf(not os.execute "command -v gnuplot >/dev/null 2>&1", "gnuplot is not installed")
  self:made(2)
  for kind, words in pairs { budget = { "budget", "norm inf", "clean" }, pareto = { "front", "norm 2" },
    losses = { "loss", "accuracy" } } do
    local file = self.folder .. "/" .. kind .. ".svg"
    self:lines(("plot %s --sweep budgets -o %s"):format(kind, quote(file)))
    local svg = assert(lip.file.read(file))
    for _, word in ipairs(words) do lu.assertStrContains(svg, word) end
    lu.assertNil(svg:find "NaN")
  end
  self:lines "plot --sweep budgets"
  lu.assertEquals(self:run "plot --x nothing", 2)
  lu.assertEquals(self:run("plot --sweep budgets -o " .. quote(self.folder .. "/x.nothing")), 1)
end

function T:test_wrong_words()
  self:made()
  for words, expected in pairs { [""] = "command", ["nothing"] = "unknown command", ["ls --nothing"] = "unknown option",
    ["ls --limit 0"] = "at least 1", ["ls --state finished"] = "must be one of", ["show"] = "missing argument",
    ["ls --where 'norm = '"] = "expected a name or a value", ["ls --where 'nrm = 1'"] = "did you mean 'norm'?",
    ["ls --columns nothing"] = "no run has a 'nothing'", ["ls --sort nothing"] = "no run has a 'nothing'",
    ["best nothing"] = "no run has a 'nothing'", ["pareto clean nothing"] = "no run has a 'nothing'",
    ["export xml"] = "must be one of", ["export optuna"] = "needs a place" } do
    local status, out, err = self:run(words)
    lu.assertEquals({ status, out }, { 2, "" }, words)
    lu.assertStrContains(err, expected, false, words)
  end
  local status, out = self:run "--help"
  lu.assertEquals(status, 0)
  for _, word in ipairs { "ls", "show", "diff", "best", "pareto", "export", "gc", "rebuild", "plot" } do
    lu.assertStrContains(out, word)
  end
end

function T:test_no_store()
  for _, words in ipairs { "ls", "gc", "gc --delete", "best" } do
    local status, out, err = self:run(words)
    lu.assertEquals({ status, out }, { 1, "" }, words)
    lu.assertStrContains(err, "there is no store")
  end
  lu.assertFalse(lip.file.exists(self.path))
  assert(lip.file.write(self.path, "this is no database, but long enough to be looked at as one"))
  local status, _, err = self:run "ls"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "lipwb runs: ")
end

function T:test_rebuild()
  self:made()
  local before = select(2, self:run "ls --wide")
  os.remove(self.path)
  lu.assertStrContains(self:lines "rebuild"[1], "26 runs")
  lu.assertEquals(select(2, self:run "ls --wide"), before)
end

-- ---- gc ----

local function listed(folder)
  return table.concat(assert(lip.file.list(folder)), " ")
end

function T:garbage()
  self:made()
  local root = self.path .. ".d"
  local function orphan(key, line)
    assert(lip.file.mkdir(root .. "/trials/" .. key))
    if line then assert(lip.file.append(root .. "/trials/" .. key .. "/journal.jsonl", lip.to_json(line) .. "\n")) end
  end
  local me = lip.process.self()
  orphan "00000000000000aa"
  orphan("00000000000000bb", { event = "start", pid = me.pid, pid_start = me.start, host = me.host }) -- at work
  orphan("00000000000000cc", { event = "start", pid = 1, pid_start = 1, host = "another machine" }) -- perhaps at work
  orphan("00000000000000dd", { event = "start", pid = 2 ^ 22 - 1, pid_start = 12345, host = me.host }) -- dead
  assert(lip.file.write(root .. "/trials/00000000000000dd/weights", ("x"):rep(2e6)))
  assert(lip.file.mkdir(root .. "/trials/notes")) -- not ours
  return root
end

function T:test_gc_tells_and_keeps()
  local root = self:garbage()
  local before = listed(root .. "/trials")
  local text = table.concat(self:lines "gc --checkpoints", "\n")
  lu.assertEquals(listed(root .. "/trials"), before)
  for _, words in ipairs { "00000000000000aa", "00000000000000dd", "2.0 MB", "3.0 kB", "train.safetensors",
    "3 things, 2.0 MB: nothing was removed, --delete does it" } do
    lu.assertStrContains(text, words)
  end
  for _, words in ipairs { "00000000000000bb", "00000000000000cc", "notes" } do
    lu.assertNil(text:find(words, 1, true))
  end
end

function T:test_gc_removes()
  local root = self:garbage()
  local function checkpoints()
    local n = 0
    for _, name in ipairs(lip.file.list(root .. "/trials")) do
      if lip.file.exists(root .. "/trials/" .. name .. "/train.safetensors") then n = n + 1 end
    end
    return n
  end
  lu.assertStrContains(self:lines "gc --delete"[4], "freed 2.0 MB")
  local left = listed(root .. "/trials")
  lu.assertNil(left:find("00000000000000aa", 1, true))
  lu.assertNil(left:find("00000000000000dd", 1, true))
  lu.assertNil(left:find(".gone", 1, true))
  for _, name in ipairs { "00000000000000bb", "00000000000000cc", "notes" } do lu.assertStrContains(left, name) end
  lu.assertEquals(#lip.file.list(root .. "/trials"), 26 + 3)
  lu.assertEquals(checkpoints(), 1)
  self:lines "gc --delete --checkpoints"
  lu.assertEquals(checkpoints(), 0)
  local s <close> = assert(store.open(self.path, { readonly = true }))
  lu.assertTrue(lip.file.exists(s:folder(s:trials { sweep = "budgets", number = 7 }[1]) .. "/best.safetensors"))
  lu.assertEquals(self:lines "gc --checkpoints", { "nothing to remove" })
  lu.assertStrContains(self:lines "ls --columns id"[28], "26 runs: 23 done")
end

-- Whoever lost the database must not lose the folders too.
function T:test_gc_refuses_without_a_database()
  local root = self:garbage()
  os.remove(self.path)
  assert(store.open(self.path, { create = true })):close()
  local before = listed(root .. "/trials")
  local status, _, err = self:run "gc --delete"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "rebuild")
  lu.assertEquals(listed(root .. "/trials"), before)
end

function T:test_gc_of_objects()
  self:made()
  local s = assert(store.open(self.path, { create = true }))
  local used, unused, young = assert(s:put_object "used"), assert(s:put_object "unused"), assert(s:put_object "young")
  local folder = s:folder(s:trials { number = 1 }[1])
  assert(lip.file.write(folder .. "/trial.json", lip.to_json { script_sha256 = used }))
  s:close()
  local objects = self.path .. ".d/objects/"
  for _, hash in ipairs { used, unused } do
    assert(os.execute(("touch -d '2 days ago' %s"):format(quote(objects .. hash .. ".gz"))))
  end
  lu.assertStrContains(table.concat(self:lines "gc --delete", "\n"), unused)
  lu.assertTrue(lip.file.exists(objects .. used .. ".gz"))
  lu.assertTrue(lip.file.exists(objects .. young .. ".gz"))
  lu.assertFalse(lip.file.exists(objects .. unused .. ".gz"))
end

-- Everything behind a symbolic link belongs to somebody else.
function T:test_gc_follows_no_link()
  local root = self:garbage()
  local other = self.folder .. "/other"
  local function sh(...) assert(os.execute(("cd %s && "):format(quote(self.folder)) .. string.format(...))) end
  -- a trial that is done, one that no sweep knows, the objects
  local done = assert(store.open(self.path, { readonly = true }))
  local key = done:trials { sweep = "budgets", number = 7 }[1].key
  done:close()
  sh("mkdir other && mv runs.db.d/trials/%s other/done && ln -s ../../other/done runs.db.d/trials/%s", key, key)
  sh "mv runs.db.d/trials/00000000000000dd other/gone && ln -s ../../other/gone runs.db.d/trials/00000000000000dd"
  sh("rm -r runs.db.d/objects; mkdir other/objects && touch -d '2 days ago' other/objects/%s.gz", ("ab"):rep(32))
  sh "ln -s ../other/objects runs.db.d/objects"
  sh "ln -s .. runs.db.d/trials/00000000000000aa/up" -- what counts bytes walks in no circles
  local function everything() return lip.process.run({ "find", other }).output end
  local before = everything()
  local text = table.concat(self:lines "gc --checkpoints --delete", "\n")
  lu.assertEquals(everything(), before)
  for _, name in ipairs { "objects", "trials/" .. key, "trials/00000000000000dd" } do
    lu.assertStrContains(text, ("refused: %s is a symbolic link"):format(name))
  end
  lu.assertFalse(lip.file.exists(root .. "/trials/00000000000000aa"))
  lu.assertEquals(lip.file.stat(root .. "/trials/00000000000000dd", { follow = false }).kind, "link")
  -- the whole folder of trials elsewhere
  sh "mv runs.db.d/trials other/trials && mkdir other/trials/00000000000000ff && ln -s ../other/trials runs.db.d/trials"
  before = everything()
  lu.assertStrContains(table.concat(self:lines "gc --checkpoints --delete", "\n"), "refused: trials is")
  lu.assertEquals(everything(), before)
end

function T:test_gc_keeps_objects_when_their_users_cannot_be_read()
  self:made()
  local s = assert(store.open(self.path, { create = true }))
  local hash = assert(s:put_object "used")
  s:close()
  local root = self.path .. ".d"
  assert(os.execute(("touch -d '2 days ago' %s"):format(quote(("%s/objects/%s.gz"):format(root, hash)))))
  assert(lip.file.rename(root .. "/sweeps", root .. "/sweeps.away"))
  lu.assertEquals(self:lines "gc --delete", { "nothing to remove" })
  assert(lip.file.rename(root .. "/sweeps.away", root .. "/sweeps"))
  lu.assertStrContains(table.concat(self:lines "gc --delete", "\n"), hash)
end

return { TestRunsCommand = T }
