-- lip.tensors: arrays of foreign safetensors and NPZ files, whole, damaged and hostile.
local lu = require "luaunit"
local lip = require "lip"
local foreign = require "support_foreign"

local stress = os.getenv "LIPWB_GC_STRESS" == "1"
local T = {}

function T:setUp()
  self.path = os.tmpname()
end

function T:tearDown()
  os.remove(self.path)
end

function T:read(bytes)
  foreign.spill(self.path, bytes)
  return lip.tensors(self.path)
end

local function numbers(t)
  local list, flat = {}, t:reshape(t:size())
  for i = 1, t:size() do list[i] = flat:get(i) end
  return list
end

function T:refused(bytes, pattern)
  local arrays, message, code = self:read(bytes)
  lu.assertNil(arrays)
  lu.assertStrContains(message, self.path)
  lu.assertStrMatches(message, ".*" .. pattern .. ".*")
  lu.assertEquals(code, "format")
end

-- ---- safetensors ----

local cases = {
  { "F64", "<d", { 0.1, -2, 1e-320 }, rounded = true }, { "F64", "<d", { 0.5, -2, 1 / 0 } }, { "F32", "<f", { 0.1, -0.0, 1e-45 } },
  { "I64", "<i8", { -1, 2 ^ 24 | 0, math.mininteger } }, { "I64", "<i8", { -1, (1 << 24) + 1, 3 }, rounded = true },
  { "I64", "<i8", { math.maxinteger, 0, 0 }, rounded = true }, { "U64", "<I8", { -1, 1, 2 }, rounded = true },
  { "I32", "<i4", { -2147483648, 7, -7 } }, { "I32", "<i4", { 2147483647, 0, 0 }, rounded = true },
  { "U32", "<I4", { 4294967040, 1, 2 } }, { "I16", "<i2", { -32768, 32767, 0 } }, { "U16", "<I2", { 65535, 1, 0 } },
  { "I8", "<i1", { -128, 127, 0 } }, { "U8", "<I1", { 255, 128, 0 } }, { "BOOL", "<I1", { 1, 0, 1 } },
}

function T:test_every_type_of_number()
  for _, c in ipairs(cases) do
    local bytes = {}
    for i, v in ipairs(c[3]) do bytes[i] = c[2]:pack(v) end
    local arrays, info = assert(self:read(foreign.safetensors { { "x", c[1], { 3 }, table.concat(bytes) } }))
    for i, v in ipairs(numbers(arrays.x)) do
      local want = c[3][i]
      if c[1] == "U64" and want < 0 then want = 2.0 ^ 64 + want end
      lu.assertEquals(v, (("<f"):unpack(("<f"):pack(want))), c[1])
    end
    lu.assertEquals(info, { order = { "x" }, types = { x = c[1] }, rounded = c.rounded and { "x" } or {} })
  end
end

