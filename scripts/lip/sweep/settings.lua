--- Whether a script takes the settings of a sweep, asked before any trial is started: a process of its own runs the
-- script up to its lip.args, which tries every value and leaves (`lipwb trial --check FOLDER`). A script without
-- lip.args, or one that does not come to it in time or at all, is left alone: its trials will say what they find.
local lip = require "lip"

local settings = { patience = 10 } -- seconds until lip.args must have been called

-- A value of a configuration as --set would have it.
local function text_of(v)
  if type(v) == "table" then
    local words = {}
    for i, x in ipairs(v) do words[i] = text_of(x) end
    return table.concat(words, ",")
  end
  return math.type(v) == "float" and ("%.17g"):format(v) or tostring(v)
end
settings.text = text_of

-- All values that a sweep can give to each setting; of a range its ends.
local function values_of(plan)
  local all, search = {}, plan.sweep.search
  local function add(name, v)
    all[name] = all[name] or {}
    all[name][text_of(v)] = true
  end
  for name, v in pairs(plan.fixed) do add(name, v) end
  for _, config in ipairs(search.list or {}) do
    for name, v in pairs(config) do add(name, v) end
  end
  for name, d in pairs(search.space or {}) do
    for _, v in ipairs(d.values or not d.kind and d or { d.low, d.high }) do add(name, v) end
  end
  for name, texts in pairs(all) do
    local list = {}
    for text in pairs(texts) do list[#list + 1] = text end
    table.sort(list)
    all[name] = list
  end
  return all
end

-- What the process says: nil when it did not come to lip.args.
local function ask(plan, data, folder)
  local told = { format = 1, kind = "script", script = plan.script, data = data, config = {}, set = {},
    values = values_of(plan) }
  if not lip.file.write(folder .. "/trial.json", lip.to_json(told))
    or not lip.file.write(folder .. "/script.lua", plan.script_text) then return nil end
  local process = lip.process.spawn { require "lip.sweep.runner".program(), "trial", "--check", folder,
    stdout = folder .. "/output.txt", group = true, dies_with_parent = true }
  if not process then return nil end
  if not process:wait(settings.patience) then
    process:signal "KILL"
    process:wait(settings.patience)
    return nil
  end
  return lip.file.read(folder .. "/answer")
end

--- Why the script refuses what the sweep would set, or nil.
---@param plan table of lip.sweep.plan
---@param data? string folder of data sets
---@return string|nil message
function settings.refusal(plan, data)
  if plan.kind ~= "script" or not plan.script_text:find "args%s*[{(]" then return nil end
  local folder = lip.file.temporary()
  if not folder then return nil end
  local _ <close> = setmetatable({}, { __close = function() lip.file.remove_tree(folder) end })
  local answer = ask(plan, data, folder)
  if not answer or answer == "" then return nil end
  return ("%s: %s"):format(plan.script, (answer:gsub("^%-%-set:? ", "")))
end

--- In that process.
---@param folder string
---@param told table trial.json
---@return integer status
function settings.answer(folder, told)
  lip.settings.try = { values = told.values, tell = function(complaint)
    lip.file.write(folder .. "/answer", complaint or "")
    os.exit(0)
  end }
  local chunk = lip.load_script(lip.file.read(folder .. "/script.lua") or "", told.script)
  if chunk then pcall(chunk) end
  return 0
end

return settings
