--- Three-way verdicts for balls around points: lip.verify(net, dataset | x, y, {eps=, p=, box=, ...}).
--
--   verified  the net as executed gives every float32 input of the ball the label of the data: proved by net:certify
--   violated  a float32 input of the ball (in the box) is given another one: found by lip.attack, or the point itself
--   unproven  neither; with `seconds` or `nodes` such balls are decided one by one, by branch and bound
--
-- With `spec` the same of what it asks of the outputs, in place of the label.
-- With a box only inputs in ball and box together count.
local lip = require "lip"
local arguments = require "lip.arguments"
local own = require("lip.callback").own
local property = require "lip.property"
local check_options = require("lip.options").check

local function rows_of(data, labels)
  if labels == nil and type(data) == "userdata" and data.labels then return data end -- a data set
  return own("verify", 3, lip.data.tensors, data, labels, { channels = "first" }) -- as for the net itself
end

-- Points that an attack finds for the rows in `open`: { {row, point}, ... }.
local function violations(net, data, open, options)
  if #open == 0 or options.attack == false then return {} end
  local x, y = data:batch(open)
  if not data:labels() then y = nil end -- values, or nothing
  local report, message, code = own("verify", 3, lip.attack, net, x, y, { eps = options.eps, p = options.p,
    scale = options.scale, box = options.box, method = options.attack, steps = options.steps,
    restarts = options.restarts, seed = options.seed, spec = options.spec })
  if not report then return nil, message, code end
  local found, broken = {}, report.broken:totable()
  for i, row in ipairs(open) do
    if broken[i] == 1 then found[#found + 1] = { row, report.adversarial:select(1, i) } end
  end
  return found
end

-- Whether a spec asks about the label of each input; what it is else is looked at by net:certify.
local function asks_label(spec)
  return spec == nil or type(spec) == "table" and (spec.target ~= nil or spec.top ~= nil)
end

-- Balls around the rows in `open`, decided: sets verdicts[row], adds to `found`.
local function decide_rows(net, data, open, o, p, answers, verdicts, found)
  for _, row in ipairs(open) do
    local x = data:batch({ row }):select(1, 1)
    local question = { input = { { x = x, eps = o.eps, p = p, scale = o.scale, box = o.box } }, spec = o.spec,
      label = asks_label(o.spec) and answers[row] or nil }
    local d, message, code = own("verify", 4, net.decide, net, question, { seconds = o.seconds, nodes = o.nodes,
      seed = o.seed, attack = false })
    if not d then return nil, message, code end
    if d.verdict ~= "unknown" then verdicts[row] = d.verdict end
    if d.verdict == "violated" and d.x then found[#found + 1] = { row, d.x } end
  end
  return true
end

-- { {row, point}, ... } as a list of rows and one tensor, or an empty list and nil.
local function together(found)
  table.sort(found, function(a, b) return a[1] < b[1] end)
  if #found == 0 then return {} end
  local rows, kept = {}, lip.zeros(#found, table.unpack(found[1][2]:shape()))
  for k, one in ipairs(found) do
    rows[k] = one[1]
    local to = kept:select(1, k)
    to:copy(one[2]:reshape(to:shape()))
  end
  return rows, kept
end

local function is_tensor(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name == "lip.tensor"
end

-- Before the proofs, which take long: the attack may be needed or not.
local function check_attack(name)
  if name == nil or name == false then return end
  local names = {}
  for i, row in ipairs(lip.attacks()) do
    if row.name == name then return end
    names[i] = row.name
  end
  local known = table.concat(names, ", ")
  error(("verify: option 'attack' expects false or one of %s, got %s"):format(known, tostring(name)), 3)
end

-- The attack may be needed or not: what it would refuse is refused in any case.
local function check_numbers(o)
  for _, name in ipairs{ "steps", "restarts", "seed" } do
    local v = o[name]
    if v ~= nil and (math.type(v) == nil or math.tointeger(v) == nil or v < (name == "seed" and 0 or 1)) then
      error(("verify: option '%s' expects a whole number >= %d, got %s"):format(name, name == "seed" and 0 or 1, tostring(v)), 3)
    end
  end
end

-- One question about a net, by branch and bound.
local function decide(net, question, options, more)
  if more ~= nil then error("verify: a property and options are all there is to give", 3) end
  local o = check_options(options, "net:decide")
  return own("verify", 2, net.decide, net, property.question(question), o)
end

--- Verdicts; `y` only with a tensor of inputs.
---@return table|nil, string|nil, string|nil
local function verify(net, data, y, options)
  if property.is(data) then
    return decide(net, data, y, options) end
  if options == nil and (type(y) == "table" or y == nil) then options, y = y, nil end
  local o = check_options(options, "lip.verify")
  if type(o.eps) ~= "number" and not is_tensor(o.eps) then
    error("verify: option 'eps' is required: the size of the balls", 2)
  end
  check_attack(o.attack)
  check_numbers(o)
  data = rows_of(data, y)
  local answers = data:labels()
  if not answers and asks_label(o.spec) then error("verify: the data has no labels: what should the net answer?", 2) end
  local report, message, code = own("verify", 2, net.certify, net, data, { method = o.method or "local", eps = o.eps,
    scale = o.scale, p = o.p, box = o.box, global = o.global, limit = o.limit, spec = o.spec })
  if not report then return nil, message, code end
  local reached = report.reached:totable()
  local labels, found = answers and answers:totable(), report.labels:totable()
  local holds = report.holds and report.holds:totable() -- of a spec: 1, 0, or -1: nobody can say
  local verdicts, open, count, clean = {}, {}, { verified = 0, violated = 0, unproven = 0 }, 0
  for i = 1, report.n do
    local right = found[i] == (labels and labels[i])
    if holds then right = holds[i] == 1 end
    clean = clean + (right and 1 or 0)
    local unknown = holds and holds[i] == -1
    verdicts[i] = unknown and "unproven" or not right and "violated" or reached[i] == 1 and "verified" or "unproven"
    if verdicts[i] == "unproven" and not unknown then open[#open + 1] = i end
  end
  local broken, why, kind = violations(net, data, open, { eps = o.eps, scale = o.scale, p = report.p, box = o.box,
    attack = o.attack, steps = o.steps, restarts = o.restarts, seed = o.seed, spec = o.spec })
  if not broken then return nil, why, kind end
  for _, one in ipairs(broken) do verdicts[one[1]] = "violated" end
  if o.seconds or o.nodes then
    local left = {}
    for _, row in ipairs(open) do
      if verdicts[row] == "unproven" then left[#left + 1] = row end
    end
    local done
    done, why, kind = decide_rows(net, data, left, o, report.p, labels, verdicts, broken)
    if not done then return nil, why, kind end
  end
  local rows, points = together(broken)
  for _, verdict in ipairs(verdicts) do count[verdict] = count[verdict] + 1 end
  return { n = report.n, verified = count.verified / report.n, violated = count.violated / report.n,
    unproven = count.unproven / report.n, clean = clean / report.n, verdicts = verdicts, labels = report.labels,
    rows = rows, adversarial = points, p = report.p, eps = is_tensor(o.eps) and 1 or o.eps, region = report.region,
    reason = report.reason, assumed = report.assumed }
end

return arguments.checked("lip.verify", "net net, data question", verify)
