--- Images in a terminal: ten shades of characters, two rows of pixels to a line.
local core = require "lip.core"

local image = require "lip.plot.image"

local text = {}

local shades = " .:-=+*#%@"

local function shade(one, i, j)
  if i > one.height or j > one.width then return " " end
  local sum, n = 0, 0
  for k = i, math.min(i + 1, one.height) do
    local r, g, b = one.rgb(k, j)
    sum, n = sum + (r + g + b) / 3, n + 1
  end
  local at = math.floor(sum / n / 255 * (#shades - 1) + 0.5) + 1
  return shades:sub(at, at)
end

--- Prints the images of a panel, as many side by side as fit.
function text.images(panel, columns)
  if panel.title then io.write(core.plain(tostring(panel.title)), "\n") end
  for _, row in ipairs(image.rows(panel)) do
    local first = 1
    while row[first] do
      local last, wide = first, row[first].width
      while row[last + 1] and wide + 1 + row[last + 1].width <= columns do
        last = last + 1
        wide = wide + 1 + row[last].width
      end
      local lines, tall = { {} }, 0
      for c = first, last do
        local title = tostring(row[c].title or ""):sub(1, row[c].width)
        lines[1][#lines[1] + 1] = title .. (" "):rep(row[c].width - #title)
        tall = math.max(tall, row[c].height)
      end
      for i = 1, tall, 2 do
        local line = {}
        for c = first, last do
          local one = {}
          for j = 1, row[c].width do one[j] = shade(row[c], i, j) end
          line[#line + 1] = table.concat(one)
        end
        lines[#lines + 1] = line
      end
      for _, line in ipairs(lines) do io.write((table.concat(line, " "):gsub("%s+$", "")), "\n") end
      first = last + 1
    end
  end
end

return text
