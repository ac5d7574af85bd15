--- `lipwb check CERT MODEL [DATA]`: a certificate file, verified claim by claim by the checker of core/check.
local commands = require "lip.command"
local core = require "lip.core"
local files = require "lip.model_file"

local check = {}

check.usage = [[
usage: lipwb check CERT MODEL [DATA]
  CERT    what net:certificate has written
  MODEL   the net it speaks of: a checkpoint, or an ONNX file (.onnx, .onnx.gz)
  DATA    the rows its radii belong to: mnist-test, mnist-train, fashion-mnist-test, fashion-mnist-train,
          digits-test, digits-train, or a NumPy file; without it the radii are not verified. A NumPy file is
          read as lip.data.npy reads it (bytes are pixels, x/255); if the certificate was made from its bytes as
          plain numbers (lip.load_npy) or from another order of its sides, that is found out and said
Exit status: 0 accepted, 1 refused (and why), 2 wrong usage or a file that cannot be read.]]

local function load_data(name)
  local set, part = name:match "^([%l%-]+)%-(%l+)$"
  if set == "digits" or set == "mnist" or set == "fashion-mnist" then
    if part ~= "train" and part ~= "test" then return nil, ("%s: the parts are train and test"):format(name) end
    local train, test = require "lip.data".main_dataset { set = set, quiet = true }
    if not train then return nil, test end
    return part == "train" and train or test
  end
  local rows, message = core.dataset_npy(name)
  if rows or name:find "[./]" then return rows, message end
  return nil, message .. "; the known names are digits, mnist and fashion-mnist, each with -train or -test"
end

-- Other rows that the same file may stand for, when those of lip.data.npy are not what the certificate speaks of (it
-- holds their hash, so none is taken for another): { what, function that reads them }.
local function readings(name)
  local list = {}
  local function add(what, read) list[#list + 1] = { what, read } end
  for _, channels in ipairs { "first", "last" } do
    add(("images with their channels %s"):format(channels), function()
      local _, set = pcall(core.dataset_npy, name, nil, { channels = channels }) -- raises where sides are too few
      return type(set) == "userdata" and set or nil
    end)
  end
  for _, channels in ipairs { false, "first", "last" } do
    add("numbers as they stand, like lip.load_npy" .. (channels and ", channels " .. channels or ""), function()
      local t = core.load_npy(name)
      local _, set = pcall(core.dataset_tensors, t, nil, { channels = channels or nil })
      return type(set) == "userdata" and set or nil
    end)
  end
  return list
end

-- An ONNX file says nothing of norms: its net takes those of the certificate, which are a part of the claims.
local function load_net(model, cert)
  if files.kind(model) ~= "onnx" then return core.load(model) end
  local found = core.inspect(cert)
  local path = found and found.metadata.path
  return files.load(model, { norm = path and (tonumber(path) or path) })
end

-- Whether a certificate was refused because it speaks of other rows.
local function others(result)
  return result and not result.accepted and result.reason:find "^data_sha256:" ~= nil
end

local say = commands.complainer "lipwb check"

-- The shortest text of v that is v again when read: what was verified, and no rounder number than that.
local function exact(v)
  for digits = 1, 16 do
    local text = ("%." .. digits .. "g"):format(v)
    if tonumber(text) == v then return text end
  end
  return ("%.17g"):format(v)
end

-- 1 is for certificates that are refused.
local function complain(message)
  return say(message, commands.USAGE)
end

--- Verifies and says what was verified; returns the exit status.
---@return integer status
function check.main(cert, model, data, ...)
  if cert == "--help" or cert == "-h" then
    print(check.usage)
    return 0
  end
  if not model or ... then return complain("expects two or three files\n" .. check.usage) end
  local file, fault = io.open(cert, "rb")
  if not file then return complain("cannot open " .. fault) end
  file:close()
  local net, message = load_net(model, cert)
  if not net then return complain(message) end
  local rows
  if data then
    rows, message = load_data(data)
    if not rows then return complain(message) end
  end
  local ok, result, reason = pcall(core.check_certificate, cert, net, rows)
  local other
  if (not ok or others(result)) and data and data:find "%.npy" then -- not ok: its sides are not the net's
    for _, reading in ipairs(readings(data)) do
      local again = reading[2]()
      local fine, found, why = pcall(core.check_certificate, cert, net, again)
      if again and fine and not others(found) then
        ok, result, reason, rows, other = true, found, why, again, reading[1]
        break
      end
    end
  end
  if not ok then return complain(result) end
  if not result then return complain(reason) end
  if not result.accepted then
    print("refused: " .. core.plain(result.reason))
    return 1
  end
  print(core.plain(("accepted: %s, method %s, norms %s, arithmetic %s"):format(result.layers, result.method,
    result.path, result.arithmetic)))
  print(("  verified: %d operator norms, %d pair constants"):format(result.norms, result.pairs))
  if result.box then print("  inputs count that lie in the box " .. core.plain(result.box:gsub(" ", " to "))) end
  if result.rows == 0 then
    print "  no radii are claimed"
  elseif rows then
    if other then print("  DATA read as " .. other) end
    print(("  verified: labels and radii of %d rows"):format(result.radii))
    local known = type(rows.labels) == "function" and rows:labels()
    local right = known and "right" or "right by the labels in CERT, which DATA does not have,"
    for _, row in ipairs(result.eps) do
      print(("  verified: %d of %d rows %s and certified at eps %s"):format(row.certified, result.rows, right,
        exact(row.eps)))
    end
  else
    print(("  not verified, for want of DATA: labels and radii of %d rows"):format(result.rows))
  end
  return 0
end

return check
