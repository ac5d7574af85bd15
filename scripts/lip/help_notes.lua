--- What help() says about a function beside its line and its options, under the name that help() prints.
return {
  ["lip.grad"] = [[
local df = lip.grad(function(x, w, y)
  local z = x:matmul(w):relu()
  return (z:logsumexp(2) - z:gather(y)):mean() + 1e-4 * w:square():sum()
end)
local value, dx, dw = df(x, w, labels)
f is written forwards only, with the operators and methods of tensors, and returns a number. Each argument gets its
gradient: a tensor for a tensor, a table for a table of tensors, nil for what is neither; numbers and texts are constants,
and so are masks (eq, lt, ...), sign, argmax, classes, positions and x:detach().
A sum over all elements is a number: it takes + - * / ^, comparisons and, in f, exp, log, sqrt, tanh and the like.
At kinks: abs and norm 1 have slope 0 at 0, relu 0 at 0, clamp 1 at its limits, norm 2 0 at 0; maximum and minimum of
equals go to the first, max, min and norm math.huge to the lowest index, equals in sort as they stand (it is stable).
Slopes that are infinite or NaN stay so, also behind where(): a slope of 0 times infinity is NaN. Nothing in f may change
a tensor in place. Derivatives of derivatives are not offered.]],
  ["lip.grad.check"] = [[
local off = lip.grad.check(function(x, w) return x:matmul(w):tanh():sum() end, x, w)
assert(lip.grad.check(lip.loss.custom(function(z) return z:square():mean() end), x, labels) < 0.01)
A function as lip.grad takes it; a loss, with outputs and targets; or what lip.layer made (with options or without), with
inputs (rows, shape...): then its backward, and that of its parameters, is what is checked. Every element is moved, one after
the other, so take small tensors, and the same result for the same arguments. Numbers are float32: right gradients of smooth
functions are off by some 0.001 of the largest slope, wrong ones by far more; at kinks, and where a slope is not finite, a
difference means nothing. A forward that draws at random (c.seed) is to draw the same again.]],
  ["lip.grad.vjp"] = [[
local y, pull = lip.grad.vjp(function(x, w) return x:matmul(w):tanh() end, x, w)
local dx, dw = pull(dy)
y is a tensor or a number; pull may be called several times, and the arguments must not change before.]],
  ["net:power"] = [[
local net = lip.net{ input = {1, 28, 28}, norm = "inf", lip.flatten(),
  lip.linf_dist{out = 512, p = 8, bias = false, shift = true}, lip.linf_dist{out = 10, p = 8}, lip.scale{factor = -1} }
lip.train(net, train, { loss = lip.loss.clipped_hinge{margin = 0.6, mix = 0.1}, on_batch = function(info)
  local done = info.step / info.total
  net:power(done < 0.9 and 2 ^ math.floor(3 + 7 * done / 0.9 + 0.5) or math.huge)
end })
The distances of the last layer, turned round, are the outputs. p is part of the weights: net:power reads and sets it, files
keep it. For finite p the constant from norm inf is inputs^(1/p), for p infinite exactly 1. The running mean that `shift`
subtracts follows p within some 1 / momentum batches, hence the last part of the training at p infinite.]],
  ["lip.loss.clipped_hinge"] = [[
Where the hinge is clipped its slope is 0: with clip = 1, its default, every row that is answered wrongly. With mix = 0 a net
that starts with most answers wrong learns little: give mix, which may fade (lip.train{anneal = {mix = ...}}), or a larger clip.]],
  ["lip.loss.custom"] = [[
local focal = lip.loss.custom(function(z, y) -- outputs (B, C), labels from 0
  local log_p = z:gather(y) - z:logsumexp(2)
  return ((1 - log_p:exp()) ^ 2 * -log_p):mean()
end)
lip.train(net, data, { loss = focal })
f(z, y, x, net): z is differentiated as in lip.grad; the labels (B) or values, the inputs and the net are as they are.
It returns the mean over the rows (net:evaluate weighs batches by their rows). net:bound() may be asked in it, but net must
not run (forward, step, certify): what a loss needs of other inputs goes into the batch, or is found before the step.]],
  ["lip.loss.explicit"] = [[
local mse = lip.loss.explicit(function(z, y, x, net, gradient)
  local d = z - y
  if not gradient then return d:square():mean() end
  return d:square():mean(), d * (2 / d:size())
end)
As lip.loss.custom, with a gradient in z made by hand; gradient is false where the value is enough (net:evaluate). A plain
function as option loss of lip.train is such a loss too, of z, y and x.]],
  ["lip.projection"] = [[
local frobenius = lip.projection(function(w, budget) -- at most `budget` in the norm 2
  local size = w:norm(2)
  return size > budget and w:mul(budget / size) or w
end)
local net = lip.net{ input = 784, norm = 2, budget = 1, projection = frobenius,
  lip.dense{out = 64}, lip.maxmin(), lip.dense{out = 10} }
An option of nets (every weight that is trained itself) and of lip.dense and lip.conv2d (this one). w is a copy of the weight,
(OUT, IN), of a convolution (OUT, IN / groups, kh, kw); budget is the layer's share of the net's, math.huge if there is none.
f returns a tensor of the same shape. It runs after every project_every-th update (net:step, lip.train, opt:step(net, true)), in
net:project{exact = false}, and in net:project(), which brings what f gave exactly inside the budget. Between these its result
stands as it is: not brought back inside, and net:bound() says how far it is above. lip.train ends with net:project().
When f raises or gives NaN the update is taken back too. Files do not hold f, and lip.load says so.]],
  ["lip.onnx"] = [[
Example: local net, notes = assert(lip.onnx("theirs.onnx", {norm = "inf"})); print(net:bound().upper, table.concat(notes, "\n"))
Certified is the net that is returned, as lipwb executes it, and any program that does the same float32 operations in another
order: onnxruntime is at most 2 * net:deviation(size of the input) away, but for its tanh, sigmoid and softplus. A step is folded
into another only where nothing is rounded; what is not read is named with its node. (x - mean) / std needs round = true
where 1 / std is no float32: the net then multiplies by the nearest one.]],
  ["lip.verify"] = [[
Of one question, by branch and bound: local p = lip.property{ input = {low = lip.zeros(2), high = lip.ones(2)}, output = {C = {{1, -1}}, d = {0.5}} }
input: a box, a ball {x =, eps =, p =, scale =, box =}, or a list of these. output: what must hold everywhere in it, rows
C z + d > 0 (any = true: one of them), {between = {low, high}}, or {label = y}, {label = y, top = k}, {label = y, target = t}.
  print(lip.verify(net, p).verdict)
"verified" is proved for the net as executed in float32 and for exact arithmetic; "violated" comes with the point x.]],
  ["lip.property.vnnlib"] = [[
Example: local query = assert(lip.property.vnnlib "prop.vnnlib.gz"); print(query, #query:cases())
Whether a net can be unsafe ("verified": it cannot, neither in float32 nor in exact arithmetic):
  local answer = lip.verify(net, query, {seconds = 60}); print(answer.verdict, answer.x)
A counterexample is inside of the decimals of the query, exactly: query:holds(answer.x, answer.outputs) says "unsafe". box(i) is
rounded outwards, so a point on its edge may be outside.]],
  ["lip.tensors"] = [[
Example: local arrays, info = assert(lip.tensors "resnet.safetensors"); print(arrays["fc.weight"])
Reads files of other programs: safetensors (F64, F32, F16, BF16, I8 to I64, U8 to U64, BOOL) and NumPy's NPZ, packed or not, of
up to four dimensions. Numbers that are no float32 become the nearest one; info.rounded lists the arrays where that
happened, info.order all names as they stand in the file, info.types[name] what the numbers were. The file is told by its
contents, not by its name. Files of torch.save are programs, and refused: write safetensors.torch.save_file(model.state_dict(),
"net.safetensors") in Python. Of something that is wrong: nil, message, code.]],
  ["lip.weights"] = [[
With weight = "aol" and the like the weight is K g(V): V is what is trained, K the layer's budget, g has norm 1 at most but
for rounding. It is computed anew after every update, and everything else (bounds, certificates, files) is about the float32
numbers that came out. net:project() takes off what rounding has left above the budget; training goes on from V.
A step of a dense net 784-256-256-10 in norm 2, batch 256, takes so many times that with projected weights: frobenius and
nonnegative 1.03, aol 1.6, bjorck and bro 2.3, cayley 2.5, exponential 8.7. Wider layers cost more, but with bro.]],
  ["net:load_weights"] = [[
Example: local net = lip.net{ input = 784, norm = 2, budget = math.huge, lip.dense{out = 64}, lip.relu(), lip.dense{out = 10} }
local report = assert(net:load_weights "mlp.safetensors"); print(report.bound, net:certify(test).certified)
Fills a net that has been described with the arrays of a safetensors or NPZ file, as lip.tensors reads them. Without map: by
the net's own names ("1.dense.weight") if the file has all of them, else modules in order, the k-th of the file into the k-th
layer with parameters; numbers in names count as such (2.weight is before 10.weight), and where names have no numbers and
shapes would fit either way it is refused. map = {["fc1.weight"] = "1.dense.weight"}, {fc1 = "1.dense"} (a module and its
layer) or a function(name) says where arrays go; false: the array may be left out.
Shapes agree exactly: Linear (out, in), Conv2d (out, in / groups, kh, kw), Conv1d (out, in / groups, k); BatchNorm's weight,
bias, running_mean and running_var; num_batches_tracked is ignored. With strict (the default) nothing is written unless every
parameter has its array and none is left: else nil, message, code, report. strict = false takes what fits. NaN and infinite
numbers are refused, and so are parametrised weights: their values in effect must be exported first. report: used, differ
({array =, param =, ...}), missing, left, ignored, rounded (names), bound (the product of the norms) beside budget, and within:
loaded weights stay as they are; net:project() brings them below the budget.]],
  ["net:weights"] = [[
Of a layer whose weight is computed this is the weight in effect, and what is written to it stands until what it is computed
from changes: "free" in net:parameters(). What is written there counts as soon as the net is used again.]],
  ["net:project"] = [[
What lip.projection(f) asks for comes first, then the engine's exact projection. Both or neither: f may fail.
true, and a text if the net is above its budget all the same: then net:bound() is what holds, and not the budget. It names the
layers to blame, one with trainable = false, which is left alone, or one that takes no budget, as linf_dist does, and has more
than the others make up for. exact = false looks at the former only. nil, message, code where a weight is not finite.]],
}
