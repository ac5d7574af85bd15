-- lipwb show and lipwb convert: what they print, what they write, how they end; lipwb check of an ONNX file.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local quote = outside.quote

local T = {}
local folder

local function path(name) return folder .. "/" .. name end

function T.setUp()
  folder = os.tmpname()
  os.remove(folder)
  assert(lip.file.mkdir(folder))
end

function T.tearDown()
  os.execute("rm -rf " .. quote(folder))
end

local function start(...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = quote(word) end
  return outside.start(table.concat(words, " "))
end

-- The status must be this one; all that was printed, in one text.
local function expect(status, ...)
  local found, out, err = start(...)
  lu.assertEquals(found, status, out .. err)
  if status == 0 then lu.assertEquals(err, "") end
  return out .. err
end

local function made(norm)
  return lip.net { input = { 6 }, norm = norm or 2, seed = 3, lip.dense { out = 5 }, lip.relu(), lip.dense { out = 3 } }
end

local function saved(name, net)
  assert((net or made()):save(path(name)))
  return path(name)
end

-- A safetensors file of arrays { name, type, {shape}, bytes }.
local function foreign(name, list)
  local header, bytes = {}, {}
  local at = 0
  for i, a in ipairs(list) do
    header[i] = ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(a[1], a[2], table.concat(a[3], ","), at,
      at + #a[4])
    bytes[i] = a[4]
    at = at + #a[4]
  end
  local text = "{" .. table.concat(header, ",") .. "}"
  text = text .. (" "):rep(-#text % 8)
  assert(lip.file.write(path(name), ("<I8"):pack(#text) .. text .. table.concat(bytes)))
  return path(name)
end

local function state_dict()
  return foreign("state.safetensors", { { "0.weight", "F32", { 2, 3 }, ("<ffffff"):pack(1, 2, 3, 4, 5, 6) },
    { "0.bias", "F16", { 2 }, "\0\x3c\0\x40" }, { "step", "I64", {}, ("<i8"):pack(7) } })
end

-- ---- show ----

function T.test_show_a_checkpoint()
  local net = made()
  local out = expect(0, "show", saved("net.safetensors", net))
  lu.assertStrContains(out, "6 -> 5")
  for _, p in ipairs { 1, 2, "inf" } do
    local shown = tonumber(out:match(("norm %s: (%%S+)"):format(p)))
    local upper = net:bound { p = p }.upper
    lu.assertTrue(shown >= upper and shown <= upper * (1 + 1e-7), p)
  end
end

function T.test_show_foreign_arrays()
  local out = expect(0, "show", state_dict())
  lu.assertStrContains(out, "3 arrays, 9 numbers")
  lu.assertStrMatches(out, ".*0%.weight +F32 +2 x 3\n.*")
  lu.assertStrMatches(out, ".*0%.bias +F16 +2\n.*")
  lu.assertStrMatches(out, ".*step +I64 +one number\n.*")
end

-- One array in a ZIP archive, stored.
local function archive(name)
  local dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
  dict = dict .. (" "):rep(-(11 + #dict) % 64) .. "\n"
  local data = "\x93NUMPY\1\0" .. ("<I2"):pack(#dict) .. dict .. ("<ffff"):pack(1, 2, 3, 4)
  local crc = lip.deflate(data):sub(-8, -5)
  local rest = ("<I2I2I2I2I2"):pack(20, 0, 0, 0, 33) .. crc .. ("<I4I4I2I2"):pack(#data, #data, 5, 0)
  local first = "PK\3\4" .. rest .. "w.npy" .. data
  local entry = "PK\1\2" .. ("<I2"):pack(20) .. rest .. ("<I2I2I2I4I4"):pack(0, 0, 0, 0, 0) .. "w.npy"
  local last = "PK\5\6" .. ("<I2I2I2I2I4I4I2"):pack(0, 0, 1, 1, #entry, #first, 0)
  assert(lip.file.write(path(name), first .. entry .. last))
  return path(name)
end

function T.test_show_an_archive()
  local out = expect(0, "show", archive "arrays.npz")
  lu.assertStrContains(out, "1 arrays, 4 numbers")
  lu.assertStrMatches(out, ".*w +F32 +2 x 2\n.*")
end

function T.test_show_a_certificate()
  assert(made():certificate(path "net.cert", lip.zeros(2, 6)))
  local out = expect(0, "show", path "net.cert")
  lu.assertStrContains(out, "certificate: 6;dense 5;relu 0;dense 3, method product, norms 2")
  lu.assertStrContains(out, "weights_sha256")
end

local query = [[
(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (and (<= X_0 0.5) (>= X_0 -0.25)))
(assert (or (<= Y_0 1) (>= (+ X_0 Y_0) 2)))
]]

function T.test_show_a_query()
  assert(lip.file.write(path "q.vnnlib.gz", lip.deflate(query)))
  local out = expect(0, "show", path "q.vnnlib.gz")
  lu.assertStrContains(out, "unsafe: any of 2 cases")
  lu.assertStrContains(out, "case 1: 1 of 1 inputs between two numbers, the widest 0.75 apart; 1 inequalities of outputs")
  lu.assertStrContains(out, "case 2: 1 of 1 inputs between two numbers, the widest 0.75 apart; 0 inequalities of outputs, 1 of")
end

function T.test_show_refuses()
  lu.assertStrContains(expect(1, "show", path "none.safetensors"), "none.safetensors")
  assert(lip.file.write(path "bad.vnnlib", query:sub(1, 60)))
  lu.assertStrContains(expect(1, "show", path "bad.vnnlib"), "line 3, column 10")
  assert(lip.file.write(path "bad.safetensors", "none"))
  expect(1, "show", path "bad.safetensors")
  lu.assertStrContains(expect(2, "show", path "net.txt"), "known are")
  lu.assertStrContains(expect(2, "show"), "Usage: lipwb show")
  lu.assertStrContains(expect(2, "show", "a.onnx", "--input", "3,x"), "a shape like 1,28,28")
  lu.assertStrContains(expect(0, "show", "--help"), "Exit status")
end

-- ---- convert ----

local function needs(what, there)
  if not there then lu.skip("this build has no " .. what) end
end

-- Whether net:export knows a format: an unknown one is named in its message.
local function can_export(format)
  local net = made()
  local known, method = pcall(function() return net.export end)
  if not known or not method then return false end
  local _, message = pcall(method, net, { [format] = 1 })
  return not tostring(message):find "unknown option"
end

local function weights(net)
  local list = {}
  for i, p in ipairs(net:parameters()) do list[i] = p.value:totable() end
  return list
end

function T.test_round_trip_by_onnx()
  needs("lip.onnx", rawget(lip, "onnx"))
  needs("net:export{onnx}", can_export "onnx")
  for _, norm in ipairs { 2, "inf" } do
    local net = made(norm)
    local from = saved("net.safetensors", net)
    lu.assertStrContains(expect(0, "convert", from, path "net.onnx"), "net.onnx: 3 layers, 53 parameters")
    expect(0, "convert", path "net.onnx", path "back.safetensors", "--norm", tostring(norm))
    local back = assert(lip.load(path "back.safetensors"))
    lu.assertEquals(weights(back), weights(net))
    for _, p in ipairs { 1, 2, "inf" } do lu.assertEquals(back:bound { p = p }.upper, net:bound { p = p }.upper) end
    local out = expect(0, "show", path "net.onnx")
    lu.assertStrContains(out, "norm inf: " .. ("%.8g"):format(lip.round_up(net:bound { p = "inf" }.upper, 8)))
  end
end

function T.test_check_takes_onnx()
  needs("lip.onnx", rawget(lip, "onnx"))
  needs("net:export{onnx}", can_export "onnx")
  for _, norm in ipairs { 2, "inf" } do
    local net = made(norm)
    assert(net:export { onnx = path "net.onnx" })
    local imported = assert(lip.onnx(path "net.onnx", { norm = norm }))
    assert(imported:certificate(path "net.cert", lip.rand(1, { 4, 6 })))
    lu.assertStrContains(expect(0, "check", path "net.cert", path "net.onnx"), "accepted: ")
    assert(lip.net { input = { 6 }, norm = norm, seed = 4, lip.dense { out = 5 }, lip.relu(), lip.dense { out = 3 } }
      :export { onnx = path "other.onnx" })
    lu.assertStrContains(expect(1, "check", path "net.cert", path "other.onnx"), "refused: ")
  end
  assert(lip.file.write(path "bad.onnx", "none"))
  expect(2, "check", path "net.cert", path "bad.onnx")
end

function T.test_folder()
  needs("net:export{c}", can_export "c")
  local from = saved "net.safetensors"
  lu.assertStrContains(expect(0, "convert", from, path "my-net/"), "my-net/: 3 layers, 53 parameters")
  for _, name in ipairs { "my_net.h", "my_net.c", "my_net_test.c" } do
    lu.assertNotNil(lip.file.stat(path("my-net/" .. name)), name)
  end
  lu.assertStrContains(expect(0, "show", path "my-net"), "C source my_net: 6 inputs, 3 outputs, norm \"2\"")
  assert(lip.file.write(path "my-net/my_net.c", "int main(void) { return 0; }\n"))
  lu.assertStrContains(expect(1, "convert", from, path "my-net/"), "my_net.c: is there and not from such an export")
  lu.assertEquals(lip.file.read(path "my-net/my_net.c"), "int main(void) { return 0; }\n")
  assert(lip.file.mkdir(path "empty"))
  lu.assertStrContains(expect(1, "show", path "empty/"), "no C source")
  expect(0, "convert", from, path "c/", "--name", "digits")
  lu.assertNotNil(lip.file.stat(path "c/digits.c"))
  local out = expect(1, "convert", from, path "c/", "--name", "7up")
  lu.assertStrContains(out, path "c/: ")
  lu.assertNil(out:find "convert.lua")
end

function T.test_torch()
  needs("net:export{torch}", can_export "torch")
  local from = saved "net.safetensors"
  local bytes = assert(lip.file.read(from))
  -- its arrays would take the place of the checkpoint
  lu.assertStrContains(expect(1, "convert", from, path "net.py"), "net.safetensors: is there and not from such an export")
  lu.assertEquals(lip.file.read(from), bytes)
  lu.assertNil(lip.file.stat(path "net.py"))
  expect(0, "convert", from, path "module.py")
  expect(0, "convert", from, path "module.py") -- its own it replaces
  lu.assertStrContains(assert(lip.file.read(path "module.py")), "torch")
  assert(lip.file.write(path "script.py", "import torch\n"))
  lu.assertStrContains(expect(1, "convert", from, path "script.py"), "script.py: is there")
  lu.assertEquals(lip.file.read(path "script.py"), "import torch\n")
  lu.assertNil(lip.file.stat(path "script.safetensors"))
  assert(lip.file.write(path "empty.py", ""))
  expect(0, "convert", from, path "empty.py")
end

function T.test_npz_fills_the_same_net_again()
  local net, other = made(), lip.net { input = { 6 }, norm = 2, budget = math.huge, seed = 4, lip.dense { out = 5 },
    lip.relu(), lip.dense { out = 3 } }
  lu.assertStrContains(expect(0, "convert", saved("net.safetensors", net), path "net.npz"), "53 parameters")
  local arrays, info = assert(lip.tensors(path "net.npz"))
  lu.assertEquals(info.order, { "1.dense.weight", "1.dense.bias", "3.dense.weight", "3.dense.bias" })
  lu.assertEquals(arrays["3.dense.weight"]:totable(), net:weights(2):totable())
  assert(other:load_weights(path "net.npz"))
  lu.assertEquals(weights(other), weights(net))
  local before = assert(lip.file.read(path "net.npz"))
  net:weights(1):set(1, 1, 0 / 0)
  local done, message, code = net:export { npz = path "net.npz" }
  lu.assertNil(done)
  lu.assertStrContains(message, "1.dense.weight has a NaN")
  lu.assertEquals(code, "not_finite")
  lu.assertEquals(lip.file.read(path "net.npz"), before)
end

function T.test_convert_a_checkpoint()
  local net = made()
  expect(0, "convert", saved("a.safetensors", net), path "b.safetensors")
  lu.assertEquals(weights(assert(lip.load(path "b.safetensors"))), weights(net))
end

function T.test_convert_a_query()
  assert(lip.file.write(path "q.vnnlib", query))
  lu.assertStrContains(expect(0, "convert", path "q.vnnlib", path "q2.vnnlib.gz", "--version", "2"), "vnnlib 2")
  local q = assert(lip.property.vnnlib(path "q2.vnnlib.gz"))
  lu.assertEquals(q.version, 2)
  lu.assertEquals(q:text { version = 1 }, assert(lip.property.vnnlib { text = query }):text())
end

function T.test_convert_refuses()
  local from = saved "net.safetensors"
  local out = expect(1, "convert", state_dict(), path "net.onnx")
  lu.assertStrContains(out, 'net:load_weights("' .. path "state.safetensors" .. '")')
  lu.assertStrContains(expect(1, "convert", archive "a.npz", path "net.onnx"), "net:load_weights")
  lu.assertStrContains(expect(2, "convert", from, path "net.mat"), "OUT ends with")
  lu.assertStrContains(expect(2, "convert", path "net.py", path "net.onnx"), "IN ends with")
  lu.assertStrContains(expect(2, "convert", from, path "net.onnx", "--norm", "2"), "--norm goes with an ONNX file")
  lu.assertStrContains(expect(2, "convert", from, path "net.onnx", "--name", "x"), "--name does not go with")
  lu.assertStrContains(expect(2, "convert", from, path "net.onnx", "--version", "2"), "VNN-LIB")
  lu.assertStrContains(expect(2, "convert", from), "Usage: lipwb convert")
  lu.assertStrContains(expect(1, "convert", path "none.safetensors", path "net.onnx"), "none.safetensors")
  assert(lip.file.write(path "q.vnnlib", query))
  lu.assertStrContains(expect(2, "convert", path "q.vnnlib", path "net.onnx"), "becomes a .vnnlib file")
  lu.assertStrContains(expect(0, "convert", "--help"), "Exit status")
end

return T
