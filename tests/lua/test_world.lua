-- What the world outside may be: pipes, devices and folders where a file is expected, full disks, no room for
-- temporary files. Nothing waits, nothing raises, nothing kills the program: nil, a message and a code.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_program"

local file, quote = lip.file, support.quote

local T = {}

function T:setUp()
  self.dir = assert(file.temporary())
end

function T:tearDown()
  file.remove_tree(self.dir)
end

function T:path(name)
  return self.dir .. "/" .. name
end

--- Runs Lua text in a process of its own; `before` stands before the program in the shell. Output and status.
function T:lua(text, before)
  assert(file.write(self:path "chunk.lua", text))
  local command = ("cd %s && %s timeout 20 %s chunk.lua 2>&1; echo \"status $?\""):format(quote(self.dir), before or "",
    quote(support.program))
  local output = support.output(command)
  return output:match "^(.*)status (%d+)\n$"
end

-- Every function that reads a file named by its caller: text of a call, `p` the name.
local readers = {
  "lip.data.idx(p)", "lip.data.idx(images, p)", "lip.data.csv(p)", "lip.data.npy(p)", "lip.data.npy(array, p)",
  "lip.dataset_cifar('c', { p }, 1, 10)", "lip.load_npy(p)", "lip.load(p)", "lip.inspect(p)",
  "lip.check_certificate(p, net)", "lip.sha256_unpacked(p)", "lip.sha256_packed(p)", "lip.unpack(p, 'copy')",
  "lip.file.read(p)", "lip.file.read(p, 1)", "lip.file.tail(p, 10)", "lip.db.open(p)",
  "lip.db.open(p, { readonly = true })", "lip.train(net, set, { epochs = 1, checkpoint = p, resume = true })",
  "lip.data.mnist{ folder = below }", "lip.data.cifar10(below)",
}

