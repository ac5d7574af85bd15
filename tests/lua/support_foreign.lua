-- Files as other programs write them, made of Lua texts: safetensors, NPY, NPZ.
local lip = require "lip"

local M = {}

function M.spill(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  file:write(bytes)
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

--- A safetensors file of arrays {name, dtype, {sizes}, bytes}, in that order.
function M.safetensors(arrays)
  local entries, data, at = {}, {}, 0
  for i, a in ipairs(arrays) do
    entries[i] = ('%s:{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(quoted(a[1]), a[2],
      table.concat(a[3], ","), at, at + #a[4])
    data[i] = a[4]
    at = at + #a[4]
  end
  local header = "{" .. table.concat(entries, ",") .. "}"
  return ("<I8"):pack(#header) .. header .. table.concat(data)
end

--- An NPY file of version 1.
function M.npy(descr, shape, bytes, fortran)
  local sizes = table.concat(shape, ", ") .. (#shape == 1 and "," or "")
  local dict = ("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }"):format(descr, fortran and "True" or "False", sizes)
  dict = dict .. (" "):rep((64 - (11 + #dict) % 64) % 64) .. "\n"
  return "\x93NUMPY\1\0" .. ("<I2"):pack(#dict) .. dict .. bytes
end

--- A zip file (APPNOTE 6.3) of members {name, bytes, packed =, flags =, method =, size =, crc =}; the last four change what is
-- said. `count`: members that the end of the directory speaks of.
function M.zip(members, count)
  local data, directory, at = {}, {}, 0
  for i, m in ipairs(members) do
    local gzip = lip.deflate(m[2]) -- its body is what a zip member holds, its end the checksum
    local crc = m.crc or ("<I4"):unpack(gzip, #gzip - 7)
    local body = m.packed and gzip:sub(11, -9) or m[2]
    local fields = ("<I2I2I2I2I2I4I4I4I2I2"):pack(20, m.flags or 0, m.method or (m.packed and 8 or 0), 0, 33, crc,
      m.packed_size or #body, m.size or #m[2], #m[1], 0)
    data[i] = "PK\3\4" .. fields .. m[1] .. body
    directory[i] = "PK\1\2" .. ("<I2"):pack(20) .. fields .. ("<I2I2I2I4I4"):pack(0, 0, 0, 0, m.at or at) .. m[1]
    at = at + #data[i]
  end
  local list = table.concat(directory)
  return table.concat(data) .. list .. "PK\5\6" .. ("<I2I2I2I2I4I4I2"):pack(0, 0, count or #members, count or #members, #list, at, 0)
end

--- Runs a Python script with arguments if the interpreter (LIPWB_PYTHON, else python3) has the modules: what it printed, or nil
-- and why not.
function M.python(modules, script, ...)
  local python = os.getenv "LIPWB_PYTHON" or "python3"
  if not os.execute(("%s -c 'import %s' >/dev/null 2>&1"):format(python, modules)) then
    return nil, ("skipped: %s cannot import %s (set LIPWB_PYTHON to one that can)"):format(python, modules)
  end
  local name = os.tmpname()
  M.spill(name, script)
  local words = { python, name }
  for i, word in ipairs { ... } do words[i + 2] = "'" .. word .. "'" end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1"))
  local text = pipe:read "a"
  local ok = pipe:close()
  os.remove(name)
  assert(ok, text)
  return text
end

return M
