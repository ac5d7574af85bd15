--- What has changed between two descriptions of a sweep, for people: field by field, and the script's text as `diff -u`
-- shows it.
local lip = require "lip"
local decimal = require "lip.decimal"

local difference = {}

local function is_value(v)
  return type(v) ~= "table" or #v > 0 and type(v[1]) ~= "table" or next(v) == nil
end

-- { ["search.space.budget"] = "[0.5,1,2]", ... }
local function flatten(v, path, into)
  if is_value(v) then
    into[path] = decimal.json(v)
    return into
  end
  for key, element in pairs(v) do
    flatten(element, path == "" and tostring(key) or path .. "." .. tostring(key), into)
  end
  return into
end

--- Lines "field: before -> now", by field.
---@param before table
---@param now table
---@return string[]
function difference.fields(before, now)
  -- both as they come out of a file
  local a = flatten(lip.from_json(lip.to_json(before)), "", {})
  local b = flatten(lip.from_json(lip.to_json(now)), "", {})
  local names, lines = {}, {}
  for name in pairs(a) do names[#names + 1] = name end
  for name in pairs(b) do
    if a[name] == nil then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if a[name] ~= b[name] then
      lines[#lines + 1] = ("%s: %s -> %s"):format(name, a[name] or "(nothing)", b[name] or "(nothing)")
    end
  end
  return lines
end

--- Two texts as a unified diff, or nil when the program diff is not there.
function difference.texts(before, now, name_before, name_now)
  local folder = lip.file.temporary()
  if not folder then return nil end
  lip.file.write(folder .. "/before", before)
  lip.file.write(folder .. "/now", now)
  local ran, result = pcall(lip.process.run, { "diff", "-u", "--label", name_before, "--label", name_now,
    folder .. "/before", folder .. "/now" })
  lip.file.remove_tree(folder)
  return ran and result and result.exit == 1 and result.output or nil
end

return difference
