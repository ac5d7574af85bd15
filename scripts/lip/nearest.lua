--- "did you mean": the known name nearest to a misspelt one.

-- Edit distance (Levenshtein 1966), a row at a time; two neighbours exchanged count two.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

--- The known name that differs least, or nil when none is near (or none shares a letter). core/base/opt.c says the same.
---@param name string
---@param names string[]
local function nearest(name, names)
  local best, best_distance
  for _, known in ipairs(names) do
    local d = distance(name, known)
    if not best or d < best_distance then best, best_distance = known, d end
  end
  return best and best_distance < #name and best_distance <= math.max(2, #name // 3) and best or nil
end

--- ", did you mean 'x'?" for messages, or an empty text.
---@param name any
---@param names string[]
---@return string
local function hint(name, names)
  local near = type(name) == "string" and #name <= 60 and nearest(name, names)
  return near and (", did you mean '%s'?"):format(near) or ""
end

return setmetatable({ hint = hint }, { __call = function(_, name, names) return nearest(name, names) end })
