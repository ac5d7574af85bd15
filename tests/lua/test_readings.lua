-- One file means one thing, whoever reads it: bytes, orders of sides, first lines.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_program"

local quote = support.quote

local T = {}

function T:setUp()
  self.dir = assert(lip.file.temporary())
end

function T:tearDown()
  lip.file.remove_tree(self.dir)
end

function T:path(name)
  return self.dir .. "/" .. name
end

function T:write(name, text)
  assert(lip.file.write(self:path(name), text))
  return self:path(name)
end

-- An array as numpy.save writes it.
function T:npy(name, descr, shape, bytes)
  local dict = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s,), }\n"):format(descr, table.concat(shape, ", "))
  return self:write(name, "\x93NUMPY\1\0" .. string.pack("<s2", dict) .. bytes)
end

function T:idx(name, sides, bytes)
  local head = { ("\0\0\8%c"):format(#sides) }
  for i, side in ipairs(sides) do head[i + 1] = string.pack(">I4", side) end
  return self:write(name, table.concat(head) .. bytes)
end

local function some_bytes(n)
  local t = {}
  for i = 1, n do t[i] = string.char((i * 37 + i // 7) % 256) end
  return table.concat(t)
end

-- What a program of its own says to Lua text: output and errors.
function T:says(text)
  return support.output(("cd %s && %s %s 2>&1"):format(quote(self.dir), quote(support.program),
    quote(self:write("chunk.lua", text))))
end

-- ---- bytes ----

function T:test_bytes_are_pixels_in_data_sets_and_numbers_in_arrays()
  local raw = some_bytes(12)
  local from_npy = assert(lip.data.npy(self:npy("x.npy", "|u1", { 3, 4 }, raw)))
  local from_idx = assert(lip.data.idx(self:idx("x.idx", { 3, 4 }, raw)))
  local array = assert(lip.load_npy(self:path "x.npy"))
  lu.assertTrue(from_npy:batch(1, 3):equal(from_idx:batch(1, 3)))
  for i = 1, 3 do
    for j = 1, 4 do
      local byte = raw:byte((i - 1) * 4 + j)
      lu.assertEquals(array:select(1, i):totable()[j], byte)
      lu.assertAlmostEquals((from_npy:batch(i, i):totable())[1][j], byte / 255, 1e-7)
    end
  end
  -- labels are never scaled, nor are other types
  self:npy("y.npy", "|u1", { 3 }, "\0\2\1")
  lu.assertEquals(assert(lip.data.npy(self:path "x.npy", self:path "y.npy")):labels():totable(), { 0, 2, 1 })
  self:npy("w.npy", "<i2", { 1, 2 }, string.pack("<i2i2", 255, -3))
  lu.assertEquals(assert(lip.data.npy(self:path "w.npy")):batch(1, 1):totable(), { { 255, -3 } })
end

-- The certificate of a data set, and one of the array's own numbers, are both accepted with the file they come from.
function T:test_check_reads_a_file_as_the_certificate_did()
  self:npy("x.npy", "|u1", { 10, 4 }, some_bytes(40))
  self:npy("y.npy", "|u1", { 10 }, ("\0\1\2"):rep(4):sub(1, 10))
  local data = assert(lip.data.npy(self:path "x.npy", self:path "y.npy"))
  local net = lip.net{ input = 4, norm = 2, seed = 1, lip.dense{ out = 8 }, lip.maxmin(), lip.dense{ out = 3 } }
  assert(net:save(self:path "n.safetensors"))
  assert(net:certificate(self:path "pixels.cert", data, {}))
  assert(net:certificate(self:path "numbers.cert", lip.load_npy(self:path "x.npy"), data:labels(), {}))
  local function check(cert, x)
    return support.run(("cd %s && %s check %s n.safetensors %s 2>&1"):format(quote(self.dir), quote(support.program),
      cert, x))
  end
  local output, ok = check("pixels.cert", "x.npy")
  lu.assertTrue(ok, output)
  lu.assertStrContains(output, "verified: labels and radii of 10 rows")
  lu.assertNotStrContains(output, "DATA read as")
  output, ok = check("numbers.cert", "x.npy")
  lu.assertTrue(ok, output)
  lu.assertStrContains(output, "DATA read as numbers as they stand")
  -- another file is refused whatever the reading
  self:npy("z.npy", "|u1", { 10, 4 }, some_bytes(41):sub(2))
  output, ok = check("pixels.cert", "z.npy")
  lu.assertFalse(ok or false)
  lu.assertStrContains(output, "refused: data_sha256")
end

function T:test_check_finds_the_order_of_sides()
  self:npy("x.npy", "|u1", { 5, 6, 5, 3 }, some_bytes(450))
  local net = lip.net{ input = { 6, 5, 3 }, norm = 2, seed = 1, lip.flatten(), lip.dense{ out = 3 } }
  local data = assert(lip.data.npy(self:path "x.npy", nil, { channels = "first" }))
  assert(net:save(self:path "n.safetensors"))
  assert(net:certificate(self:path "n.cert", data:batch(1, 5), { 0, 1, 2, 0, 1 }, {}))
  local output, ok = support.run(("cd %s && %s check n.cert n.safetensors x.npy 2>&1"):format(quote(self.dir),
    quote(support.program)))
  lu.assertTrue(ok, output)
  lu.assertStrContains(output, "DATA read as images with their channels first")
end

-- ---- sides ----

local function shape(set)
  return assert(set):info().shape
end

function T:test_images_whose_channels_stand_last()
  local raw = some_bytes(2 * 6 * 5 * 3)
  self:npy("x.npy", "|u1", { 2, 6, 5, 3 }, raw)
  self:idx("x.idx", { 2, 6, 5, 3 }, raw)
  local floats = {}
  for i = 1, #raw do floats[i] = raw:byte(i) / 255 end
  local t = lip.tensor(floats):reshape(2, 6, 5, 3)
  for what, set in pairs {
    npy = lip.data.npy(self:path "x.npy"), idx = lip.data.idx(self:path "x.idx"), tensors = lip.data.tensors(t),
    said = lip.data.npy(self:path "x.npy", nil, { channels = "last" }),
  } do
    lu.assertEquals(shape(set), { 3, 6, 5 }, what)
    local x = set:batch(1, 2):totable()
    for n = 1, 2 do
      for i = 1, 6 do
        for j = 1, 5 do
          for c = 1, 3 do
            local byte = raw:byte((((n - 1) * 6 + i - 1) * 5 + j - 1) * 3 + c)
            lu.assertAlmostEquals(x[n][c][i][j], byte / 255, 1e-7, what)
          end
        end
      end
    end
  end
  local as_it_lies = assert(lip.data.npy(self:path "x.npy", nil, { channels = "first" }))
  lu.assertEquals(shape(as_it_lies), { 6, 5, 3 })
  lu.assertAlmostEquals(as_it_lies:batch(1, 1):totable()[1][1][1][2], raw:byte(2) / 255, 1e-7)
end

function T:test_which_sides_are_channels()
  local function of(...) return shape(lip.data.tensors(lip.zeros(...))) end
  lu.assertEquals(of(2, 28, 28), { 1, 28, 28 }) -- grey
  lu.assertEquals(of(2, 28, 28, 1), { 1, 28, 28 })
  lu.assertEquals(of(2, 32, 32, 4), { 4, 32, 32 })
  lu.assertEquals(of(2, 1, 28, 28), { 1, 28, 28 })
  lu.assertEquals(of(2, 3, 32, 32), { 3, 32, 32 })
  lu.assertEquals(of(2, 8, 7, 5), { 8, 7, 5 })
  lu.assertEquals(of(2, 32, 32, 2), { 32, 32, 2 })
  lu.assertEquals(of(2, 1, 1, 1), { 1, 1, 1 })
  lu.assertEquals(of(2, 3, 3, 3), { 3, 3, 3 })
  lu.assertEquals(of(2, 6), { 6 })
  lu.assertEquals(of(2), { 1 })
  -- either: both readings are named
  lu.assertErrorMsgContains("images of 3 x 28 whose 1 channel stands last", of, 2, 3, 28, 1)
  lu.assertErrorMsgContains("3 channels of 28 x 1", of, 2, 3, 28, 1)
  lu.assertEquals(shape(lip.data.tensors(lip.zeros(2, 3, 28, 1), nil, { channels = "first" })), { 3, 28, 1 })
  lu.assertEquals(shape(lip.data.tensors(lip.zeros(2, 3, 28, 1), nil, { channels = "last" })), { 1, 3, 28 })
  self:npy("x.npy", "|u1", { 2, 4, 5, 1 }, some_bytes(40))
  local set, message, code = lip.data.npy(self:path "x.npy")
  lu.assertNil(set)
  lu.assertEquals(code, "format")
  lu.assertStrContains(message, 'channels = "last"')
  lu.assertStrContains(message, 'channels = "first"')
end

function T:test_misuse_of_channels()
  local x = lip.zeros(2, 6, 5, 3)
  lu.assertErrorMsgContains("option 'channels' expects \"first\" or \"last\", got the number 3", lip.data.tensors, x, nil,
    { channels = 3 })
  lu.assertErrorMsgContains("channel", lip.data.tensors, x, nil, { channel = "last" })
  lu.assertErrorMsgContains('channels = "last" is for N x H x W x C', lip.data.tensors, lip.zeros(2, 3), nil,
    { channels = "last" })
end

-- A tensor given to a net lies as the net's input does: nothing is guessed, whatever its sides.
function T:test_verify_takes_tensors_as_the_net_does()
  local net = lip.net{ input = { 6, 5, 3 }, norm = 2, seed = 1, lip.flatten(), lip.dense{ out = 3 } }
  local x = lip.randn(lip.rng(1), 4, 6, 5, 3)
  local labels = net:forward(x):argmax(2):totable()
  for i, label in ipairs(labels) do labels[i] = label - 1 end
  lu.assertEquals(lip.verify(net, x, labels, { eps = 0, attack = false }).clean, 1)
end

-- Whoever takes samples asks for the net's sides, not only for as many values; flat ones fit any net.
function T:test_another_order_is_refused_by_all()
  local net = lip.net{ input = { 3, 6, 5 }, norm = 2, seed = 1, lip.flatten(), lip.dense{ out = 2 } }
  local x = lip.randn(lip.rng(1), 2, 6, 5, 3)
  local data = lip.data.tensors(x, { 0, 1 }, { channels = "first" })
  local flat = lip.data.tensors(x:reshape(2, 90), { 0, 1 })
  local wrong = "has samples of 6x5x3, the net takes 3x6x5"
  for name, call in pairs {
    certify = function(d) return net:certify(d, { eps = 0.1 }) end, evaluate = function(d) return net:evaluate(d) end,
    attack = function(d) return lip.attack(net, d, { eps = 0.1 }) end,
    bound = function(d) return net:bound{ lower = true, data = d } end,
    certificate = function(d) return net:certificate(self:path "c", d, {}) end,
    check = function(d) return lip.check_certificate(self:path "c", net, d) end,
    verify = function(d) return lip.verify(net, d, { eps = 0.1, attack = false }) end,
  } do
    lu.assertErrorMsgContains(wrong, call, data)
    if name ~= "check" then lu.assertNotNil(call(flat), name) end
  end
  wrong = "it takes rows of 3x6x5"
  lu.assertErrorMsgContains(wrong, net.forward, net, x)
  lu.assertErrorMsgContains(wrong, net.certify, net, x, { 0, 1 }, { eps = 0.1 })
  lu.assertErrorMsgContains(wrong, lip.attack, net, x, { 0, 1 }, { eps = 0.1 })
  -- sides of 1 do not matter
  local grey = lip.net{ input = { 1, 4, 3 }, norm = 2, seed = 1, lip.flatten(), lip.dense{ out = 2 } }
  lu.assertEquals(grey:certify(lip.zeros(2, 4, 3, 1), { 0, 1 }, { eps = 0.1 }).n, 2)
end

function T:test_tensors_are_shared_unless_they_are_turned()
  local x = lip.zeros(2, 1, 4, 4)
  local set = lip.data.tensors(x)
  x:fill(1)
  lu.assertEquals(set:batch(1, 1):sum(), 16)
end

-- What was guessed is said once, on the standard error; what was asked for is not.
function T:test_a_guess_is_said()
  self:npy("x.npy", "|u1", { 2, 6, 5, 3 }, some_bytes(180))
  local text = self:says [[
    local lip = require "lip"
    local set = assert(lip.data.npy "x.npy")
    set:subset(1, 1)
  ]]
  lu.assertEquals(text, "lipwb: WARNING: x.npy: 2x6x5x3 is read as images of 6 x 5 whose 3 channels stand last; " ..
    "channels = \"first\" reads 6 channels of 5 x 3\n")
  lu.assertEquals(self:says [[assert(require "lip".data.npy("x.npy", nil, { channels = "last" }))]], "")
end

-- ---- the first line of a table ----

function T:test_a_first_line_that_counts()
  local function read(text, options)
    self:write("t.csv", text)
    return self:says(("local set = assert(require 'lip'.data.csv('t.csv', %s)) print(#set, set:info().features)")
      :format(options or "nil"))
  end
  local body = "0.5,0.2,1\n0.1,0.9,0\n"
  local warned = "lipwb: WARNING: t.csv: its first line counts 0, 1, 2, ... like names of columns"
  lu.assertStrContains(read("0,1,2\n" .. body), warned)
  lu.assertStrContains(read("0,1,2\n" .. body), "\n3\t3\n")
  lu.assertEquals(read("0,1,2\n" .. body, "{ header = true }"), "2\t3\n")
  lu.assertEquals(read("0,1,2\n" .. body, "{ header = false }"), "3\t3\n")
  lu.assertStrContains(read('"0","1","2"\n' .. body), warned)
  lu.assertStrContains(read(",0,1,2\n0,0.5,0.2,1\n1,0.1,0.9,0\n", "{ fill = 0 }"), warned) -- with an index
  -- ordinary lines, and names that are texts
  lu.assertEquals(read(body), "2\t3\n")
  lu.assertEquals(read("1,2,3\n" .. body), "3\t3\n")
  lu.assertEquals(read("0\n1\n2\n"), "3\t1\n")
  lu.assertEquals(read("a,1,2\n" .. body), "2\t3\n")
end

return T
