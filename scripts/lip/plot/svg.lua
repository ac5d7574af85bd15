--- What gnuplot writes as SVG made fit to be read: smaller, with a title for screen readers and crisp pixels; inline
-- ones with names of their own and colours that a page sets:
--
--   svg { --lip-ink: #ddd; --lip-grid: #444; --lip-1: #4aa8e0; ... }
--
-- --lip-ink texts and axes, --lip-grid the grid, --lip-paper what lies behind the key, --lip-1 to --lip-7 the series in
-- order. A variable that is not set leaves the colour of the figure.
local svg = {}

local function colours()
  local panel = require "lip.plot.panel"
  local names = { [panel.ink] = "ink", [panel.grid] = "grid", ["#ffffff"] = "paper", ["#777777"] = "muted" }
  for i, colour in ipairs(panel.palette) do names[colour] = i end
  return names
end

local function escape(words)
  return (tostring(words):gsub("[%z\1-\31]", " "):gsub("[&<>\"']", {
    ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

-- A name that differs from figure to figure and not from run to run (FNV-1a, 32 bits).
local function hash(words)
  local h = 0x811c9dc5
  for i = 1, #words do h = (h ~ words:byte(i)) * 0x01000193 & 0xffffffff end
  return ("%08x"):format(h)
end

-- rgb(...) inside of tags as variables of the page.
local function restyle(tag, names)
  return (tag:gsub("rgb%(%s*(%d+)%s*,%s*(%d+)%s*,%s*(%d+)%s*%)", function(r, g, b)
    local colour = ("#%02x%02x%02x"):format(tonumber(r), tonumber(g), tonumber(b))
    local name = names[colour]
    return name and ("var(--lip-%s,%s)"):format(name, colour) or colour
  end):gsub("(['\"])black%1", "%1var(--lip-ink,#333333)%1"):gsub("(['\"])white%1", "%1var(--lip-paper,#ffffff)%1"))
end

--- The figure's title, or those of its panels.
function svg.title(fig, panels)
  if fig.title then return tostring(fig.title) end
  local titles = {}
  for _, panel in ipairs(panels) do
    if panel.title then titles[#titles + 1] = tostring(panel.title) end
  end
  return #titles > 0 and table.concat(titles, "; ") or "figure"
end

local function inline(text, title)
  text = text:gsub("^<%?xml[^>]*>%s*", "")
  local names, own = colours(), "f" .. hash(text)
  text = text:gsub("<[^!/][^>]*>", function(tag)
    tag = restyle(tag, names)
    tag = tag:gsub("%sid=(['\"])([^'\"]*)%1", " id=%1" .. own .. "%2%1")
    return (tag:gsub("href=(['\"])#", "href=%1#" .. own))
  end)
  local head = ('<svg class="lip-figure" role="img" aria-label="%s" '):format(title)
  return (text:gsub("<svg%s", function() return head end, 1))
end

function svg.finish(text, fig, panels)
  local title = escape(svg.title(fig, panels))
  local element = "<title>" .. title .. "</title>"
  text = text:gsub("<title>Gnuplot</title>%s*<desc>.-</desc>", function() return element end, 1)
  text = text:gsub("<filter.-</filter>%s*", "")
  local n
  repeat text, n = text:gsub("<g [^>]*>%s*</g>%s*", "") until n == 0
  text = text:gsub("<g id=\"gnuplot_plot_%w+\" ?>", "<g>"):gsub("<title>gnuplot_plot_%w+</title>", "") -- one name each
  text = text:gsub("<image ", '<image style="image-rendering:pixelated" ')
  if fig.inline then return inline(text, title) end
  return text
end

return svg
