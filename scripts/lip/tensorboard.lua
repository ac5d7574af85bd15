--- lip.tensorboard{dir=}: writes event files that TensorBoard shows.
-- An event file is a row of records: length (64 bits), checksum of the length, a protocol buffer "Event", its checksum
-- (tensorflow/core/lib/io/record_writer.h, tensorboard/compat/proto/{event,summary}.proto). Each record leaves in one
-- write, so a killed run leaves a file that can be read to its end.
local lip = require "lip"
local shown = require "lip.shown"

local pack = string.pack

-- ---- protocol buffers: a field is its number and kind, then a varint, 8 or 4 bytes, or a length and bytes ----

local function varint(n)
  local bytes = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    bytes[#bytes + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(bytes)
end

local function whole(field, n) return varint(field << 3) .. varint(n) end
local function double(field, x) return varint(field << 3 | 1) .. pack("<d", x) end
local function float(field, x) return varint(field << 3 | 5) .. pack("<f", x) end
local function bytes(field, text) return varint(field << 3 | 2) .. varint(#text) .. text end
local function doubles(field, list)
  local packed = {}
  for i, x in ipairs(list) do packed[i] = pack("<d", x) end
  return bytes(field, table.concat(packed))
end

-- A text that must be UTF-8: readers drop the whole event otherwise.
local function utf(text)
  text = tostring(text)
  return utf8.len(text) and text or (text:gsub("[\x80-\xff]", "?"))
end

-- ---- records ----

-- CRC-32C (Castagnoli, Braeuer and Herrmann 1993), bits reflected: polynomial 0x82f63b78.
local castagnoli = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do c = c & 1 == 1 and c >> 1 ~ 0x82f63b78 or c >> 1 end
  castagnoli[i] = c
end

local function crc32c(text)
  local c = 0xffffffff
  for i = 1, #text do c = castagnoli[(c ~ text:byte(i)) & 0xff] ~ c >> 8 end
  return c ~ 0xffffffff
end

-- Turned and shifted, so that a checksum of data that contains checksums stays of use (record_writer.h).
local function masked(text)
  local c = crc32c(text)
  return ((c >> 15 | c << 17) + 0xa282ead8) & 0xffffffff
end

local function record(event)
  local length = pack("<I8", #event)
  return length .. pack("<I4", masked(length)) .. event .. pack("<I4", masked(event))
end

-- ---- PNG ----

local function adler32(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

-- A zlib stream: the deflated bytes of a gzip file (10 bytes of head, 8 of tail) between head and tail of their own.
local function zlib(text)
  return "\x78\x9c" .. lip.deflate(text):sub(11, -9) .. pack(">I4", adler32(text))
end

local function chunk(kind, data)
  return pack(">I4", #data) .. kind .. data .. pack(">I4", lip.crc32(kind .. data))
end

local function level(x)
  if x ~= x then return 0 end
  return math.floor(math.max(0, math.min(1, x)) * 255 + 0.5)
end

--- t (H, W), (1, H, W) grey or (3, H, W) red, green, blue; 0 black, 1 white. Returns the PNG, height, width, channels.
local function png(t)
  local shape = t:shape()
  if #shape == 2 then t, shape = t:reshape(1, shape[1], shape[2]), { 1, shape[1], shape[2] } end
  local channels, high, wide = shape[1], shape[2], shape[3]
  if #shape ~= 3 or (channels ~= 1 and channels ~= 3) or high < 1 or wide < 1 then
    error(("tensorboard: an image is a tensor (H, W), (1, H, W) or (3, H, W), got %s")
      :format(table.concat(t:shape(), " x ")), 3)
  end
  local planes, rows = t:totable(), {}
  for i = 1, high do
    local row = { "\0" } -- no filter
    for j = 1, wide do
      for k = 1, channels do row[#row + 1] = string.char(level(planes[k][i][j])) end
    end
    rows[i] = table.concat(row)
  end
  local head = pack(">I4I4BBBBB", wide, high, 8, channels == 3 and 2 or 0, 0, 0, 0)
  return "\x89PNG\r\n\x1a\n" .. chunk("IHDR", head) .. chunk("IDAT", zlib(table.concat(rows))) .. chunk("IEND", ""),
    high, wide, channels
end

-- ---- the writer ----

---@class lip.tensorboard.writer
local writer = {}
writer.__index = writer
writer.__name = "lip.tensorboard"

local files = 0 -- of this process: names stay apart within one microsecond

-- `time` of a writer: when what it tells happened, if that is not now.
local function now(self)
  return self.time or lip.now()
end

-- Opens the file with the first event, so that a writer never used leaves nothing behind.
function writer:open()
  local before, message, code = lip.file.mkdir(self.dir)
  if not before then return nil, message, code end
  before, message, code = lip.file.list(self.dir)
  if not before then return nil, message, code end
  for _, name in ipairs(before) do
    if name:find("tfevents", 1, true) then self.continues = true end
  end
  local time, me = lip.now(), lip.process.self()
  files = files + 1
  -- read in the order of their names: seconds with ten digits, then microseconds
  self.path = ("%s/events.out.tfevents.%010d.%06d.%s.%d.%d"):format(self.dir, time // 1, time % 1 * 1e6 // 1,
    (me.host:gsub("[^%w.-]", "_")), me.pid, files)
  self.file, message = io.open(self.path, "wb")
  if not self.file then return nil, message, "io" end
  self.file:setvbuf("full", 1 << 16)
  return self:put(double(1, now(self)) .. bytes(3, "brain.Event:2"))
end

function writer:put(event)
  local ok, message = self.file:write(record(event))
  if ok then ok, message = self.file:flush() end
  if not ok then return nil, ("%s: %s"):format(self.path, message), "io" end
  return true
end

--- An event at `step`; true, or nil, message, code. `aside`: it belongs to the run as a whole, and voids nothing.
function writer:event(step, body, aside)
  if self.closed then error("tensorboard: this writer is closed", 2) end
  if math.tointeger(step) == nil or step < 0 then
    error("tensorboard: a step is a whole number >= 0, got " .. shown(step), 2)
  end
  if not self.file then
    local ok, message, code = self:open()
    if not ok then return nil, message, code end
  end
  local head = double(1, now(self)) .. whole(2, math.tointeger(step))
  if self.continues and not aside then -- what an earlier run wrote from this step on is void: SessionLog START
    self.continues = nil
    local ok, message, code = self:put(head .. bytes(7, whole(1, 1)))
    if not ok then return nil, message, code end
  end
  return self:put(head .. body)
end

local function summary(tag, value)
  return bytes(5, bytes(1, bytes(1, utf(tag)) .. value))
end

--- One number of a curve.
function writer:scalar(tag, value, step)
  return self:event(step, summary(tag, float(2, value)))
end

-- How many elements of the vector t lie in each of n equal parts of [low, high]; the last part holds high too.
local function count(t, low, high, n)
  local limits, counts, below = {}, {}, 0
  for i = 1, n do
    limits[i] = i == n and high or low + (high - low) * i / n
    local upto = i == n and t:size() or t:lt(limits[i]):sum()
    counts[i], below = upto - below, upto
  end
  return limits, counts
end

--- The distribution of a tensor's finite elements in `bins` equal parts (default 30).
function writer:histogram(tag, tensor, step, bins)
  local t = tensor:contiguous():flatten()
  if not t:all_finite() then
    local kept = {}
    for _, x in ipairs(t:totable()) do
      if x - x == 0 then kept[#kept + 1] = x end
    end
    t = lip.tensor(kept)
  end
  local n = t:size()
  local low, high, sum, squares, limits, counts = 0, 0, 0, 0, { 0 }, { 0 }
  if n > 0 then
    low, high, sum, squares = t:min(), t:max(), t:sum(), t:norm(2) ^ 2
    if low < high then limits, counts = count(t, low, high, bins or 30) else limits, counts = { high }, { n } end
  end
  return self:event(step, summary(tag, bytes(5, double(1, low) .. double(2, high) .. double(3, n) .. double(4, sum)
    .. double(5, squares) .. doubles(6, limits) .. doubles(7, counts))))
end

--- A picture: (H, W) or (1, H, W) grey, (3, H, W) colours; 0 is dark, 1 bright.
function writer:image(tag, tensor, step)
  local data, high, wide, channels = png(tensor)
  return self:event(step, summary(tag, bytes(4, whole(1, high) .. whole(2, wide) .. whole(3, channels)
    .. bytes(4, data))))
end

-- ---- hyper-parameters (tensorboard/plugins/hparams/{plugin_data,api}.proto) ----

-- The plugin looks only at values that have a tensor, whatever it holds: a float32 0.
local NULL_TENSOR = bytes(8, whole(1, 1) .. bytes(2, "") .. bytes(5, pack("<f", 0)))

function writer:hparams_event(name, data)
  local metadata = bytes(9, bytes(1, bytes(1, "hparams") .. bytes(2, data)))
  return self:event(0, bytes(5, bytes(1, bytes(1, "_hparams_/" .. name) .. metadata .. NULL_TENSOR)), true)
end

local STRING, BOOL, FLOAT64 = 1, 2, 3

-- What the plugin can hold of a value: its kind, and a google.protobuf.Value.
local function hparam(v)
  if type(v) == "number" then return FLOAT64, double(2, v) end
  if type(v) == "boolean" then return BOOL, whole(4, v and 1 or 0) end
  if type(v) == "table" and not getmetatable(v) then v = require "lip.decimal".json(v) end
  return STRING, bytes(3, utf(v))
end

local function sorted_names(t)
  local names = {}
  for name in pairs(t) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- The settings of this run and the numbers it ended with, for the tab "HParams". The numbers of `row` become scalars.
---@param config table name = number, text, boolean or list
---@param row? table
---@param options? { failed: boolean?, step: integer?, group: string? }
function writer:hparams(config, row, options)
  options = options or {}
  if self.closed then error("tensorboard: this writer is closed", 2) end
  local infos, values, metrics = {}, {}, {}
  for _, name in ipairs(sorted_names(config)) do
    local kind, value = hparam(config[name])
    infos[#infos + 1] = bytes(4, bytes(1, utf(name)) .. whole(4, kind))
    values[#values + 1] = bytes(1, bytes(1, utf(name)) .. bytes(2, value))
  end
  local numbers = {}
  for _, name in ipairs(sorted_names(row or {})) do
    if type(row[name]) == "number" then
      numbers[#numbers + 1] = name
      metrics[#metrics + 1] = bytes(5, bytes(1, bytes(2, utf(name))))
    end
  end
  local time = now(self)
  local function session(field, text) return whole(1, 0) .. bytes(field, text) end
  local group = options.group and bytes(4, utf(options.group)) or ""
  local ok, message, code = self:hparams_event("experiment",
    session(2, double(3, time) .. table.concat(infos) .. table.concat(metrics)))
  if ok then
    ok, message, code = self:hparams_event("session_start_info",
      session(3, table.concat(values) .. group .. double(5, time)))
  end
  for _, name in ipairs(numbers) do
    if ok then ok, message, code = self:event(options.step or 0, summary(name, float(2, row[name])), true) end
  end
  if ok then
    ok, message, code = self:hparams_event("session_end_info",
      session(4, whole(1, options.failed and 2 or 1) .. double(2, time)))
  end
  if not ok then return nil, message, code end
  return true
end

require "lip.arguments".methods("tensorboard:", writer, {
  scalar = "tag text, number float, step step", histogram = "tag text, tensor tensor, step step, bins count?",
  image = "tag text, tensor tensor, step step", hparams = "config table, row table?, options table?",
})

function writer:close()
  if self.file then self.file:close() end
  self.file, self.closed = nil, true
end

writer.__close = writer.close
writer.__gc = writer.close

function writer:__tostring()
  return ("lip.tensorboard (%s%s)"):format(self.dir, self.closed and ", closed" or "")
end

--- A writer of event files below `dir`, which is made with the first event.
---@param options { dir: string }
---@return lip.tensorboard.writer
local function tensorboard(options)
  require "lip.options".check(options, "lip.tensorboard")
  if not options or type(options.dir) ~= "string" then error("lip.tensorboard expects { dir = a folder }", 2) end
  return setmetatable({ dir = options.dir }, writer)
end

return tensorboard
