--- The options of functions that take a table (those of layers, losses, optimisers, schedules and nets stand in the
-- engine): what help() and the reference print, and the check that nobody misspelt one. Lines read
-- "name = default -- text"; a line that ends with ":" begins another group, and "-> ..." tells what comes back.
local nearest = require "lip.nearest"

local options = {}

local texts = {
  ["lip.train"] = [[
epochs = 10 -- passes over the data
batch = 128 -- samples per update
loss = lip.loss.cross_entropy() -- or lip.loss.custom(f), f written forwards only; or a function(z, y, x) that returns the value and its gradient in z
opt = lip.optim.adam() -- the optimiser
schedule = none -- factor of its rate: lip.schedule.cosine(), ..., or a function(step, total, per_epoch), step from 0
anneal = none -- {mix = schedule, ...}: options of the loss that move, each by a factor as that of the rate
seed = 1 -- of the order of samples and of augmentation
shuffle = true -- a new order every epoch
drop_last = false -- leave out the last, smaller batch of an epoch
shift = 0 -- images are moved by up to so many pixels, at random
augment = none -- function(x, y, rng) returns the batch to train on (x, y may be changed in place)
validation = none -- data set evaluated after every epoch
on_batch = none -- function(info) after every update; false stops
on_epoch = none -- function(info) after every epoch; false stops
checkpoint = none -- file, written after every epoch, at the end, and when cancelled
checkpoint_every = 0 -- also after every so many updates; 0: never
resume = false -- go on from the checkpoint if the file exists
verbose = false -- print one line per epoch, and at the end if the net is above its budget all the same
-> { epochs=, steps=, seconds=, loss=, history={info, ...}, stopped=, resumed= }, or nil, message, code]],
  ["lip.lbdn"] = [[
input = required -- shape of one sample, as of lip.net
widths = required -- outputs of the hidden layers: {64, 64}
outputs = required -- outputs of the net
gamma = 1 -- the Lipschitz constant it may have in the norm 2
activation = relu -- between the layers: one of those of lip.sandwich
seed = 1 -- of initial weights
-> a net: scale, flatten for images, sandwich layers]],
  ["lip.layer"] = [[
name = required -- of the kind, also in files: swish{beta = 2}, and swish itself, stand in lip.net{...} as other layers do
forward = required -- function(x, w, o, c) returns y, a tensor (rows, shape...); called once for a whole batch
backward = by lip.grad -- function(x, y, dy, w, o, c) returns dx, and a table with the gradients of trained parameters
output = same shape -- function(shape, o) returns the shape of one output: {features} or {channels, height, width}
options = {} -- {beta = 1, exact = true, mode = {"fast", "slow"}}: numbers, booleans, and words to choose from, the first one the default
parameters = {} -- {gain = {8, 4, init = 0, decay = true, trained = true}}, or {gain = function(shape, o)} that returns such a table; init: a number or function(sizes, rng, o); decay: true from two sizes on
lipschitz = none -- a constant: a number, or function(norm, w, o) for norm 1, 2 and math.huge. It is taken at its word, and bounds say so (assumed; net:bound{lower = true} looks for points that refute it); without it, or where it is no number >= 0, the net's bound is infinite
deviation = none -- float32 rounding, taken at its word too: a number r (rounding <= r times the norm of the input), or function(norm, size, off, w, o) that tells how far executed and exact output are apart, where exact inputs have norm <= size and executed ones miss them by <= off. Without it certified radii are 0, but with arithmetic = "real"
help = none -- one line about it
-> a definition; its functions get copies: x, y, dy of the batch (rows, shape...), w = {name = parameter}, o = the options, and c, a table of the pass: c.training, c.gradient (backward may follow), c.seed (for lip.rng, another one in each step and layer), and what forward puts into it for backward. local swish = lip.layer{ name = "swish", options = {beta = 1}, lipschitz = 1.1, forward = function(x, _, o) return x / (1 + (-o.beta * x):exp()) end }. What a function raises ends the pass and leaves the net as it was. Files name the definition: lip.load needs it to be run or required before]],
  ["lip.sweep"] = [[
script = none -- file that every trial runs, its settings set to these values; it returns a row
run = none -- in place of a script: function(config, trial) returns a row
grid = none -- {name = {values}, ...}: every combination, names in alphabetical order, the last fastest
list = none -- {{name = value, ...}, ...}: these configurations
random = none -- {name = lip.uniform(a, b), ...}: n drawn at random
sobol = none -- the same, n points that fill the space evenly
tpe = none -- the same, one after the other: startup + ahead fixed points, then what the results so far promise
n = none -- trials of random, sobol and tpe
seed = 1 -- of random, sobol and tpe themselves
ahead = 4 -- tpe: so many trials may be under way when the next is chosen
startup = n / 4 -- tpe: results (from 3 to 10) without which none is chosen; the first startup + ahead points are fixed
maximise = none -- name of a figure in the row (and reported by trials, for a scheduler)
minimise = none -- the same, the smaller the better
scheduler = none -- ends trials that fall behind: lip.asha{...}, lip.median{...}; who they are depends on the order
name = the file's -- under which the sweep is stored
set = {} -- settings that all trials of a script share
retries = 0 -- trials that crash run again, so many times
figure = none -- function(trials) returns the figure that lipwb sweep --plot FILE draws]],
  ["lip.curve"] = [[
max = largest radius -- end of the curve
n = 200 -- steps up to there
-> { x = radii, y = per cent certified }, a series for lip.plot]],
  ["lip.plot"] = [[
file = - -- .png, .svg or .pdf; "-" draws in the terminal
title = none -- above all panels
width = 900 -- in pixels; 1200 with several columns
height = 420 -- in pixels; the default is for each row of panels
columns = 1 -- panels side by side
background = white -- "none" is transparent
inline = false -- return the text of an SVG for a page, with colours that the page sets
panels = {this} -- a figure without panels is its own only panel
a panel:
series = required -- {{x=, y=}, ...}
levels = {} -- horizontal lines: {{y=, title=, colour=}, ...}
verticals = {} -- vertical lines: {{x=, title=, colour=}, ...}
notes = {} -- texts: {{x=, y=, text=, colour=}, ...}
images = none -- instead of series: rows of images, each pixels or {pixels=, title=}
title = none -- above the panel
xlabel = none -- below it
ylabel = none -- at its side
logx = false -- logarithmic scale
logy = false -- logarithmic scale
xrange = automatic -- {low, high}; an end left out is automatic
yrange = automatic -- {low, high}
xtics = automatic -- {{position, text}, ...}
key = top left -- where the titles of the series stand; false: nowhere
a series:
y = required -- table or tensor of numbers; not needed with low and high
x = 1, 2, ... -- as many
low = none -- with high: a band around lines, bars at points
high = none -- as many
title = none -- in the key
style = lines -- lines, points, linespoints, steps, boxes, impulses, dots, rings
colour = next one -- "#rrggbb"
dash = 1 -- 1 to 5: solid, dashed, ...
labels = none -- texts at the points
a level:
y = required -- where
title = none -- in the key
colour = #777777 -- "#rrggbb"
a vertical line:
x = required -- where
title = none -- in the key
colour = #777777 -- "#rrggbb"
a note:
x = required -- where it begins
y = required -- where it begins
text = required -- what it says
colour = #333333 -- "#rrggbb"
an image:
pixels = required -- tensor or rows of numbers, (H, W), (1, H, W) or (3, H, W)
title = none -- above it
low = 0 -- what is black
high = 1 -- what is white
signed = false -- 0 is white, below blue, above red, at `high` (the largest magnitude) in full]],
  ["lip.figures.budget"] = [[
x = budget -- name of the value across
y = clean, attacked, certified -- a name or a list: what is drawn, as far as the rows have it
by = norm -- one panel for each value of it; false: one panel
over = seed -- what the mean and the band are over: all runs with the same x and by
panels = by -- "y": one panel for each quantity, one line for each value of by
logx = true -- logarithmic scale
title = accuracy against x -- above all panels
-> a figure for lip.plot]],
  ["lip.figures.pareto"] = [[
minimise = {} -- names of x and y that are better when smaller
by = none -- a colour for each value of it
label = none -- what is written at the points of the front
labels = true -- write it (up to 12 points)
logx = false -- logarithmic scale
logy = false -- logarithmic scale
title = x and y -- above the figure
-> a figure for lip.plot]],
  ["lip.figures.radius"] = [[
title = certified accuracy -- above the figure
xlabel = radius -- below it
-> a figure for lip.plot; raises an error when an attack leaves less than is certified]],
  ["lip.figures.certified"] = [[
max = largest radius -- end of the curve
attack = 0 -- so many of the first rows are also attacked
box = {0, 1} -- of the attack
title = none -- before "certified accuracy"
xlabel = radius in the report's norm -- below it
-> a figure for lip.plot]],
  ["lip.figures.losses"] = [[
names = {loss} -- one panel for each; "validation.loss", "accuracy", ...
title = none -- above all panels
-> a figure for lip.plot]],
  ["lip.figures.bounds"] = [[
title = norms of the layers -- above the figure
xlabel = epoch -- what step counts
-> a figure for lip.plot]],
  ["lip.figures.weights"] = [[
bins = 60 -- of a histogram
title = weights -- above all panels
-> a figure for lip.plot]],
  ["lip.figures.singular"] = [[
bins = 40 -- of a histogram
title = singular values -- above all panels
-> a figure for lip.plot]],
  ["lip.figures.images"] = [[
labels = none -- of the originals: table or tensor, as a data set's
found = none -- what the net answers for the adversarial points
limit = 8 -- the first so many
low = 0 -- what is black
high = 1 -- what is white
title = none -- above the figure
-> a figure for lip.plot]],
  ["lip.figures.fit"] = [[
points = 401 -- of the curve of the net
truth = none -- function(x) drawn beside it
title = fit -- above all panels
-> a figure for lip.plot]],
  ["lip.args"] = [[
a setting is its default, or {default, "some words of help", rules}:
min = none -- smallest number accepted
max = none -- largest
whole = false -- whole numbers only
choices = none -- list of the values accepted
-> the values by name; {"a", "b"} is a list of words: help for a text has a space in it]],
  ["lip.db.open"] = [[
readonly = false -- never write; the file must be there
timeout = 10 -- seconds to wait for other writers]],
  ["lip.data.mnist"] = [[
folder = none -- look only there
quiet = false -- do not print where it was found
-> train, test, or nil, message, code]],
  ["lip.data.fashion_mnist"] = [[
folder = none -- look only there
quiet = false -- do not print where it was found
-> train, test, or nil, message, code]],
  ["lip.data.main_dataset"] = [[
set = any -- "mnist", "fashion-mnist" or "digits", and no other; "any" takes the next best
limit = 0 -- the first so many samples of both parts only; 0: all
quiet = false -- do not print where it was found
-> train, test, name]],
  ["lip.data.digits"] = [[
n = 10000 -- how many
seed = 1 -- which]],
  ["lip.data.idx"] = [[
channels = guessed -- of an array of four sides: "first" (N, C, H, W) or "last" (N, H, W, C)
-> a data set, or nil, message, code; bytes are pixels and become x/255. Without `channels` an array whose last side is
-> 1, 3 or 4, with larger ones before it, has its channels last (a warning says so), any other first]],
  ["lip.data.npy"] = [[
channels = guessed -- of an array of four sides, as in lip.data.idx; (N, H, W) are images of one channel
-> a data set, or nil, message, code; bytes (uint8) of x are pixels and become x/255, other types and all of y are taken
-> as they are; lip.load_npy, which reads an array and not samples, scales nothing; labels -1 and 1 alone become 0 and 1, and it is said]],
  ["lip.data.tensors"] = [[
channels = guessed -- of a tensor of four sides, as in lip.data.idx
-> a data set that shares the tensors (images whose channels stand last are copied); labels (n) that are -1 and 1 alone become 0 and 1, without a note; y of shape (n, T), T = 1 too, are values]],
  ["lip.data.csv"] = [[
label = none -- column of whole numbers 0, 1, 2, ...: its name, or its number from 1
target = none -- column of values, or a list of columns
header = guessed -- whether the first line holds names; a first line 0,1,2,... is a sample, with a warning
separator = , -- one character
fill = none -- stands for missing values; without it they are errors
name = the path -- of the data set
-> a data set of all other columns, or nil, message, code; labels -1 and 1 alone become 0 and 1, and it is said]],
  ["lip.asha"] = [[
max = required -- where a trial ends anyway
min = 1 -- the first look
eta = 3 -- one of so many goes on; looks stand at min, min * eta, min * eta^2, ... below max
resource = epoch -- what is counted
kind = asha -- stands in a stored description
-> a scheduler; it compares what trials report of the figure that the sweep maximises or minimises: lip.train reports
-> clean, accuracy and certified@EPS where it looks, on the validation set or else the first 1000 training samples.
-> About one in eta goes past each look, the first always, and a stop is final. Which trials are stopped depends on the
-> order they come in (the same with -j 1 from an empty store), the row of a trial that runs to its end does not.]],
  ["lip.median"] = [[
min = 1 -- the first look
every = 1 -- steps between two looks
trials = 5 -- nobody ends before so many others came as far
max = none -- no look from here on
resource = epoch -- what is counted
kind = median -- stands in a stored description
-> a scheduler; it compares the figures that lip.asha compares, with the median of the others so far. About half of the
-> trials go on, and a stop is final. Which are stopped depends on the order they come in (the same with -j 1 from an
-> empty store), the row of a trial that runs to its end does not.]],
  ["net:backward"] = [[
accumulate = false -- add to the gradients instead of replacing them
input_gradient = false -- return the gradient in x]],
  ["net:project"] = [[
exact = true -- false: as inside of a step, in norm 2 approximate
script = true -- false: without what lip.projection(f) asks for, the engine's projection alone]],
  ["net:evaluate"] = [[
batch = 500 -- rows at a time
loss = none -- a loss whose mean is wanted; without it the data must have labels
limit = all -- the first so many rows only
-> { n=, accuracy=, loss= }; accuracy: of data with labels; one output answers by its sign: above 0 is label 1]],
  ["net:bound"] = [[
p = the net's path -- along another norm or path of norms
lower = false -- also search a value that is attained (about a second); with pairs for each of them
data = none -- tensor or data set to search from; without it uniform in [0, 1)
points = 256 -- how many points to search from
method = product -- one of lip.bound_methods(), "best": the smallest of all, or "local": of the ball around x
x = none -- local: middle of the ball, one input
eps = none -- local: radius of the ball, or a tensor of one input: a radius for each, a scale of size 1
scale = none -- local: a tensor of one input, s >= 0, of the ball ||(x' - x) / s||_p <= eps; 0 keeps an input where it is; the constant itself is in the plain norm
box = none -- local: {from, to}, numbers or tensors of one input: only inputs between them count, ball and box together
global = best -- local: what runs with the slopes of the ball, one of lip.bound_methods() or "best"
pairs = false -- also the constants of the differences of two outputs: true, or a list {{i, j}, ...} of outputs from 1 on; those not asked for are infinite in the table
outputs = all -- a list of outputs from 1 on: only the pairs with one of them (with ten outputs {3} takes a fifth of the time of all)
seconds = 8 from norm inf, else 30 -- what the method may take; math.huge: until it has settled
progress = a line on a terminal -- function({method=, done=, total=, seconds=}) twice a second at most; false: nothing
-> { upper=, lower=, tightness=, slack=, method=, seconds=, pq=, pairs=, lower_pairs=, unknown=, assumed=, reason=, tried=, layers={{kind=, step=, upper=, budget=}, ...} }; tightness: lower / upper, slack: upper / budget; assumed: the layers written in Lua whose constants it takes at their word; lower then rests on the deviation that they state, and is 0 where one states none; lower above upper refutes them: upper is infinite and reason names them with both numbers; reason: what the method could not do and why, nil when it could; tried: of "best", {{method=, upper=, seconds=, reason=}, ...}]],
  ["net:forward"] = [[
training = false -- true or false: dropout is active, and backward may follow; plain true says the same
arithmetic = float32 -- "double": sums and activations in double, rounded to float32 at the end
-> the outputs, (B, classes)]],
  ["net:predict"] = [[
arithmetic = float32 -- "double": the classes that net:certify(data, {arithmetic="double"}) certifies
-> a table of classes, 0 first; -1 where an output is NaN; of one output 1 where it is above 0, else 0]],
  ["net:certify"] = [[
eps = none -- a radius or a list of radii, in the norm of the net's input: where certified accuracy is counted; local also: a tensor of one input, the scale of balls of size 1, counted as certified[1]
scale = none -- local: a tensor of one input, s >= 0: sizes and radii are of balls ||(x' - x) / s||_p <= eps; 0 keeps an input where it is
limit = all -- the first so many rows only
batch = 512 -- rows at a time
method = product -- of the constants of pairs: one of lip.bound_methods(), "best", or "local": also linear relaxation around points, and a contradiction where that nearly proves it
box = none -- local: {from, to}, numbers or tensors of one input: only inputs between them count, ball and box together
halvings = 0 -- local: so many more sizes between the largest proved and the smallest refused
global = recursion (norm 2: layers of at most 1024; inf: of 128, 512 in nets that sort), else product -- local: method of the constants that come first
seconds = 8 from norm inf, else 30 -- what the method may take; math.huge: until it has settled
progress = a line on a terminal -- function({method=, done=, total=, seconds=}) twice a second at most; false: nothing
p = the net's path -- radii in another norm, or along another path of norms
arithmetic = float32 -- what the radii hold for: "float32" as executed, "double" as net:predict(x, {arithmetic="double"}), "real" no rounding
spec = none -- local: what is to hold of the outputs z in place of the label: {C = (m, outputs), d = (m)}: every C z + d > 0 (any = true: one of them, need = k: k of them); {between = {low, high}}: each output strictly between; {target = j}: z_y - z_j > 0 alone (of rows labelled j all margins); {top = k}: the label y is among the k largest; a list of the first two: all of it (unsafe where a1 z <= b1 and a2 z <= b2, or elsewhere: a list with {C = {a1, a2}, d = {-b1, -b2}, any = true} for each). C z + d is exact arithmetic of the outputs as executed
proved = false -- local, one eps: also lower bounds of z_y - z_j all over the ball, (n, C), or of the rows of spec; -inf where nothing is known (by relaxation: a row that only a contradiction proves has a bound below 0)
table = false -- also the margins to every class in the float32 pass, (n, C)
tight = false -- all rows once more in double, not only those where rounding takes 1/8 of the radius
-> { n=, clean=, certified={[eps]=}, reached=, radii=, margins=, table=, proved=, holds=, labels=, pairs=, method=, region=, p=, arithmetic=, assumed=, reason=, tried= }; assumed: as of net:bound; region: of local, what the sizes are of, such as "l_2 balls cut with the box {0, 1}"; reason, tried: as of net:bound; clean, certified: shares of the n rows; certified[eps] of a radius that was not asked for is an error; radii: float32, rounded down: compare with reached, not with eps; reached: how many of eps each row's radius reaches, whatever its label; with spec clean is the share of rows that it holds for, holds (n) says which (1, 0; -1: nobody can say), margins how far it is from being broken, and y is the label of the data, without data of labels that of the net. One output f answers by its sign (label 1 is f > 0, else 0; labels -1 and 1 are read as 0 and 1): radii are |f| / L, f = 0 a tie, C is 2]],
  ["net:ranges"] = [[
p = the net's path -- norm of the ball, its first one
box = none -- {from, to}, numbers or tensors of one input: only inputs between them count, ball and box together
scale = none -- a tensor of one input, s >= 0: of the ball ||(x' - x) / s||_p <= eps; 0 keeps an input where it is
arithmetic = float32 -- what the intervals are about: "float32" as executed, in any order of summation, or "real": no rounding
relaxed = true -- by linear relaxation; false: by interval arithmetic, wider and faster
-> { low=, high=, units={{layer=, kind=, low=, high=}, ...}, p=, eps=, arithmetic=, reason= }; low, high: float32 tensors, rounded outwards, of the outputs; units: the same of the values that each activation takes, layer and kind being the layer's place in the net (from 1) and its kind, several entries where a layer works in steps or holds others, none where scale, standardise, centre or batch_norm went into the matrix behind it; infinite, with a reason, where nothing is known]],
  ["net:jacobian"] = [[
p = the net's path -- norm of the ball, its first one
box = none -- {from, to}, numbers or tensors of one input: only inputs between them count, ball and box together
scale = none -- a tensor of one input, s >= 0: of the ball ||(x' - x) / s||_p <= eps; 0 keeps an input where it is
-> { low=, high=, p=, eps=, reason= }; low, high: (outputs, inputs), rounded outwards: every partial derivative at every point of the ball lies between them (at a kink all of Clarke's), and every quotient of two points that differ in one coordinate; of the exact function of the stored weights. An entry with low > 0 rises everywhere]],
  ["net:certificate"] = [[
method = product -- of the constants of pairs: product, abs, recursion, multiplier or best; or local: balls around each row beside the constants
p = the net's path -- radii in another norm, or along another path of norms
eps = none -- a radius or a list of radii where certified rows are counted; with local the sizes of balls that are tried, the largest confirmed one being a row's radius
box = none -- with local: {from, to}, inputs outside do not count
global = recursion -- with local: the method of the constants
limit = all -- the first so many rows only
seconds = 5 from norm inf, else 30 -- what the method may take; math.huge: until it has settled
progress = a line on a terminal -- function({method=, done=, total=, seconds=}) twice a second at most; false: nothing
arithmetic = float32 -- "real": radii of exact arithmetic, without the rounding of float32
-> true (and what the method could not do, the product's numbers standing there instead), or nil, message, code; lipwb check verifies the file. Layers that no file can speak of, householder, linf_dist, sort_neuron, l2_pool2d and anchor, raise an error. Nets of one output are written as the two logits 0 and f]],
  ["lip.verify"] = [[
eps = required -- size of the balls; a tensor of one input: scale of balls of size 1
scale = none -- a tensor of one input, s >= 0: balls ||(x' - x) / s||_p <= eps; 0 keeps an input where it is
p = the net's path -- norm of the balls
box = none -- {from, to}, numbers or tensors of one input: only inputs between them count, ball and box together
method = local -- of net:certify: local, or one of lip.bound_methods()
global = recursion (norm 2: layers of at most 1024; inf: of 128, 512 in nets that sort), else product -- with local: the method of the constants that come first
spec = none -- what is to hold of the outputs in place of the label: as of net:certify
attack = apgd -- one of lip.attacks(), or false: points that are not proved stay unproven
steps = the attack's -- gradients per run
restarts = 1 -- runs per class
limit = all -- the first so many rows only
seconds = none -- for each ball that neither proof nor attack settles: branch and bound, so long at most
nodes = none -- the same, so many nodes at most
seed = 1 -- of the attack
-> { n=, verified=, violated=, unproven=, clean=, verdicts={...}, labels=, rows={...}, adversarial=, p=, eps=, region=, assumed=, reason= }; assumed, region: as of net:certify; verified, violated, unproven: shares, of 1 together; an input answered wrongly is violated; adversarial: a point for each of rows, those violated though the input itself is answered correctly]],
  ["net:decide"] = [[
seconds = no limit -- then the answer is unknown
split = best -- what is split: "input", "unit", or the first where there are at most 20 inputs
nodes = no limit -- of the tree; the answer is the same on every run and for any number of threads
attack = true -- look for a counterexample first
seed = 1 -- of the attack
progress = a line on a terminal -- function({method=, done=, seconds=}) twice a second at most, method a sentence, done the nodes so far; false: nothing
-> { verdict = "verified", "violated" or "unknown", x=, outputs=, label=, case=, reason=, least=, nodes=, leaves=, deepest=, seconds= }; verified: of the net as executed in float32, in any order of summation, and of exact arithmetic; violated: x, a float32 input in the region, breaks the property as executed and by exact arithmetic; outputs, label: what it is given; case: which part of the input; reason, least: why it is unknown, and the lowest bound that is left]],
  ["lip.attack"] = [[
eps = required -- how far points may be from their input; a tensor of one input: scale of a ball of size 1
scale = none -- a tensor of one input, s >= 0: distances and steps are ||(x' - x) / s||_p; 0 keeps an input where it is
method = apgd -- one of lip.attacks()
p = the net's first norm -- in which eps is measured: 1, 2 or math.huge
steps = the method's -- gradients per run: 1, 10, 40, 100 of fgsm, bim, pgd, apgd
restarts = 1 -- runs per class; more start at random points
step = the method's -- length of the first step
targets = 9 -- so many of the strongest other classes, one run each; "all", or "untargeted": one run in all
box = none -- {low, high}, numbers or tensors of one input: points stay within, as pixels do in {0, 1}
spec = none -- what is to be broken in place of the label: as of net:certify; targets then counts its rows
limit = all -- the first so many rows only
batch = 256 -- rows at a time
seed = 1 -- of the random starts
-> { n=, clean=, success=, robust=, adversarial=, distance=, broken=, labels=, found=, margins=, method=, p=, eps= }]],
  ["lip.tensorboard"] = [[
dir = required -- folder of the event files, made with the first event
-> a writer: scalar(tag, number, step), histogram(tag, tensor, step, bins), image(tag, tensor, step), hparams(config, row), close(); each true, or nil, message, code]],
  ["lip.load"] = [[
resume = false -- weights as training left them, to go on from; else those that lip.train stored are projected exactly
-> net, optimiser or nil, progress or nil; or nil, message, code]],
  ["lip.onnx"] = [[
input = as the file says -- the shape of one sample, without the batch: {1, 28, 28}
norm = 2 -- the norm path of the net, as lip.net takes it
round = false -- numbers that are no float32 (doubles, W times alpha) are rounded to nearest, not refused
drop_softmax = false -- a Softmax or LogSoftmax at the end is left out: the same label, other outputs
-> net (budget infinite, weights as stored), { sentences..., opset=, producer=, rounded=, shape=, order= }; or nil, message, code. shape: of the input as the file has it, -1 where left open; order: number i of the net's input is number order[i] of the file's (images with channels last), nil: the same]],
  ["net:save"] = [[
optimizer = none -- the optimiser, with its memory
progress = none -- where the run stands: {step=, epoch=, next=, seed=, text=, training=}; training: for lip.load to project
-> true, or nil, message, code]],
  ["net:load_weights"] = [[
map = none -- where arrays go: {["fc1.weight"] = "1.dense.weight"}, {fc1 = "1.dense"} or a function(name); false: nowhere. Without it by the net's own names, or modules in order
strict = true -- every parameter and every array has its place, or nothing is written; false takes what fits
-> a report {used, missing, left, differ, ignored, rounded, bound, budget, within}, or nil, message, code and the report]],
  ["net:export"] = [[
onnx = none -- the name of an ONNX file (opset 17): input "input" (N, shape of a sample), output "output"; arrays are called as in net:save's files, computed weights are the effective ones; metadata lipwb.budget, norm, bound (the product, rounded up), kinds
torch = none -- the name of a .py file: Python and PyTorch source, whose load() returns the module; its arrays, weights in effect, stand beside it in a .safetensors of the same name
npz = none -- the name of a NumPy archive of the parameters, called as in net:save's files, computed weights as they are in effect beside what they come from
c = none -- a folder for C99 source, NAME.h, NAME.c and NAME_test.c; it is made if it is not there
name = none -- with c: a C identifier that starts those of the source
weights = const -- with c: "progmem" puts them into the program memory of AVR processors
inputs = made up -- with c: a tensor of inputs (rows, shape...) for the self-test
certificate = none -- a file of net:certificate, whose SHA-256 is noted: in ONNX as lipwb.certificate_sha256; with c its constants of pairs are worked out again and make NAME_radius larger
-> true, or nil, message, code. Layers that a format cannot hold are named (code "unsupported"), and not written: householder, linf_dist, sort_neuron and those of lip.layer; in ONNX also l2_pool2d]],
  ["ds:batches"] = [[
size = 128 -- samples in a batch
shuffle = false -- a new order every epoch
seed = 1 -- of the order
drop_last = false -- leave out the last, smaller batch of an epoch
shift = 0 -- images are moved by up to so many pixels, at random]],
}

--- What is known of a function: { {heading=, {name=, default=, help=}, ...}, ..., gives= }, or nil.
---@param name string as help() prints it: "lip.train", "net:certify"
function options.of(name)
  local text = texts[name]
  if not text then return nil end
  local found = { {} }
  for line in text:gmatch "[^\n]+" do
    local option, default, help = line:match "^([%a_]+) = (.-) %-%- (.*)$"
    if option then
      table.insert(found[#found], { name = option, default = default, help = help })
    elseif line:sub(-1) == ":" then
      if #found[1] == 0 then found = {} end
      found[#found + 1] = { heading = line }
    else
      found.gives = (found.gives and found.gives .. "\n  " or "") .. line:match "^%-> (.*)$"
    end
  end
  return found
end

--- Every name that has options, in order.
function options.names()
  local names = {}
  for name in pairs(texts) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Raises on the line that called the function unless `given` is nil or a table of known options; returns the table.
---@param given any
---@param name string as above
---@param group? integer 2 for the second group of options, and so on
function options.check(given, name, group)
  if given == nil then return {} end
  local what = name:gsub("^lip%.(%l+)$", "%1")
  if type(given) ~= "table" then error(("%s expects a table of options, got %s"):format(what, type(given)), 3) end
  local known, list = {}, {}
  for i, row in ipairs(options.of(name)[group or 1]) do known[row.name], list[i] = true, row.name end
  for key in next, given do
    if type(key) == "string" and not known[key] then
      error(("%s: unknown option '%s'%s (known: %s)"):format(what, key, nearest.hint(key, list),
        table.concat(list, ", ")), 3)
    end
  end
  return given
end

return options
