-- Seeds for the harnesses: lipwb tests/fuzz/seeds.lua FOLDER writes FOLDER/READER/NAME, small files of every kind that
-- a reader takes and some that it must refuse, and FOLDER/READER.dict, words that a mutation may use.
local lip = require "lip"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local folder = assert((...), "usage: lipwb tests/fuzz/seeds.lua FOLDER")
local path = folder .. "/scratch"

local function write(reader, name, text)
  assert(lip.file.mkdir(folder .. "/" .. reader))
  assert(lip.file.write(("%s/%s/%s"):format(folder, reader, name), text))
end

local function words(reader, list)
  local lines = {}
  for i, word in ipairs(list) do
    lines[i] = '"' .. word:gsub("[^%w _.,:/%-]", function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
  end
  assert(lip.file.write(("%s/%s.dict"):format(folder, reader), table.concat(lines, "\n") .. "\n"))
end

-- What a file written by `save` holds.
local function written(save)
  assert(save(path))
  local text = assert(lip.file.read(path))
  os.remove(path)
  return text
end

-- Two files in one input: the length of the second, the second, the first.
local function pair(first, second)
  second = second or ""
  return (">I2"):pack(#second) .. second .. first
end

local big = ("\1\2\3\4\5\6\7\8"):rep(40)

-- ---- idx ----

local function idx(type, shape, values)
  return ("\0\0" .. string.char(type, #shape)) .. (">" .. ("I4"):rep(#shape)):pack(table.unpack(shape)) .. values
end

for type, size in pairs { [0x08] = 1, [0x09] = 1, [0x0B] = 2, [0x0C] = 4, [0x0D] = 4, [0x0E] = 8 } do
  write("idx", "type" .. type, pair(idx(type, { 2, 2, 3 }, big:sub(1, 12 * size)), idx(0x08, { 2 }, "\0\1")))
end
write("idx", "channels", pair(idx(0x08, { 1, 3, 2, 2 }, big:sub(1, 12))))
write("idx", "vectors", pair(idx(0x08, { 3, 4 }, big:sub(1, 12)), idx(0x0C, { 3 }, (">I4I4I4"):pack(0, 2, 1))))
write("idx", "packed", pair(lip.deflate(idx(0x08, { 40, 8 }, big)), lip.deflate(idx(0x08, { 40 }, ("\1"):rep(40)))))
write("idx", "empty", pair(idx(0x08, { 0, 2, 2 }, "")))
-- a packed header that claims what deflate could hold, and one that claims more
write("idx", "claim", pair(lip.deflate(idx(0x0E, { 3000 }, big:rep(8)))))
write("idx", "lie", pair(lip.deflate(idx(0x08, { 4000000000, 2 }, ""))))

-- ---- npy ----

local function npy(descr, order, shape, values, version)
  local dict = ("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }"):format(descr, order, shape)
  dict = dict .. (" "):rep((64 - (11 + #dict) % 64) % 64) .. "\n"
  version = version or 1
  return ("\x93NUMPY%c\0"):format(version) .. (version == 1 and "<I2" or "<I4"):pack(#dict) .. dict .. values
end

for _, type in ipairs { "<f4", ">f4", "<f8", ">f8", "|u1", "|i1", "<i2", ">u2", "<i4", ">i8", "<u8", "|b1" } do
  local values = big:sub(1, 6 * tonumber(type:sub(3)))
  write("npy", "type" .. lip.sha256(type):sub(1, 6), pair(npy(type, "False", "2, 3", values)))
  write("npy", "fortran" .. lip.sha256(type):sub(1, 6), pair(npy(type, "True", "3, 2", values, 2)))
end
local three = npy("<f4", "False", "3, 2", big:sub(1, 24))
write("npy", "labels", pair(three, npy("<i8", "False", "3,", ("<i8i8i8"):pack(0, 2, 1))))
write("npy", "targets", pair(three, npy("<f8", "False", "3, 1", big:sub(1, 24))))
write("npy", "images", pair(npy("|u1", "False", "2, 1, 4, 4", big:sub(1, 32)), npy("|u1", "False", "2,", "\0\1")))
write("npy", "number", pair(npy("<f4", "False", "", "\0\0\0\0")))
write("npy", "packed", pair(lip.deflate(npy("|u1", "False", "40, 8", big, 3))))
write("npy", "claim", pair(lip.deflate(npy("|u1", "False", "3000, 2", big))))
write("npy", "lie", pair(npy("<f4", "False", "4000000000, 4000000000", "")))
write("npy", "objects", pair(npy("|O", "False", "2,", "abc")))
words("npy", { "'descr'", "'fortran_order'", "'shape'", "True", "False", "'<f4'", "'>f8'", "'|u1'", "(", "), }", "0, ",
  "18446744073709551615" })

-- ---- csv: the first byte chooses the options (fuzz_csv.c) ----

local texts = {
  plain = "1,2,3\n4,5,6\n", header = "a,b,y\n1,2,0\n3,4,1\n", crlf = "1,2\r\n3,4\r\n", cr = "1,2\r3,4\r",
  quotes = '"a","b ""c"" ",y\n"1","2",0\n 3 , "4",1\n', mark = "\xEF\xBB\xBF1,2\n3,4\n", blank = "\n\n1,2\n\n3,4\n\n",
  missing = "y,label\n1,\nNA,2\n?,nan\n", numbers = "1e3,-2.5E-4,+7\n.5,0.,1e38\n", semicolons = "1;2\n3;4\n",
  tabs = "1\t2\n3\t4\n", ragged = "1,2\n3\n", labels = "0,1\n1,2\n2,3\n", packed = lip.deflate(("1,2,3\n"):rep(50)),
  counting = "0,1,2\n5,6,7\n", one = "1",
}
local n = 0
for _, name in ipairs { "plain", "header", "crlf", "cr", "quotes", "mark", "blank", "missing", "numbers", "semicolons",
  "tabs", "ragged", "labels", "packed", "counting", "one" } do
  for _, how in ipairs { 0, 0x22, 0x40, 0x52, 0x60, 0x80, 0xA2, 0x15, 0x19 } do
    n = n + 1
    write("csv", ("%s%02x"):format(name, how), string.char(how) .. texts[name])
  end
end
words("csv", { "\r\n", '""', "NA", "nan", "null", "1e38", "1e39", "-0", "label", "\xEF\xBB\xBF", "65536" })

-- ---- cifar ----

local function records(count, label_bytes)
  local list = {}
  for i = 1, count do
    list[i] = string.char(i % 10):rep(label_bytes) .. string.char(i, 255 - i):rep(3 * 32 * 32 // 2)
  end
  return table.concat(list)
end

write("cifar", "one", "\0" .. records(1, 1))
write("cifar", "two", "\0" .. records(2, 1))
write("cifar", "fine", "\1" .. records(2, 2))
write("cifar", "files", "\2" .. records(2, 1))
write("cifar", "packed", "\0" .. lip.deflate(records(9, 1)))
write("cifar", "both", "\2" .. lip.deflate(records(2, 1)) .. lip.deflate(records(2, 1)))
write("cifar", "cut", "\0" .. records(1, 1):sub(1, 100))

-- ---- gz ----

write("gz", "empty", lip.deflate "")
write("gz", "text", lip.deflate "hello, hello, hello")
write("gz", "zlib", lip.deflate(big, "zlib"))
write("gz", "members", lip.deflate "one" .. lip.deflate "two" .. lip.deflate "")
write("gz", "behind", lip.deflate "one" .. "two")
write("gz", "zeros", lip.deflate(("\0"):rep(100000)))
write("gz", "cut", lip.deflate(big):sub(1, -9))
write("gz", "plain", "not packed")
write("gz", "head", "\x1f\x8b")
write("gz", "name", "\x1f\x8b\8\8\0\0\0\0\0\3name\0" .. lip.deflate("named"):sub(11))

-- ---- json ----

for i, text in ipairs { "{}", "[]", '{"a":[1,-2,3.5,1e300,true,false,null,"x"]}', ("["):rep(64) .. ("]"):rep(64),
  ("["):rep(65) .. ("]"):rep(65), '{"\\u00e4\\ud83d\\ude00\\n\\"":"\\/\\b\\f\\r\\t"}', '{"a":1,"a":2}',
  "[9223372036854775807,-9223372036854775808,9223372036854775808]", '["inf","-inf","nan",1e999,-0.0,-0]',
  '[" \\u0000"]', "[1,]", '{"a":{"b":{"c":[{}]}}}', "\xEF\xBB\xBF{}", '["\xC3\xA4\xF0\x9F\x98\x80"]', '["\xff"]', "5" } do
  write("json", "seed" .. i, text)
end
words("json", { "\\ud83d\\ude00", "\\u0000", "true", "false", "null", "1e308", "-0.0", '"inf"', "[[[[[[[[", '{"a":' })

-- ---- nets: specs, checkpoints, safetensors ----

local layers = {
  dense = function() return lip.dense { out = 3 } end,
  conv2d = function() return lip.conv2d { channels = 2, kernel = 3 } end,
  groupsort = function() return lip.groupsort { size = 2 } end,
  standardise = function() return lip.standardise { mean = { 0.5 }, std = { 2 } } end,
  residual = function() return lip.residual { lip.dense { out = 4 }, lip.relu {} } end,
  chain = function() return lip.chain { lip.dense { out = 4 }, lip.maxmin {} } end,
  concat = function() return lip.concat { lip.chain { lip.dense { out = 4 }, lip.maxmin {} }, lip.chain {} } end,
  sum = function() return lip.sum { weights = { -0.5, 0.25 }, lip.dense { out = 4 }, lip.chain {} } end,
  anchor = function() return lip.anchor { at = { 1, 2, 3, 4 }, value = -1, lip.dense { out = 4 }, lip.relu {} } end,
}

local function small(norm, ...)
  return lip.net { input = 4, norm = norm, budget = 2, seed = 1, ... }
end

-- A saved net, whose metadata are what the spec reader gets.
local function add(name, net, options)
  local text = written(function(to) return net:save(to, options) end)
  assert(lip.file.write(path, text))
  local meta = assert(lip.inspect(path)).metadata
  os.remove(path)
  write("checkpoint", name, text)
  write("safetensors", name, text)
  write("spec", name, ('{"net":%s,"layers":%s}'):format(meta.net, meta.layers))
end

local function trained(net, kind)
  local opt = lip.optim[kind] {}
  local x, y = lip.rand(lip.rng(1), 6, 4), lip.tensor { 0, 1, 2, 0, 1, 2 }
  assert(lip.train(net, lip.data.tensors(x, y), { epochs = 1, batch = 3, opt = opt }))
  return net, { optimizer = opt }
end

-- Required options without a line of their own get 2; the first input and norm that a kind takes.
for _, kind in ipairs(lip.layers()) do
  local options, made, ok, net = { kind.container and lip.relu {} or nil }, layers[kind.name], nil, nil
  for _, o in ipairs(kind.options) do options[o.name] = o.required and 2 or nil end
  local function net_of(input, norm)
    return lip.net { input = input, norm = norm, seed = 1, made and made {} or lip[kind.name](options), lip.flatten {},
      lip.dense { out = 3 } }
  end
  for _, norm in ipairs { "inf", "2" } do
    for _, input in ipairs { 4, { 1, 4, 4 }, { 4, 4, 4 } } do
      if not ok then ok, net = pcall(net_of, input, norm) end
    end
  end
  if not ok then error(("no seed for layer %s: give it options here (%s)"):format(kind.name, net)) end
  add("layer_" .. kind.name, net)
end
for _, norm in ipairs { "1", "2", "inf", "1->2->inf" } do
  add("norm" .. lip.sha256(norm):sub(1, 4), small(norm, lip.dense { out = 4 }, lip.relu {}, lip.dense { out = 3 }))
end
add("adam", trained(small("2", lip.dense { out = 4 }, lip.relu {}, lip.dense { out = 3 }), "adam"))
add("sgd", trained(small("inf", lip.dense { out = 4 }, lip.maxmin {}, lip.dense { out = 3 }), "sgd"))

local quoted, seen = {}, {}
for _, name in ipairs(assert(lip.file.list(folder .. "/spec"))) do
  for word in lip.file.read(folder .. "/spec/" .. name):gmatch '"[^"]*"' do
    if not seen[word] then quoted[#quoted + 1] = word end
    seen[word] = true
  end
end
local whole = { '"children":[', '{"kind":"dense","options":{"out":3}}', '{"kind":"relu","options":{}}', '"inf"' }
for _, word in ipairs(whole) do
  quoted[#quoted + 1] = word
end
words("spec", quoted)
words("safetensors", { '"dtype":"F32"', '"dtype":"F64"', '"shape":[', '"data_offsets":[', '"__metadata__":{', "[0,0]",
  "18446744073709551615", "9223372036854775807" })
words("checkpoint", { '"dtype":"F64"', '"shape":[', '"data_offsets":[', '\\"kind\\":\\"dense\\"', '\\"out\\":1000000',
  '\\"budget\\":', '\\"kernel\\":', "[100000,1]", '\\"stride\\":', "1e308" })

-- ---- files of other programs: the first byte of an archive chooses (fuzz_npz.c) ----

local foreign = dofile(here .. "/../lua/support_foreign.lua")
for i, type in ipairs { "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "F8_E4M3" } do
  local item = math.tointeger(tonumber(type:match "%d+") or 8) // 8
  write("tensors", "type" .. i, foreign.safetensors { { "0.weight", type, { 4, 3 }, big:sub(1, 12 * item) },
    { "0.bias", type, { 4 }, big:sub(1, 4 * item) }, { "10.bias", type, { 2 }, big:sub(1, 2 * item) },
    { "2.weight", type, { 2, 4 }, big:sub(1, 8 * item) }, { "2.num_batches_tracked", type, {}, big:sub(1, item) } })
end
local ones = ("<f"):pack(0.5)
for i, names in ipairs { { "0", "2" }, { "10", "2" }, { "fc", "head" }, { "1.dense", "2.dense" }, { "a.parametrizations", "b" } } do
  write("tensors", "net" .. i, foreign.safetensors { { names[1] .. ".bias", "F32", { 4 }, ones:rep(4) },
    { names[1] .. ".weight", "F32", { 4, 3 }, ones:rep(12) }, { names[2] .. ".bias", "F32", { 2 }, ones:rep(2) },
    { names[2] .. ".weight", "F32", { 2, 4 }, ones:rep(8) } })
end
write("tensors", "twins", foreign.safetensors { { "a.bias", "F32", { 4 }, ones:rep(4) }, { "b.bias", "F32", { 4 }, ones:rep(4) } })
words("tensors", { '"dtype":"F16"', '"dtype":"BF16"', '"dtype":"I64"', '"dtype":"BOOL"', '"shape":[', '"data_offsets":[', '"weight"',
  '"0.weight":', '"10.bias":', "18446744073709551615", "[0,0]" })

for _, packed in ipairs { false, true } do
  local members = {}
  for i, descr in ipairs { "<f4", ">f8", "<f2", "|u1", "<i8", "|b1" } do
    members[i] = { i .. ".npy", foreign.npy(descr, { 2, 3 }, big:sub(1, 6 * tonumber(descr:sub(3))), i % 2 == 0), packed = packed }
    write("npz", "member" .. i, "\1" .. members[i][2])
    write("npz", ("one%d%s"):format(i, packed and "packed" or ""), "\0" .. foreign.zip { members[i] })
  end
  write("npz", packed and "packed" or "stored", "\0" .. foreign.zip(members))
end
local zeros = foreign.npy("<f4", { 5000 }, ("\0"):rep(20000))
write("npz", "zeros", "\0" .. foreign.zip { { "z.npy", zeros, packed = true } })
write("npz", "lie", "\0" .. foreign.zip { { "z.npy", zeros, packed = true, size = 4000000000 } })
write("npz", "twice", "\0" .. foreign.zip { { "a.npy", three }, { "a.npy", three } })
write("npz", "secret", "\0" .. foreign.zip { { "a.npy", three, flags = 1 } })
write("npz", "empty", "\0" .. foreign.zip {})
words("npz", { "PK\1\2", "PK\3\4", "PK\5\6", "PK\6\6", "PK\6\7", ".npy", "'descr'", "'shape'", "'<f2'", "\xff\xff\xff\xff", "data.pkl" })

-- ---- certificates ----

local net, x = dofile(here .. "/certified_net.lua")(lip)
local labels = net:predict(x)
for _, method in ipairs { "product", "abs", "recursion", "multiplier", "best" } do
  for _, arithmetic in ipairs { "float32", "real" } do
    write("certificate", method .. arithmetic, written(function(to)
      return net:certificate(to, x, labels, { method = method, eps = 0.01, arithmetic = arithmetic })
    end))
  end
end
for name, box in pairs { ball = false, box = { 0, 1 } } do
  write("certificate", name, written(function(to)
    return net:certificate(to, x, labels, { method = "local", eps = { 0.01, 0.1, 0.3 }, box = box or nil })
  end))
end
write("certificate", "constants", written(function(to) return net:certificate(to, nil, { method = "recursion" }) end))
words("certificate", { '"norm"', '"pair"', '"proof.rho"', '"proof.lambda"', '"proof.weight"', '"radius"', '"label"',
  '"truth"', '"eps"', '"certified"', '"shape":[', "float32", "real", "best", "product", "abs", "local", '"local.slope"', "0 1", "2->inf", "1->2" })

-- ---- vnnlib ----

local box = [[
; a box and a union
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 0.679857769))
(assert (>= X_0 -6e-1))
(assert (and (>= X_1 0) (< X_1 .5)))
(assert (or (and (<= Y_0 Y_1) (> Y_0 3.991125645861615)) (not (= Y_1 (+ (* 0.1 Y_0) (- X_1) -2)))))
]]
local nets = [[
(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,2] "in") (declare-output Y float32 [2,1]))
(declare-network g (equal-to f) (declare-input U float32 [1,2]) (declare-output V float32 [2,1]))
(declare-network h (declare-input s Real []) (declare-output T float64 [3]))
(assert (== X[0,1] U[0,0]))
(assert (or (!= V[1,0] Y[0,0]) (<= (- s 1.5 (* 2 T[2])) (* 3 (- 0.25)))))
]]
write("vnnlib", "box", box)
write("vnnlib", "packed", lip.deflate(box))
write("vnnlib", "nets", nets)
write("vnnlib", "deep", "(declare-const X_0 Real)(declare-const Y_0 Real)(assert " .. ("(not "):rep(60) .. "(< X_0 Y_0)"
  .. (")"):rep(61))
write("vnnlib", "many", "(declare-const X_0 Real)(declare-const Y_0 Real)"
  .. ("(assert (or (<= X_0 1) (>= Y_0 2) (< X_0 Y_0)))"):rep(9))
write("vnnlib", "huge", "(declare-network f (declare-input X real [4096,4096])(declare-output Y real []))(assert (<= Y 1e1999))")
words("vnnlib", { "(assert ", "(and ", "(or ", "(not ", "(<= ", "(>= ", "(< ", "(> ", "(== ", "(!= ", "(= ", "(+ ", "(- ", "(* ",
  "(declare-const X_2 Real)", "(declare-const Y_2 Real)", "(declare-network ", "(declare-input ", "(declare-output ",
  "(declare-hidden ", "(equal-to ", "(isomorphic-to ", "(vnnlib-version <2.0>)", "float32", "[1,2]", "[]", "1e-400", "1e308",
  "0.1", "X_0", "Y_0", "X[0,1]", ";", "\n" })

-- ---- onnx ----

local function onnx(name, layers)
  layers.norm, layers.budget = 2, math.huge
  local net = lip.net(layers)
  write("onnx", name, written(function(to) return net:export { onnx = to } end))
end

onnx("dense", { input = { 4 }, lip.dense { out = 3 }, lip.relu(), lip.dense { out = 2 } })
onnx("sorts", { input = { 4 }, lip.dense { out = 4 }, lip.maxmin(), lip.dense { out = 6 }, lip.groupsort { size = 3 },
  lip.fullsort(), lip.dense { out = 2 } })
onnx("image", { input = { 1, 4, 4 }, lip.conv2d { channels = 2, kernel = 3, padding = 1 }, lip.relu(),
  lip.avg_pool2d { kernel = 2 }, lip.flatten(), lip.dense { out = 2 } })
onnx("branches", { input = { 4 }, lip.residual { lip.dense { out = 4 }, lip.tanh() },
  lip.concat { lip.dense { out = 2 }, lip.dense { out = 2 } }, lip.leaky_relu(), lip.dense { out = 2 } })
write("onnx", "packed", lip.deflate(written(function(to)
  return lip.net { input = { 4 }, norm = 2, lip.dense { out = 2 } }:export { onnx = to }
end)))
words("onnx", { "Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Relu", "Conv", "Flatten", "Reshape", "Transpose", "Concat", "Split",
  "Max", "Min", "TopK", "Clip", "Softmax", "Pad", "MaxPool", "AveragePool", "BatchNormalization", "Identity", "Constant", "Cast",
  "Gather", "Shape", "Squeeze", "Unsqueeze", "axis", "alpha", "beta", "transA", "transB", "pads", "strides", "group", "input",
  "output" })
