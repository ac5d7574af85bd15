--- Certified accuracy against radius: lip.curve(report, labels or dataset, {max=, n=}) -> {x=, y=} in percent.
-- `report` is what net:certify returned for the same rows.
local check_options = require("lip.options").check

local function curve(report, data, options)
  local o = check_options(options, "lip.curve")
  local n, max = o.n or 200, o.max
  local labels = type(data) == "userdata" and data.labels and data:labels() or data
  local found, radii = report.labels:totable(), report.radii:totable()
  if type(labels) == "userdata" then labels = labels:totable() end
  local good = {}
  for i = 1, #found do
    if found[i] == labels[i] then good[#good + 1] = radii[i] end
  end
  table.sort(good)
  max = max or good[#good] or 1
  local x, y, at = {}, {}, 1
  for k = 0, n do
    local r = max * k / n
    while good[at] and good[at] < r do at = at + 1 end
    x[k + 1], y[k + 1] = r, 100 * (#good - at + 1) / #found
  end
  return { x = x, y = y }
end

return curve
