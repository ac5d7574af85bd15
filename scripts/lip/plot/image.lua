--- Pixels: grey or coloured images in rows, drawn as one picture.
local check = require "lip.plot.check"

local image = {}

local GAP = 3 -- pixels between images

-- Rows of numbers (H, W), or three of them for colours (3, H, W).
local function planes_of(pixels, what)
  if type(pixels) == "userdata" and type(pixels.totable) == "function" then pixels = pixels:totable() end
  if type(pixels) ~= "table" or type(pixels[1]) ~= "table" then
    check.refuse("%s: pixels expects a tensor or table of rows", what)
  end
  local planes = { pixels }
  if type(pixels[1][1]) == "table" then planes = #pixels == 1 and { pixels[1] } or pixels end
  if #planes ~= 1 and #planes ~= 3 then
    check.refuse("%s: pixels have 1 or 3 channels, got %d", what, #planes)
  end
  for _, plane in ipairs(planes) do
    for _, row in ipairs(plane) do
      if type(row) ~= "table" or #row ~= #planes[1][1] then check.refuse("%s: rows of one length expected", what) end
      for _, v in ipairs(row) do
        if type(v) ~= "number" then check.refuse("%s: pixels are numbers, got %s", what, type(v)) end
      end
    end
  end
  return planes
end

-- 0..255 of a value in [low, high]; what is not a number shows as the lowest.
local function level(v, low, high)
  if v ~= v or high <= low then return 0 end
  return math.floor(255 * math.min(math.max((v - low) / (high - low), 0), 1) + 0.5)
end

-- White at 0, blue below, red above.
local function signed_colour(v, most)
  if v ~= v or most <= 0 then return 255, 255, 255 end
  local t = math.min(math.max(v / most, -1), 1)
  local full = t < 0 and { 0, 90, 181 } or { 204, 41, 20 }
  local colour = {}
  for k = 1, 3 do colour[k] = math.floor(255 + math.abs(t) * (full[k] - 255) + 0.5) end
  return colour[1], colour[2], colour[3]
end

local function largest(planes)
  local most = 0
  for _, plane in ipairs(planes) do
    for _, row in ipairs(plane) do
      for _, v in ipairs(row) do
        if v == v and v ~= math.huge and v ~= -math.huge then most = math.max(most, math.abs(v)) end
      end
    end
  end
  return most
end

--- The images of a panel: rows of { planes=, height=, width=, title=, rgb = function(i, j) }.
function image.rows(panel)
  local rows = {}
  for r, given in ipairs(panel.images) do
    rows[r] = {}
    for c, one in ipairs(given) do
      local what = ("image %d, %d"):format(r, c)
      local fields = type(one) == "table" and one.pixels ~= nil and one or { pixels = one }
      local planes = planes_of(fields.pixels, what)
      local low, high = fields.low or 0, fields.high or 1
      local most = fields.signed and (fields.high or largest(planes))
      rows[r][c] = {
        planes = planes, height = #planes[1], width = #planes[1][1], title = fields.title, low = low, high = high,
        rgb = function(i, j)
          if most then return signed_colour(planes[1][i][j], most) end
          local red = level(planes[1][i][j], low, high)
          if #planes == 1 then return red, red, red end
          return red, level(planes[2][i][j], low, high), level(planes[3][i][j], low, high)
        end,
      }
    end
  end
  if #rows == 0 or #rows[1] == 0 then check.refuse "images: nothing to draw" end
  return rows
end

-- How large one cell is, how tall its title, how many columns there are.
local function cells(rows)
  local height, width, columns, titles = 0, 0, 0, false
  for _, row in ipairs(rows) do
    columns = math.max(columns, #row)
    for _, one in ipairs(row) do
      height, width = math.max(height, one.height), math.max(width, one.width)
      titles = titles or one.title ~= nil
    end
  end
  return height, width, columns, titles and math.max(height // 5, 2) or 0
end

--- Commands of gnuplot for a panel of images.
function image.script(panel, n, ink, out)
  local rows = image.rows(panel)
  local height, width, columns, head = cells(rows)
  local down, across = height + head + GAP, width + GAP
  local lines, drawn = {}, {}
  for r, row in ipairs(rows) do
    for c, one in ipairs(row) do
      local top, left = (r - 1) * down + head, (c - 1) * across
      for i = 1, one.height do
        for j = 1, one.width do
          drawn[(top + i - 1) * (columns * across) + left + j] = ("%d %d %d 255"):format(one.rgb(i, j))
        end
      end
      if one.title then
        out[#out + 1] = ("set label %s at %d,%d center offset 0,0.5 front tc rgb '%s' font ',9'"):format(
          check.quote(one.title), left + one.width // 2, -top, ink)
      end
    end
  end
  local tall, wide = #rows * down, columns * across
  for i = 0, tall - 1 do
    for j = 0, wide - 1 do
      lines[#lines + 1] = ("%d %d %s"):format(j, -i, drawn[i * wide + j + 1] or "255 255 255 0")
    end
  end
  out[#out + 1] = ("$d%d << EOD\n%s\nEOD"):format(n, table.concat(lines, "\n"))
  out[#out + 1] = "unset border\nunset grid\nunset tics\nunset logscale\nunset key\nset size ratio -1"
  out[#out + 1] = ("set xrange [-1:%d]\nset yrange [%d:1]"):format(wide, -tall)
  out[#out + 1] = ("plot $d%d using 1:2:3:4:5:6 with rgbalpha notitle"):format(n)
  out[#out + 1] = "set xtics autofreq\nset ytics autofreq"
  return n + 1
end

return image