-- binary16 against the definition of its values: sign, exponent, fraction.
function T:test_half_and_bfloat16()
  local bits, want = {}, {}
  for h = 0, 0x7bff, stress and 977 or 7 do
    local e, f = h >> 10, h & 0x3ff
    bits[#bits + 1] = ("<I2I2"):pack(h, h | 0x8000)
    local v = e == 0 and f * 2.0 ^ -24 or (1 + f / 1024) * 2.0 ^ (e - 15)
    want[#want + 1], want[#want + 2] = v, -v
  end
  local arrays = assert(self:read(foreign.safetensors { { "h", "F16", { #want }, table.concat(bits) } }))
  lu.assertEquals(numbers(arrays.h), want)
  arrays = assert(self:read(foreign.safetensors { { "h", "F16", { 3 }, ("<I2I2I2"):pack(0x7c00, 0xfc00, 0x7e01) },
    { "b", "BF16", { 2, 2 }, ("<I2I2I2I2"):pack(0x3f80, 0xc049, 0x7f80, 1) } }))
  local h = numbers(arrays.h)
  lu.assertEquals({ h[1], h[2] }, { math.huge, -math.huge })
  lu.assertTrue(h[3] ~= h[3])
  lu.assertEquals(numbers(arrays.b), { 1, -3.140625, math.huge, 0x1p-133 })
  lu.assertEquals(arrays.b:shape(), { 2, 2 })
end

function T:test_shapes_and_names()
  local arrays, info = assert(self:read(foreign.safetensors { { "10.w", "F32", { 1, 2, 1, 2 }, ("\0"):rep(16) },
    { "n", "I64", {}, ("<i8"):pack(5) }, { "../a b\n\"", "F32", { 0, 3 }, "" }, { "2.w", "U8", { 1 }, "\1" } }))
  lu.assertEquals(info.order, { "10.w", "n", "../a b\n\"", "2.w" })
  lu.assertEquals(arrays["10.w"]:shape(), { 1, 2, 1, 2 })
  lu.assertEquals(arrays.n:shape(), {})
  lu.assertEquals(arrays["../a b\n\""]:shape(), { 0, 3 })
  lu.assertEquals(next((assert(self:read(foreign.safetensors {})))), nil)
end

function T:test_what_is_refused_says_what_to_do()
  self:refused(foreign.safetensors { { "x", "F8_E4M3", { 2 }, "\0\0" } }, "F8_E4M3, .* save it as float32")
  self:refused(foreign.safetensors { { "x", "F32", { 1, 1, 1, 1, 1 }, "\0\0\0\0" } }, "at most four sizes .reshape it")
  self:refused("\x93NUMPY\1\0rest", "load_npy")
  self:refused("\x80\2\x8a\nl\xfc\x9cF\xf9", "pickle.*safetensors%.torch%.save_file")
  self:refused("\x80\4\x95\x10\0\0\0\0\0\0\0}", "pickle.*safetensors%.torch%.save_file")
  self:refused("", "")
  self:refused("hello, world", "not a safetensors file")
  local _, message, code = lip.tensors(self.path .. ".not_there")
  lu.assertStrContains(message, "No such file")
  lu.assertEquals(code, "not_found")
  lu.assertErrorMsgContains("string expected", lip.tensors, 5)
  lu.assertErrorMsgContains("string expected", lip.tensors)
end

function T:test_headers_that_lie()
  local function entry(shape, from, to, dtype)
    return ('{"x":{"dtype":"%s","shape":[%s],"data_offsets":[%s,%s]}}'):format(dtype or "I64", shape, from, to)
  end
  local function file(header, n) return ("<I8"):pack(#header) .. header .. ("\0"):rep(n) end
  self:refused(file(entry("1000000000000", 0, 8), 8), "disagree")
  self:refused(file(entry("9223372036854775807,9223372036854775807", 0, 8), 8), "too large")
  self:refused(file(entry("1", 8, 16), 16), "unused bytes")
  self:refused(file(entry("1", 0, 16), 8), "outside")
  self:refused(file(entry("-1", 0, 8), 8), "not a whole number")
  self:refused(file(entry("1.5", 0, 8), 8), "not a whole number")
  self:refused(file('{"x":1}', 0), "no dtype")
  self:refused(file("[]", 0), "not a safetensors file")
  self:refused(file(entry("1", 0, 8), 16), "follow the last array")
  self:refused(file('{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', 3),
    "overlaps")
  self:refused(file('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2),
    "JSON")
  self:refused(("<I8"):pack(math.maxinteger) .. "{}", "cut short")
end

function T:test_cut_anywhere()
  local whole = foreign.safetensors { { "a", "F16", { 2, 2 }, "12345678" }, { "b", "I64", { 2 }, "1234567812345678" } }
  for n = 0, #whole - 1, stress and 37 or 1 do self:refused(whole:sub(1, n), "") end
end

-- Checkpoints stay strict, a look at a file does not.
function T:test_checkpoints_refuse_other_types()
  foreign.spill(self.path, foreign.safetensors { { "1.dense.weight", "F16", { 1 }, "\0\0" } })
  local net, message = lip.load(self.path)
  lu.assertNil(net)
  lu.assertStrContains(message, "dtype is not F32 or F64")
  lu.assertEquals(assert(lip.inspect(self.path)).arrays, { { name = "1.dense.weight", type = "F16", shape = { 1 } } })
end

-- ---- NPZ ----

local function floats(list)
  local out = {}
  for i, v in ipairs(list) do out[i] = ("<f"):pack(v) end
  return table.concat(out)
end

function T:test_archives_stored_and_packed()
  local w = foreign.npy("<f4", { 2, 3 }, floats { 1, 2, 3, 4, 5, 6 })
  for _, packed in ipairs { false, true } do
    local arrays, info = assert(self:read(foreign.zip { { "b.weight.npy", w, packed = packed },
      { "/etc/passwd.npy", foreign.npy(">i8", { 2 }, (">i8i8"):pack(-3, (1 << 53) + 1)), packed = packed },
      { "half.npy", foreign.npy("<f2", { 1 }, "\0\x3c"), packed = packed },
      { "f.npy", foreign.npy("<f8", { 3, 2 }, ("<dddddd"):pack(1, 2, 3, 4, 5, 6), true), packed = packed },
      { "s.npy", foreign.npy("|b1", {}, "\1"), packed = packed } }))
    lu.assertEquals(info.order, { "b.weight", "/etc/passwd", "half", "f", "s" })
    lu.assertEquals(info.rounded, { "/etc/passwd" })
    lu.assertEquals(info.types, { ["b.weight"] = "F32", ["/etc/passwd"] = "I64", half = "F16", f = "F64", s = "BOOL" })
    lu.assertEquals(numbers(arrays["b.weight"]), { 1, 2, 3, 4, 5, 6 })
    lu.assertEquals(arrays["b.weight"]:shape(), { 2, 3 })
    lu.assertEquals(numbers(arrays["/etc/passwd"]), { -3, 2.0 ^ 53 })
    lu.assertEquals(numbers(arrays.half), { 1 })
    lu.assertEquals(numbers(arrays.f), { 1, 4, 2, 5, 3, 6 })
    lu.assertEquals(arrays.s:shape(), {})
  end
  lu.assertEquals(next((assert(self:read(foreign.zip {})))), nil)
  local big = foreign.npy("<f4", { 250000 }, ("\0"):rep(1000000)) -- 1000 times its packed size
  lu.assertEquals(assert(self:read(foreign.zip { { "z.npy", big, packed = true } })).z:size(), 250000)
end

function T:test_archives_that_are_refused()
  local w = foreign.npy("<f4", { 2 }, floats { 1, 2 })
  self:refused(foreign.zip { { "a.npy", w }, { "a.npy", w } }, "there twice")
  self:refused(foreign.zip { { "a.npy", w, flags = 1 } }, "encrypted")
  self:refused(foreign.zip { { "a.npy", w, method = 12 } }, "packed in another way")
  self:refused(foreign.zip { { "a.txt", w } }, "no array")
  self:refused(foreign.zip { { "net/data.pkl", w } }, "torch%.save.*save_file")
  self:refused(foreign.zip { { "a.npy", w, crc = 5 } }, "damaged")
  self:refused(foreign.zip { { "a.npy", w, packed = true, crc = 5 } }, "damaged")
  self:refused(foreign.zip { { "a.npy", "no array" } }, "NPY")
  self:refused(foreign.zip { { "a.npy", foreign.npy("|O", { 1 }, "x") } }, "unpickled")
  self:refused(foreign.zip { { "a.npy", foreign.npy("<f4", { 1000000000 }, "") } }, "announces")
  self:refused(foreign.zip { { "a.npy", foreign.npy("<f4", { 1 }, "12345678") } }, "more bytes follow")
  self:refused(foreign.zip({ { "a.npy", w } }, 9999), "more members than it can hold")
end

-- What a member says of its size is believed as far as deflate can go; what it really unpacks to is counted.
function T:test_archives_that_lie_about_sizes()
  local w = foreign.npy("<f4", { 2 }, floats { 1, 2 })
  self:refused(foreign.zip { { "a.npy", w, packed = true, size = 4000000000 } }, "can be unpacked")
  self:refused(foreign.zip { { "a.npy", w, size = #w + 1 } }, "")
  self:refused(foreign.zip { { "a.npy", w, packed = true, size = #w + 1 } }, "")
  self:refused(foreign.zip { { "a.npy", w, packed = true, size = #w - 1 } }, "")
  local many, bomb = {}, foreign.npy("<f4", { 250000 }, ("\0"):rep(1000000))
  for i = 1, 20 do many[i] = { ("m%d.npy"):format(i), i == 1 and bomb or "", packed = true } end
  local packed = #lip.deflate(bomb) - 18 -- every member is the first one's bytes
  local gzip = lip.deflate(bomb)
  for i = 2, 20 do
    local m = many[i]
    m.at, m.packed_size, m.size, m.crc = 0, packed, #bomb, (("<I4"):unpack(gzip, #gzip - 7))
  end
  self:refused(foreign.zip(many), "outside the file, or on another")
end

-- The record of large archives (zip64) says how many members there are in 64 bits.
function T:test_ends_of_large_archives()
  local whole = foreign.zip { { "a.npy", foreign.npy("<f4", { 2 }, floats { 1, 2 }) } }
  local before, last = whole:sub(1, -23), whole:sub(-22)
  local size, at = ("<I4I4"):unpack(last, 13)
  local function large(count)
    local record = "PK\6\6" .. ("<I8I2I2I4I4I8I8I8I8"):pack(44, 45, 45, 0, 0, count, count, size, at)
    return before .. record .. "PK\6\7" .. ("<I4I8I4"):pack(0, #before, 1) .. last
  end
  lu.assertEquals(numbers(assert(self:read(large(1))).a), { 1, 2 })
  for _, count in ipairs { 2, 1 << 20, 1 << 40, math.maxinteger } do self:refused(large(count), "more members than it can hold") end
end

function T:test_archives_cut_or_changed_anywhere()
  local whole = foreign.zip { { "a.npy", foreign.npy("<f4", { 2 }, floats { 1, 2 }), packed = true },
    { "b.npy", foreign.npy("<i2", { 2 }, "1234") } }
  for n = 4, #whole - 1, stress and 41 or 3 do self:refused(whole:sub(1, n), "") end
  for n = 1, #whole, stress and 41 or 1 do
    local arrays, message, code = self:read(whole:sub(1, n - 1) .. string.char(whole:byte(n) ~ 0x55) .. whole:sub(n + 1))
    lu.assertTrue(arrays and true or type(message) == "string" and (code == "format"))
  end
end

-- ---- Python's own files ----

function T:test_files_of_torch_and_numpy()
  local copy = self.path .. ".npz"
  local text, why = foreign.python("torch, numpy, safetensors.torch", [=[
import sys, numpy as np, torch
from safetensors.torch import save_file
torch.manual_seed(1)
d = {"0.weight": torch.randn(3, 4), "0.bias": torch.randn(3).double(), "10.weight": torch.randn(2, 3).half(),
     "2.weight": torch.randn(2, 3).bfloat16(), "n": torch.tensor(2**40 + 1), "b": torch.tensor([True, False]),
     "u": torch.tensor([200], dtype=torch.uint8), "i": torch.tensor([[-5, 7]], dtype=torch.int16)}
save_file(d, sys.argv[1])
n = {k: v.float().numpy() if v.dtype == torch.bfloat16 else v.numpy() for k, v in d.items()}
np.savez(sys.argv[2], **n)
for k, v in d.items():
    print(k, *[x.hex() for x in v.to(torch.float32).flatten().tolist()])
np.savez_compressed(sys.argv[2] + ".npz", **n)
]=], self.path, copy)
  if not text then return print(why) end
  for _, path in ipairs { self.path, copy, copy .. ".npz" } do
    local arrays, info = assert(lip.tensors(path))
    local count = 0
    for name, rest in text:gmatch "(%S+) ([^\n]+)\n" do
      local want = {}
      for v in rest:gmatch "%S+" do want[#want + 1] = tonumber(v) end
      lu.assertEquals(numbers(arrays[name]), want, path .. name)
      count = count + 1
    end
    lu.assertEquals(count, 8)
    lu.assertEquals(info.rounded[#info.rounded], "n")
  end
  os.remove(copy)
  os.remove(copy .. ".npz")
end

return T
