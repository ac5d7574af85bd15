--- One line for every public function, read by help(). A section is { title, prefix, where, lines }: `where` tells in
-- which table its names are ("lip" the module itself, "lip.NAME" a Lua module, "type:NAME" the methods of a type), and
-- each line reads "name(arguments) -- what it does". A method name_ that works in place needs no line of its own.
return {
  { "Tensors", "lip.", "lip", [[
tensor(t) -- a tensor from a table of numbers, nested by row; from numbers, a vector; from a tensor, a copy
zeros(d, ...) -- a tensor filled with 0, of up to 4 dimensions
ones(d, ...) -- filled with 1
full({d, ...}, v) -- filled with v
eye(n) -- the identity matrix
arange(a, b, step) -- a, a + step, ... up to and including b; arange(n): 1 to n
linspace(a, b, n) -- n equally spaced numbers from a to b
rand(rng, d, ...) -- uniform in [0, 1); without rng from the session's own generator; rand(seed, {d, ...})
randn(rng, d, ...) -- standard normal
cat({t, u, ...}, dim) -- tensors end to end along a dimension, the first one if not told
one_hot(labels, classes) -- 1 at the place of each label, which count from 0, else 0: one dimension more
rng(seed) -- a generator of random numbers with its own state
load_npy(path) -- a NumPy file as a tensor, its numbers as they stand; nil, message, code on failure
save_npy(path, t) -- writes a NumPy file]] },
  { "Tensor methods", "t:", "type:lip.tensor", [[
shape() -- the dimensions as a table
size() -- the number of elements
dim() -- the number of dimensions
get(i, j, ...) -- one element
set(i, j, ..., v) -- sets one element
slice(dim, first, last, step) -- a view of a range, both ends included, counted from 1
select(dim, i) -- a view with one dimension fewer
transpose(a, b) -- a view with two dimensions exchanged
reshape(d, ...) -- the same elements in another shape
flatten() -- as one dimension
clone() -- a copy that owns its elements
contiguous() -- itself, or a copy without steps
is_contiguous() -- whether elements follow each other
copy(from) -- takes the elements of a tensor or table
fill(v) -- sets every element
totable() -- nested tables of numbers
add(x) -- sum with a number or a tensor; a row (C), a column (B, 1) and every side of 1 are repeated
sub(x) -- difference
mul(x) -- product, element by element
div(x) -- quotient, element by element
axpy(a, x) -- plus a times x
neg() -- minus
matmul(u) -- matrix product
dot(u) -- inner product, a number
sum(dim) -- sum of all, or along a dimension
mean(dim) -- mean of all, or along a dimension
max(dim) -- largest of all, or along a dimension
min(dim) -- smallest of all, or along a dimension
logsumexp(dim) -- log of the sum of exponentials of all, or along a dimension
softmax(dim) -- exp(x - logsumexp) along a dimension, the last one if not told
argmax(dim) -- where the largest stands: positions, from 1 (not classes)
argmin(dim) -- where the smallest stands, from 1
classes() -- of outputs (B, C): the class of each row, from 0 as labels count; -1 where one is NaN
norm(p, dim) -- 1-, 2- (default) or math.huge-norm of all, or along a dimension
abs() -- magnitudes
sign() -- -1, 0 or 1
sqrt() -- square roots
exp() -- exponentials
log() -- natural logarithms
tanh() -- hyperbolic tangents
relu() -- max(x, 0)
pow(x) -- powers, of a number or element by element
square() -- squares
sigmoid() -- 1 / (1 + exp(-x))
softplus() -- log(1 + exp(x))
clamp(lo, hi) -- limited to a range
where(a, b) -- of a mask: a where it is not 0, else b; tensors or numbers
gather(index, dim) -- one entry of each row (or several): labels count from 0, positions of sort from 1
scatter_add_(index, values, dim) -- adds values to the entries that gather would take
detach() -- a copy; in a function that lip.grad differentiates a constant
sort(dim, descending) -- sorted along a dimension, and where each came from, from 1
eq(u) -- 1 where equal, else 0
ne(u) -- 1 where different
lt(u) -- 1 where smaller
le(u) -- 1 where smaller or equal
gt(u) -- 1 where larger
ge(u) -- 1 where larger or equal
equal(u) -- whether shape and all elements are the same
minimum(x) -- the smaller of two, element by element
maximum(x) -- the larger of two, element by element
allclose(u, tol) -- whether no element differs by more than tol
all_finite() -- whether no element is NaN or infinite
uniform_(rng, lo, hi) -- fills with uniform numbers
normal_(rng, mean, dev) -- fills with normal numbers]] },
  { "Random numbers", "rng:", "type:lip.rng", [[
uniform() -- a number in [0, 1)
normal() -- a standard normal number
below(n) -- a whole number from 0 to n - 1
permutation(n) -- 1..n in random order
state() -- where the generator stands, to be stored
clone() -- a generator that goes on by itself from the same place]] },
  { "Networks", "lip.", "lip", [[
net{options, layers...} -- compiles layers into a network; help "net" lists the options
net_options() -- the options of lip.net as data
lbdn(options) -- a net of constant at most gamma for any weights; help "lbdn"
onnx(path, options) -- a net from an ONNX file, and what became of it as a list; nil, message, code
load(path, options) -- a saved network, its optimiser and progress; nil, message, code on failure
inspect(path) -- what a saved file says about itself
tensors(path) -- arrays of a safetensors or NPZ file by their names; help "tensors"
layers() -- the kinds of layers as data
layer{name = ..., forward = ..., ...} -- a kind of layer written in Lua; help "layer" lists what it takes
projection(f) -- f(w, budget) is what a weight becomes in a step; help "projection"
layer_kind(definition) -- what lip.layer calls
weights() -- choices of the option weight as data
restore(net, optim, saved_net, saved_optim) -- takes over the state of a saved run, exactly
losses() -- the losses as data
optims() -- the optimisers as data
schedules() -- the schedules as data
grad(f) -- the function with its gradients: value, dx, dw = lip.grad(f)(x, w); help "grad"
train(net, data, options) -- trains for some epochs; help "train" lists the options
curve(report, data, options) -- certified accuracy against radius, from what net:certify returned]] },
  { "Derivatives", "lip.grad.", "lip.grad", [[
check(f, ...) -- how far its gradients are from central differences, relatively: of functions, losses, layers
vjp(f, ...) -- f(...), and a function from a gradient of that to those of the arguments: for layers]] },
  { "Norms", "lip.", "lip", [[
bound(net, options) -- net:bound(options)
attack(net, data, options) -- searches points that the net answers wrongly; help "attack" lists the options
verify(net, data, options) -- verified, violated or unproven: for balls around points, or a property
attacks() -- the methods of lip.attack as data
bound_methods() -- the methods of net:bound and net:certify as data
check_certificate(path, net, data) -- as lipwb check: a table with accepted=, and reason= when it is refused
opnorm_upper(w, norm) -- a rigorous upper bound of the operator norm of the stored matrix
opnorm_lower(w, norm) -- a value that is attained
opnorm_estimate(w, norm, iterations) -- power iteration: not a bound
singular_values(w) -- a table, the largest first; not a bound either
project_(w, norm, radius, method) -- in place; afterwards opnorm_upper(w, norm) <= radius]] },
  { "Methods of a network", "net:", "type:lip.net", [[
forward(x, options) -- the outputs for a batch; options: true for training, or a table
backward(dlogits, options) -- gradients of the weights, and of the input if asked
update(optim) -- one update from the gradients
project(options) -- weights back onto their budgets
step(x, y, optim, loss) -- forward, loss, backward, update, project: the mean loss
reset(seed) -- weights back to their start
predict(x, options) -- the most likely class of each row, from 0 as labels count; of at least two outputs
evaluate(data, options) -- accuracy (of labels) and loss (if given) on a data set
weights(i) -- a view of the weights of the i-th layer that has some
bias(i) -- a view of its bias
parameters() -- every block of weights with its gradient
weighted() -- how many layers have weights held to a share of the budget, in themselves or inside
bound(options) -- the Lipschitz bound: upper, lower, layer by layer; method=, pairs=, p=
certify(data, options) -- certified accuracy and radii on a data set
certificate(path, data, options) -- what certify finds, as a file that lipwb check verifies
decide(question, options) -- whether a property holds, by branch and bound: lip.verify calls it
ranges(x, eps, options) -- proved intervals of every output and hidden unit, for inputs within eps of x
jacobian(x, eps, options) -- proved intervals of every partial derivative there
save(path, options) -- writes a checkpoint (safetensors)
export(options) -- writes the network for other programs: ONNX, PyTorch, NPZ, C99
load_weights(path, options) -- weights of a PyTorch state_dict or NPZ; help "load_weights"
power(p) -- reads or sets the exponent of the layers that measure distances in norm p
deviation(size) -- how far rounding may move an output, for inputs of norm up to size
info() -- shapes, parameters, norm and budget as a table]] },
  { "Methods of a layer", "spec:", "type:lip.spec", [[
kind() -- its name
options() -- its options as a table
children() -- the layers it contains]] },
  { "Methods of a layer written in Lua", "layer:", "type:lip.layer", [[
kind() -- its name
options() -- its options with their defaults
children() -- an empty table]] },
  { "Losses of your own", "lip.loss.", "lip.loss", [[
custom(f) -- f(z, y, x, net) returns the mean loss, written forwards only: it is differentiated; help "grad"
explicit(f) -- f(z, y, x, net, gradient) returns the mean loss and its gradient in z]] },
  { "Methods of a loss", "loss:", "type:lip.loss", [[
value(z, y) -- the mean loss; of those that take bounds of a net (certified, gloro, emma) with bounds of 0
gradient(z, y) -- the mean loss and its gradient in z
name() -- its name; of a function where it stands
target() -- what y holds: labels or values; nil when only a function knows
option(name, v) -- reads or sets a numeric option
options() -- its options as a table]] },
  { "Methods of an optimiser", "optim:", "type:lip.optim", [[
lr(v) -- reads or sets the rate
step(net) -- one update, as net:update
state() -- its moments and its count of updates
reset() -- forgets its moments
name() -- its name
options() -- its options as a table]] },
  { "Methods of a schedule", "schedule:", "type:lip.schedule", [[
factor(step, total, per_epoch) -- what the rate is multiplied with at an update
name() -- its name
options() -- its options as a table]] },
  { "Data", "lip.data.", "lip.data", [[
mnist(options) -- training and test part of MNIST
fashion_mnist(options) -- training and test part of Fashion-MNIST
main_dataset(options) -- MNIST, or loudly the next best that is there; set=, limit=
digits(options) -- digits drawn by a procedure
idx(images, labels, options) -- a pair of IDX files, plain or gzip; bytes become x/255
csv(path, options) -- a table of numbers in a text file
npy(x, y, options) -- a pair of NumPy files; bytes of x become x/255
tensors(x, y, options) -- tensors as a data set; y: labels (n) from 0, or -1 and 1; or values (n, T)
cifar10(folder) -- CIFAR-10, binary version
cifar100(folder) -- CIFAR-100, binary version
download(urls, path, sha256) -- fetches a file and checks it]] },
  { "Properties", "lip.property.", "lip.property", [[
robust(x, label, eps, p) -- inputs no farther than eps from x, in norm p or inf, are given the label
top_k(x, label, k, eps, p) -- the label is among their k largest outputs
output_range(input, low, high) -- outputs stay between two numbers, in a box {low =, high =} or ball
vnnlib(path) -- a VNN-LIB query, version 1 or 2, also packed or as {text = "..."}; or nil, message, code]] },
  { "Methods of a query", "query:", "type:lip.vnnlib", [[
text({version = 2}) -- canonical text, in its own version if not told; numbers stay the decimals they are
holds(x, y) -- whether inputs x with outputs y are "unsafe" or "safe", exactly; or "undecided"
cases() -- whose union the unsafe set is: { empty, inputs, outputs, mixed }, inequalities counted
box(i) -- low, high, empty of case i: float32, rounded outwards, infinite where nothing bounds an input
spec(i) -- what holds of outputs outside of case i, or of all, as option spec of net:certify takes it
networks() -- what is declared: name, equal_to, isomorphic_to, inputs and outputs with their shapes]] },
  { "Methods of a data set", "ds:", "type:lip.dataset", [[
size() -- the number of samples
info() -- name, shape, classes, SHA-256
named(name) -- the same data under another name
batch(first, last) -- x and y of a range, or of a table of indices
labels() -- all labels, from 0
targets() -- all targets
subset(first, last) -- a view of a range
batches(options) -- a loader: the samples in batches]] },
  { "Methods of a loader", "loader:", "type:lip.loader", [[
next() -- x and y of the next batch, nil at the end of an epoch
epoch() -- for x, y in loader:epoch() do ... end
position() -- epoch and sample reached
seek(epoch, next) -- goes to a position
size() -- batches in an epoch]] },
  { "Readers", "lip.", "lip", [[
dataset_idx(name, images, labels, options) -- what lip.data.idx calls
dataset_cifar(paths, options) -- what lip.data.cifar10 calls
dataset_csv(path, options) -- what lip.data.csv calls
dataset_npy(x, y, options) -- what lip.data.npy calls
dataset_digits(options) -- what lip.data.digits calls
dataset_tensors(x, y, options) -- what lip.data.tensors calls
sha256_unpacked(path) -- checksum of a file, unpacked
sha256_packed(path) -- checksum of a file as it lies there
unpack(path, to) -- writes an unpacked copy]] },
  { "Provenance", "lip.provenance.", "lip.provenance", [[
common(options) -- command line, program, git commit and diff; folder= where to look, store= takes the diff
own() -- machine, processor, threads, kernels, compiler
together(common) -- both in one table
git(folder) -- commit and changes of a repository as a table, and the diff]] },
  { "Databases", "lip.db.", "lip.db", [[
open(path, options) -- an SQLite database; help "db.open" lists the options; nil, message, code on failure]] },
  { "Methods of a database", "db:", "type:lip.db", [[
exec(sql, ...) -- runs SQL with values for every ? or a table for :names: the number of rows changed
rows(sql, ...) -- all rows of a query as tables by column
row(sql, ...) -- its first row, or false
transaction(f, ...) -- f(...) from BEGIN IMMEDIATE to COMMIT; an error, or nil, message, takes it back
close() -- ends it
path() -- its file]] },
  { "Sweeps", "lip.", "lip", [[
sweep{script = ..., grid = ...} -- many runs, for lipwb sweep FILE; help "sweep" lists the options
logspace(a, b, n) -- n numbers from a to b, evenly spread on a logarithmic axis, ends exact
uniform(a, b) -- in the space of a random, sobol or tpe sweep: a number from a to b
loguniform(a, b) -- the same, its logarithm spread evenly
integer(a, b) -- a whole number from a to b, both included
choice{...} -- one of a list of values
asha{max = n, ...} -- a scheduler for a sweep: successive halving that never waits
median{...} -- a scheduler for a sweep: ends trials that stay below the median of the others
sobol(dimensions, seed) -- evenly spread points: generator:point(i) in the unit cube, i from 1]] },
  { "Figures", "lip.figures.", "lip.figures", [[
budget(records, options) -- accuracies of a sweep against the budget, with the range of the seeds
pareto(records, x, y, options) -- every run as a point, and the front that no other run beats
radius(curve, attack, options) -- certified accuracy against radius; an error when above the attacked one
certified(net, data, report, options) -- the same from what net:certify returned, attacking some rows
losses(runs, options) -- curves of runs: {title=, metrics=} of a store or {title=, history=} of lip.train
bounds(moments, options) -- intervals of the layers' norms over time, from figures.moment
moment(net, step) -- the intervals of a net now
weights(net, options) -- histograms of the weights of every layer
singular(net, options) -- histograms of the singular values of every layer
images(x, adversarial, options) -- rows of originals, adversarial points and differences, with labels
fit(x, y, net, slope, options) -- a net of one variable over its data, and its slope between the limits
histogram(values, bins) -- { x = middles, y = counts }
front(points, minimise_x, minimise_y) -- the points {x, y, ...} that no other beats, by x
value(record, name) -- "budget", "row.clean", "config.norm" of a sweep's record
draw(file, figure) -- lip.plot into a file, said on one line; in a trial into its folder; "" draws nothing
css(dark) -- the colours of inline figures as style sheet, light or dark]] },
  { "The process", "lip.", "lip", [[
args{name = default, ...} -- the settings of a script, overridden by --set name=value
help(what) -- this page; help(lip.dense), help "net", help(object)
tensorboard{dir = ...} -- a writer of event files for TensorBoard
plot{panels = ...} -- a figure through gnuplot: PNG, SVG, PDF or text; true, or nil, message, code
doc(what) -- the reference as Markdown, or "stubs" for the Lua language server
load_script(text, path) -- the text of a script as a function, as lipwb runs a file; nil, message
to_json(value) -- a value as JSON on one line, keys in order
info() -- version, matrix kernels, threads, compiler and its flags, processor, memory
from_json(text) -- the value that a JSON text means; nil, message, code
utf8(text) -- the text with bytes that are no UTF-8 written as \xNN
sha256(text) -- checksum of a text, 64 hexadecimal digits
crc32(text, before) -- the checksum of gzip and PNG, as a number
deflate(text, format) -- a packed text: "gzip" (the default) or "zlib"
inflate(text, cap) -- a packed text unpacked; refused when it has more than cap bytes
now() -- seconds since 1970
threads(n) -- reads or sets the number of threads of nets made from now on
interrupted() -- whether Ctrl-C was pressed
plain_numbers() -- local _ <close> = lip.plain_numbers(): numbers get a point, whatever the locale, until then
time() -- seconds from a steady clock
allocations() -- blocks of engine memory taken so far
plain(text, lines) -- a text as it may be shown on a terminal: "?" for what would move its cursor
round_up(number, digits, fixed) -- not below it; fixed: so many decimals
round_down(number, digits, fixed) -- not above it]] },
  { "A trial of a sweep", "lip.trial.", "lip.trial", [[
report(step, values, total) -- notes figures of a step (an epoch); false when the trial should end
file(kind, name) -- a name for a checkpoint, certificate or figure, in the trial's folder
wrote(kind, path) -- notes a file of the script's own naming, when it lies in that folder
data(name, sha256, samples) -- notes a data set
wanted(step) -- the figure that the sweep's scheduler compares at this step, or nil]] },
  { "Files", "lip.file.", "lip.file", [[
mkdir(path, {below=}) -- makes a folder and those above it; below: links after it are refused
list(path, {below=}) -- the names in a folder, sorted
exists(path, {below=}) -- whether something is there
is_left(path, {below=}) -- whether it is the temporary file of a writer that was killed
stat(path, {follow = true, below=}) -- { kind = "file" | "folder" | "link" | "other", size =, modified = }
read(path, offset, {below=}) -- the contents of a file, from an offset on
tail(path, bytes, {below=}) -- its last bytes
write(path, text, {below=}) -- the whole file or nothing of it
append(path, text, {sync = false, below=}) -- adds to a file in one write; sync waits for the disk
rename(from, to, {below=}) -- moves a file or folder
remove_tree(path, {below=}) -- removes a folder with all in it; links are never followed
absolute(path) -- the path from the root
cwd() -- the working folder
temporary() -- a new empty folder]] },
  { "Programs", "lip.process.", "lip.process", [[
spawn{program, words, stdout=, stderr=, append=, below=, cwd=, env=, group=, dies_with_parent=} -- starts it
run{program, words, input=, cwd=, env=, timeout=, limit=} -- its end with output and errors
wait_any(list, seconds) -- the first of some processes that has ended; nil at the timeout or after a signal
self() -- { pid, start, host, program } of this process
alive(pid, start) -- whether that process runs; start tells a pid from its next owner
usage() -- { memory = highest so far in bytes, seconds = of processor time }
terminal() -- columns of the terminal, nil when standard output is none
sleep(seconds) -- true; false when a signal came before
signals(mode) -- "stop": TERM, HUP and USR1 interrupt as Ctrl-C does; "hold": they are counted; "normal"
pending() -- how many signals were held, and the name of the last
signal_name(number) -- "TERM" for 15
follow_parent() -- asks for SIGTERM when the parent that wanted it (dies_with_parent) ends]] },
  { "Methods of a process", "process:", "type:lip.process", [[
pid() -- its number
start() -- when it began, in clock ticks since the machine's start
alive() -- whether it still runs
signal(name, {group = false}) -- sends "TERM", "KILL", ...; to its whole group
wait(seconds) -- { exit | signal, memory, seconds } at its end; nil, "timeout"]] },
}
