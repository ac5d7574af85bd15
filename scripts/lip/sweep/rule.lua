--- By what a sweep ends trials early: its aim and its scheduler, as a short text. Scores, and ends by a scheduler, are
-- written down together with it, and count in the sweep as long as its rule is that one: a score of another figure or
-- at another step is none to compare with.
local lip = require "lip"

-- scripts of trials may change the tables of the library
local to_json, from_json, sha256 = lip.to_json, lip.from_json, lip.sha256

--- The rule of a description, or of what a trial is told (trial.json).
---@param t { maximise: string?, minimise: string?, scheduler: table? }
---@return string
local function rule(t)
  local text = to_json { maximise = t.maximise or nil, minimise = t.minimise or nil, scheduler = t.scheduler or nil }
  return sha256(to_json(from_json(text))):sub(1, 16) -- as it comes out of a file
end

return rule