-- C takes a zero byte for the end: another file than the one that was named would be read, or written over.
function T:test_a_zero_byte_in_a_name()
  local calls = { "net:save(p)", "lip.save_npy(p, lip.ones(2))", "net:certificate(p, set, {})", "lip.unpack(images, p)",
    "lip.file.write(p, 'x')", "lip.train(net, set, { epochs = 1, checkpoint = p })" }
  for _, call in ipairs(readers) do
    if call:find "%f[%w]p%f[%W]" then calls[#calls + 1] = call end
  end
  assert(file.write(self:path "a", "mine"))
  for _, call in ipairs(calls) do
    local output, status = self:lua(([[
      local lip = require "lip"
      local p, images, array = "a\0b", "a", "a"
      local net = lip.net{ input = 1, norm = 2, lip.dense{ out = 2 } }
      local set = lip.data.tensors(lip.ones(2, 1), { 0, 1 })
      local ok, message = pcall(function() %s end)
      print(ok, message)
    ]]):format(call:find "^%(" and call or "return " .. call))
    lu.assertEquals(status, "0", call .. ": " .. output)
    lu.assertNotNil(output:find "^false\t.*zero byte in" or output:find "^false\t.*expects a file name",
      call .. ": " .. output)
    lu.assertEquals(file.read(self:path "a"), "mine", call)
  end
end

function T:test_only_regular_files_are_read()
  assert(lip.process.run { "mkfifo", self:path "pipe" })
  assert(file.mkdir(self:path "below"))
  for _, name in ipairs { "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte", "test_batch.bin" } do
    assert(lip.process.run { "mkfifo", self:path("below/" .. name) })
  end
  for i = 1, 5 do assert(lip.process.run { "mkfifo", self:path(("below/data_batch_%d.bin"):format(i)) }) end
  assert(file.write(self:path "images", "\0\0\8\2\0\0\0\2\0\0\0\1ab"))
  assert(lip.save_npy(self:path "array", lip.ones(2, 1)))
  for _, name in ipairs { "pipe", "/dev/null", "/dev/zero", "." } do
    for _, call in ipairs(readers) do
      local output, status = self:lua(([[
        local lip = require "lip"
        local p, below, images, array = %q, "below", "images", "array"
        local net = lip.net{ input = 1, norm = 2, lip.dense{ out = 2 } }
        local set = lip.data.tensors(lip.ones(2, 1), { 0, 1 })
        local value, message, code = %s
        print(value == nil and type(message) == "string", code)
      ]]):format(name, call))
      lu.assertEquals(status, "0", call .. " of " .. name .. ": " .. output) -- 124: it waited
      lu.assertNotNil(output:find "^true\t[io_notfund]+\n$", ("%s of %s: %s"):format(call, name, output))
    end
  end
end

function T:test_nobody_is_woken_by_a_refusal()
  -- a writer waits in the pipe: a reader that opens it, if only to look, would let it go on and lose its text
  assert(lip.process.run { "mkfifo", self:path "pipe" })
  local output = support.output(("cd %s && { (timeout 5 sh -c 'echo text >pipe'; echo \"writer $?\") & " ..
    "sleep 0.2; %s -e 'print(lip.load_npy \"pipe\")'; cat pipe; wait; } 2>&1"):format(quote(self.dir),
    quote(support.program)))
  lu.assertStrContains(output, "pipe: a pipe, not a regular file")
  lu.assertStrContains(output, "text\n")
  lu.assertStrContains(output, "writer 0")
end

function T:test_appending_to_a_pipe_nobody_reads()
  assert(lip.process.run { "mkfifo", self:path "pipe" })
  local output, status = self:lua [[print(require "lip".file.append("pipe", "text"))]]
  lu.assertEquals(status, "0", output)
  lu.assertNotNil(output:find "^nil\t.*append.*\tio\n$", output)
end


-- A small packed file of many bytes passes through, and is not held.
function T:test_unpacking_takes_no_memory()
  assert(file.write(self:path "big.gz", lip.deflate(("\0"):rep(1 << 26))))
  local output, status = self:lua [[
    local lip = require "lip"
    local before = lip.process.usage().memory
    assert(lip.unpack("big.gz", "big"))
    print(lip.file.stat "big".size, lip.process.usage().memory - before < 1 << 24)
    assert(lip.file.write("cut.gz", lip.file.read "big.gz":sub(1, 5000)))
    print(lip.unpack("cut.gz", "none"))
  ]]
  lu.assertEquals(status, "0", output)
  lu.assertStrContains(output, ("%d\ttrue\n"):format(1 << 26))
  lu.assertStrContains(output, "truncated")
  lu.assertFalse(file.exists(self:path "none"))
end

-- ---- figures ----

local figure = [[
  local lip = require "lip"
  local before = #lip.file.list "."
  local done, message, code = lip.plot{ file = "a.svg", title = "t", series = { { x = { 1, 2 }, y = { 1, 2 } } } }
  print(done, message, code)
]]

local function no_gnuplot()
  if not select(2, support.run "gnuplot --version 2>&1") then lu.skip "gnuplot is not installed" end
end

function T:test_a_figure_without_room_for_temporary_files()
  no_gnuplot()
  local output, status = self:lua(figure .. "return { clean = 1 }", "TMPDIR=/nowhere")
  lu.assertEquals(status, "0", output)
  lu.assertNotNil(output:find "^nil\tplot: /nowhere: cannot make a temporary folder in it: .*\tio\n", output)
  assert(file.mkdir(self:path "it's room"))
  output = self:lua(figure, "TMPDIR=\"it's room\"")
  lu.assertEquals(output, "true\tnil\tnil\n")
  lu.assertEquals(file.list(self:path "it's room"), {}) -- and nothing is left
  lu.assertStrContains(assert(file.read(self:path "a.svg")), "<svg")
end

-- The row of a training script outlives a figure that cannot be drawn.
function T:test_a_script_keeps_its_row()
  no_gnuplot()
  assert(file.write(self:path "train.lua", figure .. "return { clean = 0.5 }"))
  support.run(("cd %s && TMPDIR=/nowhere %s --json row.json train.lua >/dev/null 2>&1"):format(quote(self.dir),
    quote(support.program)))
  lu.assertEquals(lip.from_json(assert(file.read(self:path "row.json"))).clean, 0.5)
end

function T:test_settings_of_the_user_do_not_matter()
  no_gnuplot()
  self:lua(figure)
  local drawn = assert(file.read(self:path "a.svg"))
  assert(file.write(self:path ".gnuplot", "set polar\nset border 0\n"))
  local output = self:lua(figure, "HOME=$PWD")
  lu.assertEquals(output, "true\tnil\tnil\n")
  lu.assertTrue(file.read(self:path "a.svg") == drawn, "the figure is another")
end

function T:test_quotes_in_texts_of_figures()
  no_gnuplot()
  for _, words in ipairs { "'x", "''", "'", "'a'", "x'", "a''b", "\"'`date`", "'\"\\n%s" } do
    local svg = assert(lip.plot{ inline = true, title = words, xlabel = words, ylabel = words,
      series = { { x = { 1, 2 }, y = { 1, 2 }, title = words } }, levels = { { y = 1, title = words } },
      notes = { { x = 1, y = 1, text = words } }, xtics = { { 1, words } } }, words)
    local _, n = svg:gsub("&#39;", "'"):gsub("&quot;", '"'):gsub(words:gsub("%p", "%%%0"), "")
    lu.assertTrue(n >= 7, words .. " stands " .. n .. " times")
  end
end

-- ---- files that may not grow ----

function T:test_files_that_may_not_grow()
  local writers = {
    "net:save 'big'", "lip.file.write('big', ('x'):rep(1 << 20))", "lip.file.append('big', ('x'):rep(1 << 20))",
    "lip.save_npy('big', lip.zeros(1 << 18))", "net:certificate('big', set, {})",
    "lip.unpack('packed', 'big')", "(function() local d, m, c = lip.db.open 'big' if not d then return d, m, c end " ..
      "d:exec 'create table t (x)' return d:exec('insert into t values (?)', ('x'):rep(1 << 20)) end)()",
    "(function() local f = io.open('big', 'w') local a, m, c = f:write(('x'):rep(1 << 20)) return a, m, 'io' end)()",
  }
  assert(file.write(self:path "packed", lip.deflate(("x"):rep(1 << 20))))
  for _, call in ipairs(writers) do
    os.remove(self:path "big")
    local output, status = self:lua(([[
      local lip = require "lip"
      local net = lip.net{ input = 300, norm = 2, lip.dense{ out = 300 }, lip.relu(), lip.dense{ out = 2 } }
      local set = lip.data.tensors(lip.ones(4000, 300), (function() local t = {} for i = 1, 4000 do t[i] = i %% 2 end return t end)())
      local value, message, code = %s
      io.stdout:write(tostring(value), " ", tostring(message), " ", tostring(code), "\n")
    ]]):format(call), "ulimit -f 16;")
    lu.assertEquals(status, "0", call .. ": " .. output)
    lu.assertNotNil(output:find "^nil .* [iof]", call .. ": " .. output)
  end
  -- a program started from here has the signal as ever
  local output = self:lua [[
    print(require "lip".process.run{ "sh", "-c", "ulimit -f 1; exec head -c 100000 /dev/zero >big" }.signal)
  ]]
  lu.assertNotEquals(output, "nil\n")
end

return T
