--- Certified accuracy against radius: lip.curve(report, labels or dataset, {max=, n=}) -> {x=, y=} in percent.
-- `report` is what net:certify returned for the same rows.
local arguments = require "lip.arguments"
local check_options = require("lip.options").check

-- The labels of the first n rows, to be compared with those of the report.
local function labels_of(data, n)
  local labels = type(data) == "userdata" and data.labels and data:labels() or data
  if type(data) == "userdata" and data.labels and labels == data then
    error("lip.curve: argument 2 (data) has no labels", 3)
  end
  local found = #labels
  if found < n then
    error(("lip.curve: argument 2 (data) has %d labels, the report is about %d rows"):format(found, n), 3)
  end
  return labels
end

local function curve(report, data, options)
  local o = check_options(options, "lip.curve")
  local steps, max = o.n or 200, o.max
  local found, radii = report.labels:totable(), report.radii:totable()
  local labels = labels_of(data, #found)
  if type(labels) == "userdata" then
    if #found < #labels then labels = labels:slice(1, 1, #found) end
    local ok, message = pcall(report.labels.eq, report.labels, labels) -- positions for classes
    if not ok then error("lip.curve: argument 2 (data): " .. tostring(message):gsub("^[^:]*:%d+: ", ""), 2) end
    labels = labels:totable()
  end
  local good = {}
  for i = 1, #found do
    if found[i] == labels[i] then good[#good + 1] = radii[i] end
  end
  table.sort(good)
  max = max or good[#good] or 1
  local x, y, at = {}, {}, 1
  for k = 0, steps do
    local r = max * k / steps
    while good[at] and good[at] < r do at = at + 1 end
    x[k + 1], y[k + 1] = r, 100 * (#good - at + 1) / #found
  end
  return { x = x, y = y }
end

return arguments.checked("lip.curve", "report report, data labels, options options?", curve)
