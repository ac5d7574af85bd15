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

return T
