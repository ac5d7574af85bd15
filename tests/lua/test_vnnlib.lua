-- VNN-LIB queries as seen from Lua: texts in both versions, points, cases and specs, real files, the official parser.
local lu = require "luaunit"
local lip = require "lip"

local T = {}
local stress = os.getenv "LIPWB_GC_STRESS" == "1"
local data = os.getenv "LIPWB_DATA"

local two_by_two = [[
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
]]

local function query(conditions) return assert(lip.property.vnnlib { text = two_by_two .. conditions }) end

-- Both texts of a query, each of which must give the same texts again.
local function check_texts(q)
  local texts = {}
  for version = 1, 2 do texts[version] = assert(q:text { version = version }) end
  for version = 1, 2 do
    local again = assert(lip.property.vnnlib { text = texts[version] })
    lu.assertEquals(again.version, version)
    lu.assertEquals(again.inputs, q.inputs)
    lu.assertEquals(again.outputs, q.outputs)
    for other = 1, 2 do lu.assertTrue(again:text { version = other } == texts[other]) end
  end
  return texts
end

function T.test_text_is_canonical()
  local q = query [[
; comments and forms that people write
(assert (and (<= X_0 5e-1) (>= X_0 (- .25))))
(assert (or (and (<= Y_0 Y_1)) (> Y_0 3.10) (not (= X_1 2))))
(assert (< (+ (* 2 Y_0) X_0 (- Y_1) 1 X_0) (* 3 (- Y_1 0.5))))]]
  lu.assertEquals(q:text(), two_by_two .. [[
(assert (<= X_0 0.5))
(assert (>= X_0 -0.25))
(assert (or
    (<= Y_0 Y_1)
    (> Y_0 3.1)
    (< X_1 2.0)
    (> X_1 2.0)))
(assert (< (+ (* 2.0 X_0) (* 2.0 Y_0) (* -4.0 Y_1)) -2.5))
]])
  lu.assertStrContains(q:text { version = 2 }, "(declare-input X float32 [2])")
  check_texts(q)
  lu.assertEquals(tostring(q), "vnnlib 1 (2 inputs, 2 outputs, 7 inequalities)")
end

function T.test_several_networks()
  local q = assert(lip.property.vnnlib { text = [[
(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,2] "in") (declare-output Y float32 []))
(declare-network g (equal-to f) (declare-input U float32 [1,2]) (declare-output V float32 []))
(assert (<= X[0,1] U[0,1]))
(assert (> Y V))]] })
  lu.assertEquals({ q.inputs, q.outputs, q.version }, { 4, 2, 2 })
  local nets = q:networks()
  lu.assertEquals({ nets[1].name, nets[2].equal_to, nets[1].inputs[1].onnx }, { "f", "f", "in" })
  lu.assertEquals(nets[1].inputs[1].shape, { 1, 2 })
  lu.assertEquals(nets[1].outputs[1].shape, {})
  local text = q:text()
  lu.assertStrContains(text, "(<= X[0,1] U[0,1])")
  lu.assertEquals(assert(lip.property.vnnlib { text = text }):text(), text)
  local none, message, code = q:text { version = 1 }
  lu.assertEquals({ none, code }, { nil, "unsupported" })
  lu.assertStrContains(message, "write version 2")
  lu.assertEquals(q:holds(lip.tensor { 0, 1, 0, 2 }, lip.tensor { 1, 0 }), "unsafe")
  lu.assertEquals(q:holds(lip.tensor { 0, 2, 0, 1 }, lip.tensor { 1, 0 }), "safe")
end

