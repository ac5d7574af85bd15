-- How many processors and threads a process takes: those it may use, not those of the machine.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_program"

local program = support.program
local tests = {}

local CALM = { LIPWB_THREADS = false, SLURM_CPUS_PER_TASK = false }

local function run(words, env)
  for name, value in pairs(CALM) do
    if words.env == nil then words.env = {} end
    words.env[name] = value
  end
  for name, value in pairs(env or {}) do words.env[name] = value end
  return assert(lip.process.run(words))
end

local SHOW = "print(lip.info().processors, lip.info().threads, lip.threads())"

-- The first processor that this process may use, for taskset.
local function first_allowed()
  return (lip.file.read "/proc/self/status" or ""):match "Cpus_allowed_list:%s*(%d+)"
end

local function has_taskset()
  lu.skipIf(not os.execute "command -v taskset >/dev/null 2>&1", "taskset (util-linux) is not installed")
end

function tests.test_taskset()
  has_taskset()
  local result = run { "taskset", "-c", first_allowed(), program, "-e", SHOW }
  lu.assertEquals(result.output, "1\t1\t1\n", result.errors)
end

function tests.test_slurm()
  local result = run({ program, "-e", SHOW }, { SLURM_CPUS_PER_TASK = "1" })
  lu.assertEquals(result.output, "1\t1\t1\n", result.errors)
  local all = run { program, "-e", SHOW }
  lu.assertEquals(run({ program, "-e", SHOW }, { SLURM_CPUS_PER_TASK = "100000" }).output, all.output)
end

function tests.test_sweeps_take_what_they_may()
  has_taskset()
  local dir = assert(lip.file.temporary())
  assert(lip.file.write(dir .. "/s.lua",
    'return require "lip".sweep { run = function() return {} end, grid = { a = { 1 } } }'))
  for _, words in ipairs { { "taskset", "-c", first_allowed(), program }, { "env", "SLURM_CPUS_PER_TASK=1", program } } do
    words[#words + 1], words.cwd = "sweep", dir
    table.move({ "s.lua", "--dry-run" }, 1, 2, #words + 1, words)
    local result = run(words)
    lu.assertStrContains(result.output, "1 trials, 1 at once, 1 thread each", false, result.errors)
  end
  lip.file.remove_tree(dir)
end

function tests.test_threads_that_are_no_number()
  for _, text in ipairs { "abc", "4,2", "0", "-1", "2.5", "1e1", " 2" } do
    for _, words in ipairs { { "-e", "print(1)" }, { "--threads", "1", "-e", "print(1)" }, { "runs", "ls" },
      { "--version" } } do
      local result = run({ program, table.unpack(words) }, { LIPWB_THREADS = text })
      lu.assertEquals({ result.exit, result.output }, { 2, "" }, text)
      lu.assertStrContains(result.errors,
        ("LIPWB_THREADS expects a whole number of threads from 1 on, got '%s'"):format(text))
    end
  end
  lu.assertEquals(run({ program, "--help" }, { LIPWB_THREADS = "abc" }).exit, 0)
  for text, threads in pairs { ["3"] = 3, ["1000"] = 64 } do
    lu.assertEquals(run({ program, "-e", "print(lip.threads())" }, { LIPWB_THREADS = text }).output, threads .. "\n")
  end
  local usual = run { program, "-e", "print(lip.threads())" }
  lu.assertEquals(run({ program, "-e", "print(lip.threads())" }, { LIPWB_THREADS = "" }).output, usual.output)
end

return tests
