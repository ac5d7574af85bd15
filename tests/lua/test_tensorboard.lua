-- Event files: their framing, checksums and contents by a reader of our own that shares nothing with the writer, then
-- by TensorBoard's own loader where a Python has it ($LIPWB_PYTHON, else python3).
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local program, quote, output = outside.program, outside.quote, outside.output

-- ---- a reader: bit by bit, from the definitions ----

local function crc(text, polynomial)
  local c = 0xffffffff
  for i = 1, #text do
    c = c ~ text:byte(i)
    for _ = 1, 8 do c = (c >> 1) ~ (polynomial & -(c & 1)) end
  end
  return c ~ 0xffffffff
end

local function mask(c)
  return (((c >> 15) | (c << 17 & 0xffffffff)) + 0xa282ead8) % 2 ^ 32 // 1 | 0
end

-- { { field, value }, ... } of one message: value a whole number or bytes.
local function fields(text)
  local list, at = {}, 1
  local function varint()
    local n, shift = 0, 0
    while true do
      local b = text:byte(at)
      at, n, shift = at + 1, n | (b & 127) << shift, shift + 7
      if b < 128 then return n end
    end
  end
  while at <= #text do
    local key = varint()
    local kind, value = key & 7 -- luacheck: ignore 311
    if kind == 0 then
      value = varint()
    else
      local size = kind == 1 and 8 or kind == 5 and 4 or varint()
      value, at = text:sub(at, at + size - 1), at + size
    end
    list[#list + 1] = { key >> 3, value }
  end
  return list
end

local function get(text, ...)
  for _, number in ipairs { ... } do
    local found
    for _, f in ipairs(fields(text)) do
      if f[1] == number then found = f[2] end
    end
    text = found
    if text == nil then return nil end
  end
  return text
end

local function events_of(path)
  local file <close> = assert(io.open(path, "rb"))
  local text, at, list = file:read "a", 1, {}
  while at <= #text do
    local size, check = string.unpack("<I8I4", text, at)
    lu.assertEquals(check, mask(crc(text:sub(at, at + 7), 0x82f63b78)))
    local event = text:sub(at + 12, at + 11 + size)
    lu.assertEquals(#event, size)
    lu.assertEquals((string.unpack("<I4", text, at + 12 + size)), mask(crc(event, 0x82f63b78)))
    list[#list + 1] = event
    at = at + 16 + size
  end
  return list
end

local function doubles(packed)
  local list = {}
  for i = 1, #packed, 8 do list[#list + 1] = string.unpack("<d", packed, i) end
  return list
end

local T = {}

function T:setUp()
  self.dir = output("mktemp -d"):match "[^\n]+"
end

function T:tearDown()
  os.execute("rm -rf " .. quote(self.dir))
end

function T:files()
  local list = {}
  for name in output("LC_ALL=C ls " .. quote(self.dir)):gmatch "[^\n]+" do list[#list + 1] = self.dir .. "/" .. name end
  return list
end

function T:write(fill)
  local w <close> = lip.tensorboard { dir = self.dir }
  fill(w)
end

function T:events(fill)
  self:write(fill)
  local files = self:files()
  lu.assertEquals(#files, 1)
  return events_of(files[1])
end

-- RFC 3720, B.4: what the reader above and the writer must agree with.
function T.test_checksum_of_the_standard()
  lu.assertEquals(crc(("\0"):rep(32), 0x82f63b78), 0x8a9136aa)
  lu.assertEquals(crc("123456789", 0xedb88320), 0xcbf43926)
end

function T:test_nothing_written_leaves_nothing()
  self:write(function() end)
  lu.assertEquals(self:files(), {})
end

function T:test_scalars()
  local before = os.time()
  local e = self:events(function(w)
    lu.assertTrue(w:scalar("loss/train", 0.5, 1))
    w:scalar("loss/train", -math.huge, 300)
    w:scalar("bad \xff name", 2, 2 ^ 40)
  end)
  lu.assertEquals(#e, 4)
  lu.assertEquals(get(e[1], 3), "brain.Event:2")
  local time = string.unpack("<d", get(e[2], 1))
  lu.assertTrue(time >= before - 1 and time <= os.time() + 1)
  lu.assertEquals(get(e[2], 2), 1)
  lu.assertEquals(get(e[2], 5, 1, 1), "loss/train")
  lu.assertEquals((string.unpack("<f", get(e[2], 5, 1, 2))), 0.5)
  lu.assertEquals(get(e[3], 2), 300)
  lu.assertEquals((string.unpack("<f", get(e[3], 5, 1, 2))), -math.huge)
  lu.assertEquals(get(e[4], 2), 1 << 40)
  lu.assertEquals(get(e[4], 5, 1, 1), "bad ? name")
end

function T:test_histogram_counts_every_element()
  local rng, values = lip.rng(3), {}
  for i = 1, 1000 do values[i] = rng:normal() end
  values[7] = values[9]
  local t = lip.tensor(values)
  local h = get(self:events(function(w) w:histogram("w", t:reshape(10, 100), 4) end)[2], 5, 1, 5)
  local function number(field) return (string.unpack("<d", get(h, field))) end
  local limits, counts = doubles(get(h, 6)), doubles(get(h, 7))
  lu.assertEquals(#limits, 30)
  lu.assertEquals(number(3), 1000)
  local sum, squares, low, high, previous = 0, 0, math.huge, -math.huge, -math.huge
  for _, x in ipairs(t:totable()) do
    sum, squares, low, high = sum + x, squares + x * x, math.min(low, x), math.max(high, x)
  end
  lu.assertEquals(number(1), low)
  lu.assertEquals(number(2), high)
  lu.assertAlmostEquals(number(4), sum, 1e-3)
  lu.assertAlmostEquals(number(5), squares, 1e-3 * squares)
  for i, limit in ipairs(limits) do
    local n = 0
    -- the sides are compared as float32, as the elements are
    local side = i < 30 and (string.unpack("<f", string.pack("<f", limit))) or math.huge
    for _, x in ipairs(t:totable()) do
      if x >= previous and x < side then n = n + 1 end
    end
    lu.assertEquals(counts[i], n)
    previous = side
  end
  lu.assertEquals(limits[30], high)
end

function T:test_histograms_of_few_and_of_unreal_numbers()
  local e = self:events(function(w)
    w:histogram("same", lip.full({ 4, 2 }, 3), 0)
    w:histogram("mixed", lip.tensor { 0 / 0, 1, math.huge, 2, -math.huge }, 0)
    w:histogram("none", lip.tensor { 0 / 0 }, 0)
    w:histogram("turned", lip.tensor { { 1, 2 }, { 3, 4 } }:transpose(), 0)
  end)
  local function h(i) return get(e[i + 1], 5, 1, 5) end
  lu.assertEquals(doubles(get(h(1), 6)), { 3 })
  lu.assertEquals(doubles(get(h(1), 7)), { 8 })
  lu.assertEquals((string.unpack("<d", get(h(2), 3))), 2)
  lu.assertEquals((string.unpack("<d", get(h(2), 2))), 2)
  lu.assertEquals((string.unpack("<d", get(h(3), 3))), 0)
  lu.assertEquals((string.unpack("<d", get(h(4), 4))), 10)
end

-- The chunks of a PNG with their checksums, and the pixels: the zlib stream is put into a gzip file and unpacked by
-- gzip.
function T:pixels(png)
  lu.assertEquals(png:sub(1, 8), "\x89PNG\r\n\x1a\n")
  local at, kinds, head, data = 9, {}, nil, ""
  while at <= #png do
    local size = string.unpack(">I4", png, at)
    local body = png:sub(at + 4, at + 7 + size)
    lu.assertEquals((string.unpack(">I4", png, at + 8 + size)), crc(body, 0xedb88320))
    kinds[#kinds + 1] = body:sub(1, 4)
    if body:find "^IHDR" then head = body:sub(5) elseif body:find "^IDAT" then data = data .. body:sub(5) end
    at = at + 12 + size
  end
  lu.assertEquals(kinds, { "IHDR", "IDAT", "IEND" })
  lu.assertEquals(((data:byte(1) << 8) | data:byte(2)) % 31, 0)
  local path = self.dir .. "/pixels.gz"
  local file = assert(io.open(path, "wb"))
  file:write("\x1f\x8b\8\0\0\0\0\0\0\3", data:sub(3, -5), ("\0"):rep(8))
  file:close()
  local plain = output("gzip -dc " .. quote(path) .. " 2>/dev/null")
  local a, b = 1, 0
  for i = 1, #plain do a = (a + plain:byte(i)) % 65521 b = (b + a) % 65521 end
  lu.assertEquals((string.unpack(">I4", data, #data - 3)), b << 16 | a)
  return head, plain
end

function T:test_images()
  local e = self:events(function(w)
    w:image("grey", lip.tensor { { 0, 0.5, 1 }, { -3, 0 / 0, 7 } }, 1)
    w:image("colour", lip.tensor { { { 1 } }, { { 0 } }, { { 0.2 } } }, 2)
    w:image("flat", lip.zeros(1, 28, 28), 3)
  end)
  local image = get(e[2], 5, 1, 4)
  lu.assertEquals({ get(image, 1), get(image, 2), get(image, 3) }, { 2, 3, 1 })
  local head, plain = self:pixels(get(image, 4))
  lu.assertEquals(head, string.pack(">I4I4BBBBB", 3, 2, 8, 0, 0, 0, 0))
  lu.assertEquals(plain, "\0\0\128\255" .. "\0\0\0\255")
  image = get(e[3], 5, 1, 4)
  lu.assertEquals(get(image, 3), 3)
  head, plain = self:pixels(get(image, 4))
  lu.assertEquals(head, string.pack(">I4I4BBBBB", 1, 1, 8, 2, 0, 0, 0))
  lu.assertEquals(plain, "\0\255\0\51")
  lu.assertEquals(select(2, self:pixels(get(e[4], 5, 1, 4, 4))), ("\0"):rep(28 * 29))
end

-- A run that goes on voids what stands from its first step on.
function T:test_a_second_writer_says_where_it_starts()
  self:write(function(w) for i = 1, 5 do w:scalar("a", i, i) end end)
  self:write(function(w) w:scalar("a", 30, 3) w:scalar("a", 40, 4) end)
  local files = self:files()
  lu.assertEquals(#files, 2)
  local e = events_of(files[2])
  lu.assertEquals(#e, 4)
  lu.assertEquals(get(e[2], 7, 1), 1)
  lu.assertEquals(get(e[2], 2), 3)
  lu.assertNil(get(e[3], 7))
end

function T:test_misuse()
  lu.assertErrorMsgContains("dir = a folder", lip.tensorboard, {})
  lu.assertErrorMsgContains("option 'path'", lip.tensorboard, { dir = self.dir, path = 1 })
  local w = lip.tensorboard { dir = self.dir .. "/below/it" }
  lu.assertErrorMsgContains("expects a number", w.scalar, w, "a", "b", 1)
  lu.assertErrorMsgContains("whole number", w.scalar, w, "a", 1, -1)
  lu.assertErrorMsgContains("whole number", w.scalar, w, "a", 1, 1.5)
  lu.assertErrorMsgContains("(3, H, W), got 2 x 3 x 3", w.image, w, "a", lip.zeros(2, 3, 3), 1)
  w:scalar("a", 1, 1)
  w:close()
  w:close()
  lu.assertErrorMsgContains("closed", w.scalar, w, "a", 1, 2)
  local file = assert(io.open(self.dir .. "/file", "w"))
  file:close()
  local ok, message, code = lip.tensorboard { dir = self.dir .. "/file/x" }:scalar("a", 1, 1)
  lu.assertNil(ok)
  lu.assertIsString(message)
  lu.assertIsString(code)
end

local SCRIPT = [[
local lip = require "lip"
local args = lip.args { epochs = 3, seed = 1 }
local ds = lip.data.digits { n = 64 }
local net = lip.net { input = ds:info().shape, norm = 2, budget = 4, lip.flatten{}, lip.dense{ out = 10 } }
assert(lip.train(net, ds, { epochs = args.epochs, validation = ds }))
assert(lip.train(net, ds, { epochs = 1 }))
return { clean = 0.25, note = "none" }
]]

-- A script that knows nothing of TensorBoard.
function T:test_the_option_of_the_program()
  local script, first = self.dir .. "/s.lua", 0
  while arg[first - 1] do first = first - 1 end
  local file = assert(io.open(script, "w"))
  file:write(SCRIPT)
  file:close()
  local events = self.dir .. "/events"
  local function run(dir)
    return output(("%s %s --set epochs=2 --tensorboard %s 2>&1"):format(quote(program), quote(script), quote(dir)))
  end
  lu.assertEquals(run(events), "")
  local seen = {}
  for path in output("find " .. quote(events) .. " -type f | LC_ALL=C sort"):gmatch "[^\n]+" do
    local inner = path:find("/train2/", 1, true) and "2:" or ""
    for _, event in ipairs(events_of(path)) do
      local tag = get(event, 5, 1, 1)
      if tag then seen[#seen + 1] = ("%s%s@%d"):format(inner, tag, get(event, 2)) end
    end
  end
  local function epoch(i, validation)
    local names = { "loss", "lr" }
    if validation then names[3] = "validation/accuracy" names[4] = "validation/loss" end
    names[#names + 1] = "layer2.dense/weight"
    names[#names + 1] = "layer2.dense/bias"
    for k, name in ipairs(names) do names[k] = ("%s@%d"):format(name, i) end
    return names
  end
  local wanted = {}
  for _, list in ipairs { epoch(1, true), epoch(2, true), { "_hparams_/experiment@0", "_hparams_/session_start_info@0",
    "clean@0", "_hparams_/session_end_info@0" } } do
    table.move(list, 1, #list, #wanted + 1, wanted)
  end
  for _, name in ipairs(epoch(1)) do wanted[#wanted + 1] = "2:" .. name end
  lu.assertItemsEquals(seen, wanted)
  -- where nothing can be written the run goes on, and says so once
  lu.assertStrMatches(run(script .. "/none"), "lipwb: %-%-tensorboard: .*; the run goes on without\n")
end

-- luacheck: push no max line length
local READ = [[
import sys, json
from tensorboard.backend.event_processing import plugin_event_multiplexer as m
from tensorboard.backend.event_processing import event_accumulator as a
from tensorboard.plugins.hparams import plugin_data_pb2 as p
from tensorboard.util import tensor_util as t
import logging; logging.disable(logging.CRITICAL)
ea = a.EventAccumulator(sys.argv[1], size_guidance=dict.fromkeys(("scalars", "tensors", "histograms", "images"), 0)); ea.Reload()
out = dict(scalars={n: [[s.step, s.value] for s in ea.Scalars(n)] for n in ea.Tags()["scalars"]})
out["histograms"] = {n: [[s.step, s.histogram_value.num, s.histogram_value.sum, list(s.histogram_value.bucket)] for s in ea.Histograms(n)] for n in ea.Tags()["histograms"]}
out["images"] = {n: [[s.step, s.width, s.height, len(s.encoded_image_string)] for s in ea.Images(n)] for n in ea.Tags()["images"]}
from tensorboard.backend.event_processing import event_file_loader as l
import glob, os
out["hparams"] = {}
for f in sorted(glob.glob(os.path.join(sys.argv[1], "*tfevents*"))):
  for e in l.EventFileLoader(f).Load():
    for v in e.summary.value:
      if v.metadata.plugin_data.plugin_name == "hparams":
        d = p.HParamsPluginData.FromString(v.metadata.plugin_data.content)
        if d.HasField("session_start_info"):
          for k, x in d.session_start_info.hparams.items(): out["hparams"][k] = getattr(x, x.WhichOneof("kind"))
        if d.HasField("experiment"):
          out["metrics"] = [i.name.tag for i in d.experiment.metric_infos]; out["infos"] = {i.name: i.type for i in d.experiment.hparam_infos}
        if d.HasField("session_end_info"): out["status"] = d.session_end_info.status
print(json.dumps(out))
]]
-- luacheck: pop

function T:test_read_by_tensorboard_itself()
  local python = quote(os.getenv "LIPWB_PYTHON" or "python3")
  local found = os.execute(python .. " -c 'import tensorboard.backend.event_processing.event_accumulator' 2>/dev/null")
  if not found then print "\n  no Python with tensorboard (set LIPWB_PYTHON): its own loader is not tried" end
  lu.skipIf(not found, "no tensorboard")
  self:write(function(w)
    for i = 1, 5 do w:scalar("loss", 1 / i, i) end
    w:histogram("w", lip.tensor { 1, 2, 2, 3 }, 1, 2)
    w:image("x", lip.zeros(5, 7), 2)
  end)
  self:write(function(w)
    w:hparams({ norm = "2" }, {}) -- of the run as a whole: voids nothing
    w:scalar("loss", 9, 4)
    w:hparams({ norm = "inf", budget = 4, bias = true, widths = { 4, 2 } }, { clean = 0.5, note = "x" }, { step = 4 })
  end)
  local script = self.dir .. "/read.py"
  local file = assert(io.open(script, "w"))
  file:write(READ)
  file:close()
  local text = output(("%s -W ignore %s %s 2>%s"):format(python, script, quote(self.dir), quote(self.dir .. "/err")))
  local seen = assert(lip.from_json(text), output("cat " .. quote(self.dir .. "/err")))
  lu.assertEquals(seen.scalars.loss, { { 1, 1.0 }, { 2, 0.5 }, { 3, (string.unpack("f", string.pack("f", 1 / 3))) },
    { 4, 9.0 } })
  lu.assertEquals(seen.scalars.clean, { { 4, 0.5 } })
  lu.assertEquals(seen.images.x, { { 2, 7, 5, seen.images.x[1][4] } })
  lu.assertEquals(seen.histograms.w[1][2], 4)
  lu.assertEquals(seen.histograms.w[1][3], 8)
  lu.assertEquals(seen.hparams, { norm = "inf", budget = 4.0, bias = true, widths = "[4,2]" })
  lu.assertEquals(seen.metrics, { "clean" })
  lu.assertEquals(seen.infos, { norm = 1, bias = 2, budget = 3, widths = 1 })
  lu.assertEquals(seen.status, 1)
end

return { TestTensorboard = T }