function T.test_points_and_boxes()
  local q = query "(assert (<= X_0 0.1)) (assert (>= X_0 -0.1)) (assert (or (>= Y_0 Y_1) (>= Y_1 0.3)))"
  local low, high, empty = q:box()
  lu.assertFalse(empty)
  lu.assertTrue(high:get(1) >= 0.1 and low:get(1) <= -0.1)
  lu.assertEquals({ low:get(2), high:get(2) }, { -math.huge, math.huge })
  lu.assertEquals(q:holds(low, lip.tensor { 0, 1 }), "safe", "float32 of 0.1 is above 0.1: outside of the decimal box")
  lu.assertEquals(q:holds(lip.tensor { 0.09, 0 }, lip.tensor { 0, 1 }), "unsafe")
  lu.assertEquals(q:holds(lip.tensor { 0.09, 0 }, lip.tensor { 0, 0.2 }), "safe")
  lu.assertEquals(q:holds(lip.tensor { 0.09, 0 }, lip.tensor { 0, 0 / 0 }), "undecided")
  lu.assertEquals(#q:cases(), 2)
  lu.assertEquals(q:cases()[1], { empty = false, inputs = 0, outputs = 1, mixed = 0 })
  lu.assertErrorMsgContains("2 numbers", q.holds, q, lip.tensor { 1 }, lip.tensor { 1, 2 })
  lu.assertErrorMsgContains("1 to 2", q.box, q, 3)
end

function T.test_spec_is_what_verdicts_take()
  local q = query "(assert (<= X_0 1)) (assert (or (and (>= Y_0 Y_1) (<= (* 0.1 Y_0) 0.25)) (>= Y_1 7)))"
  lu.assertEquals(q:spec(1), { { C = { { -1, 1 }, { 1, 0 } }, d = { 0, -2.5 }, any = true } })
  lu.assertEquals(q:spec(2), { { C = { { 0, -1 } }, d = { 7 }, any = true } })
  lu.assertEquals(q:spec(), { q:spec(1)[1], q:spec(2)[1] })
  local net = lip.net { input = { 2 }, norm = 2, lip.dense { out = 2 } }
  local certified = net:certify(lip.tensor { { 0, 0 }, { 0.5, 0.5 } }, { method = "local", p = "inf", eps = 0.01, spec = q:spec() })
  lu.assertNotNil(certified)
  local none, message, code = query("(assert (<= X_0 Y_0))"):spec(1)
  lu.assertEquals({ none, code }, { nil, "unsupported" })
  lu.assertStrContains(message, "compares inputs with outputs")
end

-- What is said of a point agrees with doubles, where those leave no doubt.
function T.test_random_queries()
  local rng = lip.rng(7)
  local function below(n) return math.floor(lip.rand(rng, 1):get(1) * n) end
  local function number() return ("%.2f"):format(lip.randn(rng, 1):get(1)) end
  local names = { "X_0", "X_1", "Y_0", "Y_1" }
  local function sum(depth, point)
    local kind = depth > 3 and below(2) or below(5)
    if kind == 0 then
      local text = number()
      return text, tonumber(text)
    elseif kind == 1 then
      local i = below(4) + 1
      return names[i], point[i]
    end
    local a, x = sum(depth + 1, point)
    local b, y = sum(depth + 1, point)
    if kind == 2 then return ("(+ %s %s)"):format(a, b), x + y end
    if kind == 3 then return ("(- %s %s)"):format(a, b), x - y end
    local c = number()
    return ("(* %s %s)"):format(c, a), tonumber(c) * x
  end
  local function condition(depth, point)
    local kind = depth > 3 and 0 or below(4)
    if kind == 0 then
      local a, x = sum(0, point)
      local b, y = sum(0, point)
      if math.abs(x - y) < 1e-6 then return condition(depth, point) end
      local op = ({ "<=", ">=", "<", ">", "==", "!=" })[below(6) + 1]
      local truth = op:find "<" and x < y or op:find ">" and x > y or op == "!="
      return ("(%s %s %s)"):format(op, a, b), truth
    end
    local a, x = condition(depth + 1, point)
    if kind == 1 then return ("(not %s)"):format(a), not x end
    local b, y = condition(depth + 1, point)
    if kind == 2 then return ("(and %s %s)"):format(a, b), x and y end
    return ("(or %s %s)"):format(a, b), x or y
  end
  local unsafe = 0
  for _ = 1, stress and 3 or 300 do
    local x, y = lip.randn(rng, 2), lip.randn(rng, 2)
    local text, truth = condition(0, { x:get(1), x:get(2), y:get(1), y:get(2) })
    local q = query("(assert " .. text .. ")")
    lu.assertEquals(q:holds(x, y), truth and "unsafe" or "safe", text)
    local texts = check_texts(q)
    lu.assertEquals(assert(lip.property.vnnlib { text = texts[2] }):holds(x, y), truth and "unsafe" or "safe", text)
    unsafe = unsafe + (truth and 1 or 0)
  end
  lu.assertTrue(stress or (unsafe > 50 and unsafe < 250))
end

function T.test_files()
  local path = os.tmpname()
  assert(lip.file.write(path, lip.deflate(query("(assert (<= X_0 1))"):text())))
  lu.assertEquals(#assert(lip.property.vnnlib(path)):cases(), 1)
  assert(lip.file.write(path, two_by_two .. "(assert (<= X_7 1))"))
  local none, message, code = lip.property.vnnlib(path)
  lu.assertEquals({ none, code }, { nil, "format" })
  lu.assertStrContains(message, path .. ": line 5, column 13: 'X_7'")
  assert(lip.file.write(path, lip.deflate(two_by_two):sub(1, 40)))
  lu.assertEquals(select(3, lip.property.vnnlib(path)), "format")
  os.remove(path)
  lu.assertEquals(select(3, lip.property.vnnlib(path)), "not_found")
end

-- A packed file of more than 256 MB is refused when it has said so, and takes no memory for it.
function T.test_size_is_bounded()
  if stress then return end
  local path = os.tmpname()
  local piece = lip.deflate((" "):rep(16 << 20))
  assert(lip.file.write(path, piece:rep(17)))
  local none, message, code = lip.property.vnnlib(path)
  os.remove(path)
  lu.assertEquals({ none, code }, { nil, "unsupported" })
  lu.assertStrContains(message, "256 MB")
end

local function benchmark()
  local names = {}
  for i = 1, 10 do names[#names + 1] = ("acasxu/prop_%d.vnnlib"):format(i) end
  for i = 0, 14 do
    for _, eps in ipairs { "0.03", "0.05" } do names[#names + 1] = ("mnist_fc/prop_%d_%s.vnnlib.gz"):format(i, eps) end
  end
  local first = data and data .. "/vnncomp/" .. names[1]
  local file = first and io.open(first)
  if not file then lu.skip "LIPWB_DATA/vnncomp is not there" end
  file:close()
  return names
end

function T.test_benchmarks()
  local cases = { 1, 1, 1, 1, 4, 8, 2, 3, 4, 4 }
  local names = benchmark()
  for i = 1, #names, stress and 13 or 1 do
    local q = assert(lip.property.vnnlib(data .. "/vnncomp/" .. names[i]))
    check_texts(q)
    lu.assertEquals({ q.inputs, q.outputs, #q:cases() }, i <= 10 and { 5, 5, cases[i] } or { 784, 10, 9 })
    local low, high, empty = q:box()
    lu.assertFalse(empty)
    lu.assertTrue(low:le(high):sum() == q.inputs)
    lu.assertEquals(#q:spec(), #q:cases())
    if i > 10 then -- unsafe where label 4, say, is not the only largest
      local middle = low:add(high):mul(0.5)
      lu.assertEquals(q:holds(middle, lip.zeros(10)), "unsafe")
      local answers = 0
      for k = 1, 10 do
        local y = lip.zeros(10)
        y:set(k, 1)
        answers = answers + (q:holds(middle, y) == "safe" and 1 or 0)
      end
      lu.assertEquals(answers, 1)
    end
  end
end

local official = [[
import sys, vnnlib, vnnlib.compat
q = vnnlib.parse_query_file(sys.argv[1])
print(len(q.assertions))
if len(sys.argv) > 2:
    for case in vnnlib.compat.transform(q):
        box = " ".join("%r %r" % side for side in case.input_box)
        for p in case.output_constraints:
            print(box, "|", " ".join("%r" % a for row in p.coeff_matrix for a in row), "|", " ".join("%r" % b for b in p.rhs))
]]

local function numbers(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = assert(tonumber(word), word) end
  return list
end

-- The boxes and outputs of the official parser, one line a case, are those of our cases.
local function compare(q, lines)
  lu.assertEquals(#lines, #q:cases())
  for i, line in ipairs(lines) do
    local box, rows, bounds = line:match "^(.-)|(.-)|(.*)$"
    local sides, low, high = numbers(box), q:box(i)
    for k = 1, q.inputs do -- ours are float32, rounded outwards
      local a, b = sides[2 * k - 1], sides[2 * k]
      lu.assertTrue(low:get(k) <= a and low:get(k) >= a - math.abs(a) * 2^-23, ("case %d, input %d"):format(i, k))
      lu.assertTrue(high:get(k) >= b and high:get(k) <= b + math.abs(b) * 2^-23, ("case %d, input %d"):format(i, k))
    end
    local spec, theirs, their_bounds = q:spec(i)[1], numbers(rows), numbers(bounds)
    lu.assertEquals(#spec.C, #their_bounds)
    for r, row in ipairs(spec.C) do
      for k, weight in ipairs(row) do lu.assertEquals(weight, theirs[(r - 1) * q.outputs + k]) end
      lu.assertAlmostEquals(-spec.d[r], their_bounds[r], 1e-12)
    end
  end
end

-- The official parser takes our version 2, and sees the same boxes and conditions.
function T.test_the_official_parser()
  if stress then return end
  local python = os.getenv "LIPWB_PYTHON" or "python3"
  local script, path = os.tmpname(), os.tmpname()
  assert(lip.file.write(script, official))
  local function run(q, more)
    assert(lip.file.write(path, assert(q:text { version = 2 })))
    local pipe = io.popen(("'%s' '%s' '%s' %s 2>&1"):format(python, script, path, more or ""))
    local lines = {}
    for line in pipe:lines() do lines[#lines + 1] = line end
    return pipe:close(), lines
  end
  local q = query "(assert (<= (+ (* 0.5 X_0) (* -1e-9 Y_1)) 1e20)) (assert (or (< Y_0 Y_1) (and (<= Y_0 1) (!= X_1 -2))))"
  local good, lines = run(q)
  if not good and (table.concat(lines):find "No module named" or table.concat(lines):find "not found") then
    os.remove(path)
    os.remove(script)
    lu.skip(python .. " has no module vnnlib: LIPWB_PYTHON names an interpreter that has it")
  end
  lu.assertEquals({ good, lines[1] }, { true, "2" })
  local compared = 0
  for i, name in ipairs(data and lip.file.exists(data .. "/vnncomp/acasxu/prop_1.vnnlib") and benchmark() or {}) do
    if i <= 12 then
      q = assert(lip.property.vnnlib(data .. "/vnncomp/" .. name))
      good, lines = run(q, "all")
      lu.assertTrue(good, lines[#lines])
      table.remove(lines, 1)
      local _, unions = q:text():gsub("%(assert %(or", "")
      if unions <= 1 then -- of several, version 1.0.2 joins what should be intersected (acasxu's property 6)
        compare(q, lines)
        compared = compared + 1
      end
    end
  end
  lu.assertTrue(compared == 0 or compared == 11)
  os.remove(path)
  os.remove(script)
end

return T
