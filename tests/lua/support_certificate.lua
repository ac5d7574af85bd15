-- Certificate files as tables, and back: changed at will, under a hash that fits when asked.
local lip = require "lip"

local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function spill(text, path)
  path = path or os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local width = { F64 = 8, F32 = 4 }

-- { meta = {key = text}, arrays = { {name=, type=, shape=, [i] = number} } }
local function parse(path)
  local seen, text = assert(lip.inspect(path)), slurp(path)
  local at = 9 + string.unpack("<I8", text)
  for _, a in ipairs(seen.arrays) do
    local n = 1
    for _, d in ipairs(a.shape) do n = n * d end
    for i = 1, n do a[i], at = string.unpack(a.type == "F64" and "<d" or "<f", text, at) end
    a.n = n
  end
  return { meta = seen.metadata, arrays = seen.arrays }
end

local function bytes(a)
  local part = {}
  for i = 1, a.n do part[i] = string.pack(a.type == "F64" and "<d" or "<f", a[i]) end
  return table.concat(part)
end

local function sorted(t, key)
  table.sort(t, function(a, b) return key(a) < key(b) end)
  return t
end

local function digest(cert)
  local part, keys = {}, {}
  for _, a in ipairs(sorted({ table.unpack(cert.arrays) }, function(a) return a.name end)) do
    part[#part + 1] = a.name .. "\0" .. string.pack("<I8I8", a.type == "F64" and 1 or 0, #a.shape)
    for _, d in ipairs(a.shape) do part[#part + 1] = string.pack("<I8", d) end
    part[#part + 1] = bytes(a)
  end
  for key in pairs(cert.meta) do keys[#keys + 1] = key end
  for _, key in ipairs(sorted(keys, function(k) return k end)) do
    if key ~= "claims_sha256" then part[#part + 1] = key .. "\0" .. cert.meta[key] .. "\0" end
  end
  local path = spill(table.concat(part))
  local sum = assert(lip.sha256_packed(path))
  os.remove(path)
  return sum
end

-- Writes the table as a file; with `honest` under a hash that fits.
local function write(cert, path, honest)
  local header, data, at = { __metadata__ = {} }, {}, 0
  for key, value in pairs(cert.meta) do header.__metadata__[key] = value end
  if honest then header.__metadata__.claims_sha256 = digest(cert) end
  for i, a in ipairs(cert.arrays) do
    data[i] = bytes(a)
    header[a.name] = { dtype = a.type, shape = a.shape, data_offsets = { at, at + #data[i] } }
    at = at + #data[i]
  end
  local text = lip.to_json(header)
  spill(string.pack("<I8", #text) .. text .. table.concat(data), path)
end

local function array(cert, name)
  for _, a in ipairs(cert.arrays) do
    if a.name == name then return a end
  end
end

return { slurp = slurp, spill = spill, parse = parse, write = write, array = array }
