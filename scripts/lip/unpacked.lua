--- Unpacked copies of packed data files, kept on request: LIPWB_UNPACK=1. MNIST then loads in half the time.
-- A copy is named after the SHA-256 of the packed file, and beside it stands that of its own bytes. Whoever reads a copy
-- compares, so that a damaged, shortened or foreign one is never believed: the packed file is read instead and the
-- copy made anew. Nothing here fails: without a place to write there are no copies.
local core = require "lip.core"

local unpacked = {}

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function folder()
  local home = environment "HOME"
  local base = environment "XDG_CACHE_HOME" or home and home .. "/.cache"
  return base and base .. "/lipwb/unpacked"
end

local function wanted(path)
  return os.getenv "LIPWB_UNPACK" == "1" and path:find "%.gz$" ~= nil and folder() ~= nil
end

-- Where the copy of a packed file is or would be, or nil.
local function place(path)
  local digest = wanted(path) and core.sha256_packed(path)
  return digest and folder() .. "/" .. digest or nil
end

-- What the copy at `copy` should contain: its digest, or nil. Whatever else stands there is no copy.
local function promised(copy)
  local there = core.file.stat(copy)
  local text = there and there.kind == "file" and core.file.read(copy .. ".sha256", 0, { below = folder() })
  return text and #text == 64 and text or nil
end

--- Reads files through their copies: `read(paths)` gives a result and the digests of the unpacked files, or nil and why
--- not. The same is returned, from copies when all of them are right, else from the files themselves.
function unpacked.read(paths, read)
  local copies, expected, all = {}, {}, true
  for i, path in ipairs(paths) do
    copies[i] = place(path)
    expected[i] = copies[i] and promised(copies[i])
    all = all and (expected[i] or not wanted(path))
  end
  if next(copies) == nil then return read(paths) end
  if all then
    local from = {}
    for i, path in ipairs(paths) do from[i] = copies[i] or path end
    local result, digests = read(from)
    local right = result ~= nil
    for i in pairs(copies) do right = right and digests[i] == expected[i] end
    if right then return result, digests end
  end
  local result, digests, code = read(paths)
  if result then
    core.file.mkdir(folder())
    for i, copy in pairs(copies) do
      if core.unpack(paths[i], copy) == digests[i] then core.file.write(copy .. ".sha256", digests[i]) end
    end
  end
  return result, digests, code
end

return unpacked
