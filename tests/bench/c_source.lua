-- How large and how quick exported C is, beside what others make of the same net.
--
--   lipwb tests/bench/c_source.lua [--set onnx2c=path/to/onnx2c] [--set python=venv/bin/python]
--
-- Bytes are those of code and constants in the object file, without the self-test's inputs for lipwb (they are not in the
-- other's file either); microseconds are processor time of one run, the least of `rounds` visits of half a second or so.
-- python: one with onnxruntime, one thread, one input at a time.
local lip = require "lip"

local args = lip.args {
  onnx2c = { "none", "the program of that name" },
  python = { "none", "a Python with onnxruntime and numpy" },
  rounds = { 5, "visits; the least counts", min = 1, whole = true },
}

local nets = {
  { "784-64-64-10", function()
    return lip.net { input = { 1, 28, 28 }, norm = 2, seed = 1, lip.flatten(), lip.dense { out = 64 }, lip.relu(), lip.dense { out = 64 }, lip.relu(), lip.dense { out = 10 } }
  end },
  { "conv 8, 16", function()
    return lip.net { input = { 1, 28, 28 }, norm = 2, seed = 1, lip.conv2d { channels = 8, kernel = 3, padding = 1 }, lip.relu(), lip.max_pool2d { kernel = 2 },
      lip.conv2d { channels = 16, kernel = 3, padding = 1 }, lip.relu(), lip.max_pool2d { kernel = 2 }, lip.flatten(), lip.dense { out = 10 } }
  end },
}

local flags = { "gcc -Os", "gcc -O2", "gcc -O3", "gcc -O3 -march=native -ffp-contract=fast", "clang -O2", "clang -O3 -march=native" }

local folder = os.tmpname()
os.remove(folder)
assert(os.execute("mkdir " .. folder))

local function run(command)
  local pipe = assert(io.popen(("cd %s && { %s; } 2>&1"):format(folder, command)))
  local text = pipe:read "a"
  local ok = pipe:close()
  return ok and text, text
end

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

local clock = [[
#include <stdio.h>
#include <time.h>
void entry(const float x[1][1][28][28], float y[1][10]);
static float x[1][1][28][28], y[1][10];
int main(void)
{
  long runs = 0;
  double seconds = 0.0;
  const clock_t start = clock();
  while (seconds < 0.2) {
    entry((const float (*)[1][28][28])x, y);
    runs++;
    seconds = (double)(clock() - start) / (double)CLOCKS_PER_SEC;
  }
  printf("%.3f us a run\n", 1e6 * seconds / (double)runs);
  return 0;
}
]]

local python = [[
import sys, time, numpy, onnxruntime as rt
o = rt.SessionOptions(); o.intra_op_num_threads = 1; o.inter_op_num_threads = 1
s = rt.InferenceSession("net.onnx", o); i = s.get_inputs()[0]
x = {i.name: numpy.zeros([d if isinstance(d, int) and d > 0 else 1 for d in i.shape], numpy.float32)}
best = 1e9
for _ in range(int(sys.argv[1])):
    t = time.process_time(); n = 0
    while time.process_time() - t < 0.2: s.run(None, x); n += 1
    best = min(best, (time.process_time() - t) / n)
print("%.3f us a run" % (best * 1e6))
]]

local function least(command)
  local best
  for _ = 1, args.rounds do
    local text, why = run(command)
    local us = text and tonumber(text:match "([%d.]+) us a run")
    if not us then return nil, why end
    best = math.min(best or us, us)
  end
  return best
end

local function bytes(object)
  local text = run("size -A " .. object)
  local sum = 0
  for name, n in (text or ""):gmatch "\n(%.[%w.]+)%s+(%d+)" do
    if name:find "^%.text" or name:find "^%.rodata" then sum = sum + tonumber(n) end
  end
  return sum
end

local function row(what, compile, object, extra)
  local text, why = run(compile)
  if not text then return print(("  %-52s not compiled: %s"):format(what, why:sub(1, 200))) end
  local us, fault = least "./t"
  print(us and ("  %-52s %8d bytes  %9.2f us"):format(what, bytes(object) - extra, us) or ("  %s: %s"):format(what, fault))
end

for _, entry in ipairs(nets) do
  local net = entry[2]()
  print(entry[1])
  assert(net:export { c = folder, name = "net" })
  for _, f in ipairs(flags) do
    row("lipwb, " .. f, ("%s -std=c99 -c net.c -o net.o && %s -std=c99 net_test.c net.o -o t -lm"):format(f, f), "net.o", 3 * 4 * (784 + 10))
  end
  local text = run "arm-none-eabi-gcc -std=c99 -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -c net.c -o arm.o"
  if text then print(("  %-52s %8d bytes"):format("lipwb, Cortex-M4 -O2", bytes "arm.o" - 3 * 4 * (784 + 10))) end
  if args.onnx2c ~= "none" or args.python ~= "none" then assert(net:export { onnx = folder .. "/net.onnx" }) end
  if args.onnx2c ~= "none" then
    local made, why = run(args.onnx2c .. " net.onnx > other.c")
    if not made then print("  onnx2c: " .. why:sub(1, 300)) end
    write("clock.c", clock)
    for _, f in ipairs(made and flags or {}) do
      row("onnx2c, " .. f, ("%s -w -c other.c -o other.o && %s clock.c other.o -o t -lm"):format(f, f), "other.o", 0)
    end
  end
  if args.python ~= "none" then
    write("time.py", python)
    local us, why = least(args.python .. " time.py 3")
    print(us and ("  %-52s %14s %9.2f us"):format("onnxruntime, one thread", "", us) or "  onnxruntime: " .. why)
  end
end
os.execute("rm -r " .. folder)
