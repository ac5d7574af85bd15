--- Pieces of a page: nothing that comes from a run reaches it unescaped.
local text_table = require "lip.runs.table"

local html = {}

local ENTITY = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

-- Characters that HTML does not allow, and bytes that are no UTF-8, become U+FFFD.
local function clean(s)
  s = s:gsub("[%z\1-\8\11\12\14-\31\127]", "\u{FFFD}")
  if utf8.len(s) then return s end
  local parts, at = {}, 1
  while at <= #s do
    local _, bad = utf8.len(s, at)
    if not bad then
      parts[#parts + 1] = s:sub(at)
      break
    end
    parts[#parts + 1] = s:sub(at, bad - 1) .. "\u{FFFD}"
    at = bad + 1
  end
  return table.concat(parts)
end
html.clean = clean

--- Any value as text of a page or of an attribute in quotes.
function html.escape(v)
  v = tostring(v)
  if not v:find "[%c\x7f-\xff&<>\"']" then return v end
  return (clean(v):gsub("[&<>\"']", ENTITY))
end
local escape = html.escape

--- JSON that may stand in a script element: no "<" is left to end it.
function html.json(text)
  return (clean(text):gsub("<", "\\u003c"):gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029"))
end

--- fill('<a href="$url">$text</a>', { url = ..., text = ... }): values are escaped, those under "$$name" are not.
function html.fill(template, values)
  return (template:gsub("(%$%$?)(%l[%w_]*)", function(mark, name)
    local v = values[name]
    if v == nil then error("html.fill: no value for '" .. name .. "'", 3) end
    return mark == "$$" and v or escape(v)
  end))
end
local fill = html.fill

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- RFC 4648.
function html.base64(bytes)
  return (bytes:gsub("..?.?", function(s)
    local a, b, c = s:byte(1, 3)
    local n = a << 16 | (b or 0) << 8 | (c or 0)
    local function digit(shift) return BASE64:sub((n >> shift & 63) + 1, (n >> shift & 63) + 1) end
    return digit(18) .. digit(12) .. (b and digit(6) or "=") .. (c and digit(0) or "=")
  end))
end

--- Pairs { name, value } as a description list; values escaped.
function html.list(rows)
  local parts = {}
  for i, row in ipairs(rows) do
    parts[i] = fill("<div><dt>$name</dt><dd>$value</dd></div>", { name = row[1], value = row[2] })
  end
  return '<dl class="facts">' .. table.concat(parts) .. "</dl>"
end

--- A box that scrolls sideways by itself, so that the page never does; reachable by keyboard.
function html.scroll(label, content)
  return fill('<div class="scroll" tabindex="0" role="region" aria-label="$label">$$content</div>',
    { label = label, content = content })
end

--- Cells of columns as lip.runs.list makes them: rows of texts, and which columns are numbers.
function html.cells(columns, rows)
  local cells, right = {}, {}
  for i, column in ipairs(columns) do cells[i], right[i] = text_table.cells(column, rows) end
  return cells, right
end

--- A table that only stands there. `link(row)` may give the address of a row's first cell.
function html.table(caption, columns, rows, link)
  local cells, right = html.cells(columns, rows)
  local out = { "<table>", fill("<caption>$caption</caption><thead><tr>", { caption = caption }) }
  for i, column in ipairs(columns) do
    local class = right[i] and ' class="n"' or ""
    out[#out + 1] = fill('<th scope="col"$$class>$title</th>', { class = class, title = column.title })
  end
  out[#out + 1] = "</tr></thead><tbody>\n"
  for r, row in ipairs(rows) do
    out[#out + 1] = "<tr>"
    for i in ipairs(columns) do
      local content = escape(cells[i][r])
      local address = i == 1 and link and link(row)
      if address then content = fill('<a href="$address">$$content</a>', { address = address, content = content }) end
      out[#out + 1] = (right[i] and '<td class="n">' or "<td>") .. content .. "</td>"
    end
    out[#out + 1] = "</tr>\n"
  end
  out[#out + 1] = "</tbody></table>"
  return html.scroll(caption, table.concat(out))
end

return html
