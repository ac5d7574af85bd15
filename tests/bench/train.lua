-- How long one training step takes beside PyTorch: the table of `lipwb bench` with further columns.
--
--   lipwb tests/bench/train.lua [--set python=python3,venv/bin/python] [--set rounds=5] [--threads 2]
--
-- Every Python named that can import torch answers as one contestant; all of a row take turns (scripts/lip/bench.lua).
local lip = require "lip"
local bench = require "lip.bench"

local declared = { python = { { "python3" }, "Pythons with PyTorch, each a column" } }
for name, setting in pairs(bench.settings) do declared[name] = setting end
local args = lip.args(declared)

-- Without these, each step returns its temporaries to the system and faults them in again: PyTorch is up to 1.4 times
-- slower.
local MALLOC = "MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=100000000"

-- A worker that spins for milliseconds where a neighbour holds its core costs whole slices of the scheduler.
local WAIT = "GOMP_SPINCOUNT=20000"

-- One PyTorch process, asked line by line through a pipe and a FIFO: { label, measure, close }, or nil.
local function start_torch(python, threads)
  if os.execute(python .. " -c 'import torch' >/dev/null 2>&1") ~= true then
    print(("PyTorch skipped: %s cannot import torch"):format(python))
    return nil
  end
  local fifo = os.tmpname()
  os.remove(fifo)
  assert(os.execute("mkfifo " .. fifo))
  local script = arg[0]:gsub("train%.lua$", "train_torch.py")
  local bounds = ("OPENBLAS_NUM_THREADS=%d OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d"):format(threads, threads, threads)
  local words = { bounds, MALLOC, WAIT, python, script, threads, "2>/dev/null >" .. fifo }
  local to = assert(io.popen(table.concat(words, " "), "w"))
  local from = assert(io.open(fifo))
  os.remove(fifo)
  local function measure(...)
    to:write(table.concat({ ... }, " "), "\n")
    to:flush()
    return (assert(tonumber(from:read "l"), "PyTorch gave no answer"))
  end
  return { label = assert(from:read "l"), measure = measure, close = function() to:close() end }
end

local most = math.min(lip.threads(), 64)
local speed = bench.start(args.quick, args.limit)
local result = { limit = speed, cpu = lip.info().cpu, blas = lip.info().blas, rows = {} }
for _, threads in ipairs(most > 1 and { 1, most } or { 1 }) do
  print(("\n%d thread%s"):format(threads, threads == 1 and "" or "s"))
  local plan = bench.plan(args, threads, speed)
  plan.others = {}
  for _, python in ipairs(args.python) do table.insert(plan.others, start_torch(python, threads)) end
  local rows = bench.steps(plan)
  table.move(rows, 1, #rows, #result.rows + 1, result.rows)
  for _, other in ipairs(plan.others) do other.close() end
end
print("\n" .. bench.legend .. "; ratio: PyTorch's time over lipwb's")
return result
