-- How many MNIST digits can a small network recognise with a proof that no change of every pixel by up to eps (l_inf,
-- pixels in [0, 1]) alters its answer?
--
--   lipwb experiments/mnist_linf.lua [--set preset=robust] [--set compare=true] [--set epochs=8] [--set plot=FILE]
--
-- Expected (MNIST, two cores, under a minute): EXPECTED
local lip = require "lip"

local presets = {
  default = { epochs = 40, width = 256, depth = 2, group = 8, eps = 0.04, temperature = 0.25, lr = 3e-3, batch = 256 },
  robust = { epochs = 100, width = 512, depth = 3, group = 8, eps = 0.15, temperature = 1, lr = 3e-3, batch = 256 },
}
local args = lip.args{
  preset = { "default", "what to aim at", choices = { "default", "robust" } },
  compare = { false, "train the three projections one after the other" },
  plot = { "mnist_linf.png", "figure; an empty name draws none" },
  epochs = { 0, "passes over the data, 0: the preset's" }, seed = { 1, "of weights and shuffling" },
}
local p = presets[args.preset]
if args.epochs > 0 then p.epochs = args.epochs end
local budget, radii = 16, { 0.01, 0.03, 0.1 } -- the budget only sets the unit of the logits: radii do not depend on it

local train, test, name = assert(lip.data.main_dataset())

local function run(projection)
  local spec = { input = { 1, 28, 28 }, norm = "inf", budget = budget, init = "on_ball", projection = projection,
    seed = args.seed, lip.flatten() }
  for _ = 1, p.depth do
    spec[#spec + 1] = lip.dense{ out = p.width }
    spec[#spec + 1] = lip.groupsort{ size = p.group }
  end
  spec[#spec + 1] = lip.dense{ out = 10 }
  local net, start, losses = lip.net(spec), lip.time(), {}
  -- a right answer must win by the margin that certifies it at eps: twice eps times the constant of the logits
  local loss = lip.loss.cross_entropy{ temperature = p.temperature, offset = 2 * p.eps * budget }
  assert(lip.train(net, train, { epochs = p.epochs, batch = p.batch, seed = args.seed, loss = loss, verbose = true,
    opt = lip.optim.adam{ lr = p.lr }, schedule = lip.schedule.cosine(),
    on_epoch = function(info) losses[#losses + 1] = info.loss end }))
  net:project()
  local seconds = lip.time() - start
  local bound, report = net:bound{ lower = true, data = test }, net:certify(test, { eps = radii })
  print(net)
  print(("%s, %s projection: clean %.2f %%, certified %.2f / %.2f / %.2f %% at %g / %g / %g"):format(name, projection,
    100 * report.clean, 100 * report.certified[0.01], 100 * report.certified[0.03], 100 * report.certified[0.1],
    table.unpack(radii)))
  print(("Lipschitz constant in [%.6g, %.6g] (%s), trained in %.1f s"):format(bound.lower, bound.upper, bound.method,
    seconds))
  local curve = lip.curve(report, test, { max = 0.15 })
  return { x = curve.x, y = curve.y, title = projection }, { y = losses, title = projection, style = "linespoints" }
end

local curves, losses = {}, {}
for i, projection in ipairs(args.compare and { "euclidean", "rowwise", "radial" } or { "euclidean" }) do
  curves[i], losses[i] = run(projection)
end
if args.plot ~= "" then
  local drawn, message = lip.plot{ file = args.plot, panels = {
    { title = name .. ": certified accuracy", xlabel = "l_inf radius (pixels in [0, 1])", ylabel = "%",
      yrange = { 0, 100 }, key = "bottom left", series = curves },
    { title = "training loss", xlabel = "epoch", logy = true, key = "top right", series = losses } } }
  print(drawn and "figure: " .. args.plot or message)
end
