/* The training step and its pieces. A step is two or three parallel regions:
 *
 *   1  every share has some of the rows: forward, loss, gradient back to the input
 *   2  every share has some of each layer's output features and carries them, piece by piece as the layer's weight
 *      gradient (over all rows) is done, through update and, where rows are projected one by one, projection
 *   3  other projections (columns, whole matrices), if there are any
 *
 * With clipping, or a layer whose parameters are not laid out by output feature, 2 falls apart into gradient and update.
 * Layers whose weights are computed (computed.c) come before: their gradients are made and pulled back to what is trained, and
 * that is updated with the others' in 2; then their weights are computed anew.
 * Shares depend on indices only and every sum has a fixed order, so the result has the same bits for any number of
 * threads and either form. Nothing is allocated. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/net/net.h"
#include "core/tensor/vec.h"

enum {
  ROW_GRAIN = LIP_PART, /* rows a thread takes at least: fewer take no less time */
  UNIT_GRAIN = 32,      /* output features: a multiple of every micro-kernel's block */
  PARAM_GRAIN = 1024,
  UPDATE_ROWS = 64,          /* an update takes as long as so many rows */
  MIN_WORK = 800000,         /* that several threads are worth */
  ROW_BLOCK = 15 * LIP_PART, /* carried through the net at a time: few that stay cached, enough to pack for */
  LARGE =
      1 << 20, /* weights from which packing costs more than the cache gains (L at batch 512: 64 to 60 ms) */
  LARGE_BLOCK = 33 * LIP_PART,
  ROW_PART = 48, /* their number divides by it, where it may: a multiple of every micro-kernel's block */
  CHUNK = 4096   /* of the gradient norm */
};

enum { ALL, COMPUTED, REST };

typedef struct job {
  lip_net *net;
  size_t B;
  bool training, backward;
  const lip_loss *loss;
  const lip_targets *targets;
  const lip_stream *stream; /* NULL: none */
  const lip_probe *probe;   /* NULL: none */
  lip_optim *opt;
  const lip_pairs *pairs; /* bounds that the loss took, gradient known; NULL: none */
  float accumulate;
  bool project;
  int which;              /* leaves whose gradient is made: ALL, ... */
  double value;           /* mean loss */
  float scale;            /* of the gradient, by clipping */
  bool fused;             /* gradient, update and projection in one go */
  bool prepared;          /* weights may be taken from where `prepare` has put them */
  atomic_size_t *next;    /* first row that no share has taken yet; NULL: rows are dealt out beforehand */
  atomic_bool *overflow;  /* raised when a gradient is not finite; NULL: not asked */
  atomic_bool *cancelled; /* raised by the thread that saw the flag */
} job;

static lip_pass make_pass(const job *j, const lip_worker *me) {
  lip_net *net = j->net;
  return (lip_pass){.training = j->training,
                    .prepared = j->prepared,
                    .seed = net->conf.seed * UINT64_C(0x9E3779B97F4A7C15) + net->step,
                    .scratch = net->scratch + me->id * net->scratch_each,
                    .accumulate = j->accumulate,
                    .rows = j->B};
}

/* Some layers (statistics over the batch, functions of a script) want all rows in one call. */
static bool wants_whole_batch(const job *j) {
  const lip_layer *root = j->net->root;
  return (j->training && root->whole_batch) || root->on_caller;
}

/* The rows of one thread. */
static void row_share(const job *j, const lip_worker *me, bool whole, size_t *r0, size_t *r1) {
  lip_share(me, j->B, ROW_GRAIN, r0, r1);
  if (!whole) return;
  *r0 = 0;
  *r1 = me->id == 0 ? j->B : 0;
}

/* A finite loss may have a gradient that is not. Weights are safe when every gradient that reaches a layer is far below
 * the largest float: summed over any batch it then stays finite. Those that only pass are looked at on their way. */
static bool gradients_fit(const lip_net *net, const lip_pass *pass) {
  for (size_t i = 0; i < net->n_leaf; i++) {
    const lip_layer *l = net->leaf[i];
    if (l->units == 0 || !l->dy) continue;
    const size_t r0 = lip_layer_rows(l, pass->r0), r1 = lip_layer_rows(l, pass->r1);
    if (!lip_gradient_fits(l->dy + r0 * l->y_row, (r1 - r0) * l->y_row)) return false;
  }
  return true;
}

static void loss_rows(lip_net *net, const lip_loss *loss, const lip_targets *t, size_t B, size_t r0,
                      size_t r1, float *dlogits) {
  const lip_loss_kind *kind = loss->kind;
  if (kind->bounded && net->pairs)
    kind->bounded(loss->conf, net->logits, B, net->root->n_out, t, lip_pairs_terms(net->pairs), r0, r1,
                  net->row_value, dlogits);
  else
    kind->rows(loss->conf, net->logits, B, net->root->n_out, t, r0, r1, net->row_value, dlogits);
}

/* Rows r0..r1-1, forward and, where the job says so, back. */
static void carry_rows(const job *j, const lip_worker *me, lip_pass *pass) {
  lip_net *net = j->net;
  if (j->stream && j->stream->fill) j->stream->fill(j->stream->arg, pass->r0, pass->r1);
  lip_chain_forward(net->root, pass);
  if (j->stream && j->stream->use) j->stream->use(j->stream->arg, me, pass->r0, pass->r1);
  if (j->loss)
    loss_rows(net, j->loss, j->targets, j->B, pass->r0, pass->r1, j->backward ? net->dlogits : NULL);
  if (!j->backward) return;
  bool overflow = false;
  pass->overflow = j->overflow ? &overflow : NULL;
  lip_chain_backward(net->root, pass);
  if (j->probe && j->probe->back) j->probe->back(j->probe->stream.arg, me, pass->r0, pass->r1);
  if (j->overflow && (overflow || !gradients_fit(net, pass))) atomic_store(j->overflow, true);
}

/* Multiplications of one row on its way forward. */
static double row_work(const lip_net *net) {
  double work = 1;
  for (size_t i = 0; i < net->n_leaf; i++) {
    const lip_layer *l = net->leaf[i];
    if (l->n_param > 0 && l->units > 0)
      work += (double)lip_param_size(&l->param[0]) * ((double)l->n_out / (double)l->units);
  }
  return work;
}

/* How rows are cut. */
typedef struct cut {
  size_t block; /* most rows at a time */
  size_t part;  /* what is taken is a multiple of it */
} cut;

/* Blocks have fewer rows where those would take long: between two the flag is looked at. Where a row by itself uses its
 * weights several times (convolutions), a few rows make a part. */
static cut cut_of(const lip_net *net) {
  const double most = 0x1p31, work = row_work(net), rows = most / work;
  cut c = {net->n_params < LARGE ? ROW_BLOCK : LARGE_BLOCK,
           work >= 4 * (double)net->n_params ? ROW_GRAIN : ROW_PART};
  if (rows < (double)c.block) c.block = rows > ROW_GRAIN ? (size_t)rows / ROW_GRAIN * ROW_GRAIN : ROW_GRAIN;
  return c;
}

/* The next block of rows, or false. A thread that a neighbour slows down takes fewer blocks; towards the end they get
 * smaller, so that all are through at about the same time. */
static bool take_rows(const job *j, const lip_worker *me, const cut *c, size_t *r0, size_t *r1) {
  size_t at = atomic_load(j->next);
  do {
    if (at >= j->B) return false;
    size_t n = (j->B - at + me->count - 1) / me->count;
    if (me->count > 1) n = (n / 2 + c->part - 1) / c->part * c->part;
    if (n == 0 || n > c->block) n = c->block;
    *r0 = at;
    *r1 = j->B - at < n ? j->B : at + n;
  } while (!atomic_compare_exchange_weak(j->next, &at, *r1));
  return true;
}

static void run_rows(void *arg, const lip_worker *me) {
  const job *j = arg;
  lip_pass pass = make_pass(j, me);
  size_t r0 = 0, r1 = 0;
  bool whole = wants_whole_batch(j);
  const cut c = cut_of(j->net);
  if (!j->next) row_share(j, me, whole, &r0, &r1);
  while (r0 < r1 || (j->next && take_rows(j, me, &c, &r0, &r1))) {
    if (lip_cancel_raised(j->net->engine.cancel)) {
      if (j->cancelled) atomic_store(j->cancelled, true);
      return;
    }
    pass.r0 = r0;
    pass.r1 = r0 = whole || r1 - r0 < c.block ? r1 : r0 + c.block;
    carry_rows(j, me, &pass);
  }
}

static bool skips(const job *j, const lip_layer *l) {
  return l->still || (j->which != ALL && l->computed != (j->which == COMPUTED));
}

static size_t unit_grain(const lip_layer *l) {
  return l->unit_grain > 0 ? l->unit_grain : UNIT_GRAIN;
}

static void run_grads(void *arg, const lip_worker *me) {
  const job *j = arg;
  lip_pass pass = make_pass(j, me);
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    lip_layer *l = j->net->leaf[i];
    size_t u0, u1;
    lip_share(me, l->units, unit_grain(l), &u0, &u1);
    if (u0 >= u1 || skips(j, l)) continue;
    pass.rows = lip_layer_rows(l, j->B);
    l->kind->grad(l, &pass, u0, u1);
    if (j->pairs) lip_pairs_add(j->pairs, l, u0, u1, pass.scratch);
  }
}

static void run_update(void *arg, const lip_worker *me) {
  const job *j = arg;
  lip_net *net = j->net;
  lip_optim *o = j->opt;
  float *slot[8];
  size_t i0, i1;
  for (size_t k = 0; k < o->kind->slots; k++) slot[k] = o->state + k * o->n;
  lip_share(me, net->n_params, PARAM_GRAIN, &i0, &i1);
  if (j->scale != 1) lip_vec_scale(net->grads + i0, j->scale, i1 - i0);
  if (i0 < i1) o->kind->update(o->conf, net->weights, net->grads, slot, net->decay, i0, i1, o->lr, o->t + 1);
}

/* Whether this layer's projection is not already part of the fused update. */
static bool projects_apart(const job *j, const lip_layer *l) {
  return l->project_units > 0 && !l->projection && !(j->fused && l->project_by_unit);
}

static bool needs_project(const job *j) {
  for (size_t i = 0; i < j->net->n_leaf; i++)
    if (projects_apart(j, j->net->leaf[i])) return true;
  return false;
}

static void run_project(void *arg, const lip_worker *me) {
  const job *j = arg;
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    lip_layer *l = j->net->leaf[i];
    if (!projects_apart(j, l)) continue;
    lip_worker turn = *me;
    turn.id = (me->id + i) % me->count; /* layers of a single unit go to different threads */
    size_t u0, u1;
    lip_share(&turn, l->project_units, 16, &u0, &u1);
    if (u0 < u1) l->kind->project(l, u0, u1, j->net->scratch + me->id * j->net->scratch_each);
  }
}

/* Sum of squares in chunks of fixed size, added in order. */
static double gradient_norm(const lip_net *net) {
  double sum = 0;
  for (size_t i = 0; i < net->n_params; i += CHUNK)
    sum += lip_vec_square_sum(net->grads + i, net->n_params - i < CHUNK ? net->n_params - i : CHUNK);
  return sqrt(sum);
}

static double mean_rows(const double *v, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += v[i];
  return n ? sum / (double)n : 0;
}

/* ---- whole step ---- */

static void update_range(const job *j, size_t i0, size_t i1) {
  lip_net *net = j->net;
  lip_optim *o = j->opt;
  float *slot[8];
  for (size_t k = 0; k < o->kind->slots; k++) slot[k] = o->state + k * o->n;
  o->kind->update(o->conf, net->weights, net->grads, slot, net->decay, i0, i1, o->lr, o->t + 1);
}

/* Weights are final after the fused update unless a projection follows it; views may change them behind our back. */
static bool prepares(const job *j, const lip_layer *l) {
  return l->kind->prepare && l->units > 0 && !j->net->lent && !l->computed && !l->still &&
         !(j->project && projects_apart(j, l));
}

typedef struct finishing {
  const job *j;
  lip_layer *l;
  void *scratch;
} finishing;

/* What is left to do for units a..b once their gradient is there, and still in the cache. */
static void finish_units(void *arg, size_t a, size_t b) {
  const job *j = ((const finishing *)arg)->j;
  lip_layer *l = ((const finishing *)arg)->l;
  if (j->pairs) lip_pairs_add(j->pairs, l, a, b, ((const finishing *)arg)->scratch);
  for (size_t k = 0; k < l->n_param; k++) {
    size_t row = lip_param_size(&l->param[k]) / l->units, at = l->param[k].offset;
    update_range(j, at + a * row, at + b * row);
  }
  if (j->project && l->project_by_unit) l->kind->project(l, a, b, ((const finishing *)arg)->scratch);
  if (prepares(j, l)) l->kind->prepare(l, a, b);
}

/* The trained numbers of layers whose gradients are there already. */
static void update_computed(const job *j, const lip_worker *me) {
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    const lip_layer *l = j->net->leaf[i];
    for (size_t k = 0; l->computed && k < l->n_param; k++) {
      size_t i0, i1, at = l->param[k].offset;
      lip_share(me, l->param[k].frozen ? 0 : lip_param_size(&l->param[k]), PARAM_GRAIN, &i0, &i1);
      if (i0 < i1) update_range(j, at + i0, at + i1);
    }
  }
}

static void run_fused(void *arg, const lip_worker *me) {
  const job *j = arg;
  lip_pass pass = make_pass(j, me);
  update_computed(j, me);
  pass.done = finish_units;
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    finishing f = {j, j->net->leaf[i], pass.scratch};
    pass.done_arg = &f;
    pass.rows = lip_layer_rows(f.l, j->B);
    size_t u0, u1;
    lip_share(me, f.l->units, unit_grain(f.l), &u0, &u1);
    if (u0 < u1 && !skips(j, f.l)) f.l->kind->grad(f.l, &pass, u0, u1);
  }
}

static bool can_fuse(const lip_net *net, const lip_optim *opt) {
  if (isfinite(opt->clip_norm) || net->projects_own) return false;
  for (size_t i = 0; i < net->n_leaf; i++) {
    const lip_layer *l = net->leaf[i];
    if (l->n_param > 0 && !l->params_by_unit && !l->computed && !l->still) return false;
  }
  return true;
}

/* Small regions stay on the calling thread: handing half of one over takes as long as MIN_WORK products of a row with a
 * weight, forward and back (measured with nets from 16-8-2 to 784-128-10 and batches of 1 to 32). */
static void run(const lip_net *net, double work, bool flush, lip_task *task, job *j) {
  lip_pool_run(work < MIN_WORK ? NULL : net->engine.pool, flush, task, j);
}

static void run_by_rows(lip_task *task, bool flush, job *j) {
  if (j->net->root->on_caller)
    lip_pool_run(NULL, flush, task, j);
  else
    run(j->net, j->B > ROW_GRAIN ? (double)j->B * (double)j->net->n_params : 0, flush, task, j);
}

/* Gradients over B rows, an update, or both. */
static void run_by_units(lip_task *task, size_t B, job *j) {
  size_t divided = 0;
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    const lip_layer *l = j->net->leaf[i];
    for (size_t k = 0; k < l->n_param && l->units > unit_grain(l); k++)
      divided += lip_param_size(&l->param[k]);
  }
  run(j->net, (double)(B + UPDATE_ROWS) * (double)divided, true, task, j);
}

/* Rows forward and back; whether what they gave may be learned from. */
static lip_status look(job *j) {
  run_by_rows(run_rows, true, j);
  j->value = mean_rows(j->net->row_value, j->B);
  if (atomic_load(j->cancelled)) return LIP_CANCELLED;
  if (j->net->fault.err.code) return j->net->fault.err.code;
  if (!isfinite(j->value) || atomic_load(j->overflow)) return LIP_NOT_FINITE;
  if (!j->loss->kind->bounded) return LIP_OK;
  j->pairs = j->net->pairs;
  return lip_pairs_gather(j->net->pairs, j->B) ? LIP_OK : LIP_NOT_FINITE;
}

static bool has_computed(const lip_net *net) {
  for (size_t i = 0; i < net->n_leaf; i++)
    if (net->leaf[i]->computed && !net->leaf[i]->still) return true;
  return false;
}

static lip_status learn(job *j) {
  lip_net *net = j->net;
  const bool computed = has_computed(net);
  if (computed) { /* before anything has changed: what is pulled back may not be finite */
    j->which = COMPUTED;
    run_by_units(run_grads, j->B, j);
    if (!lip_net_pull(net, 0)) return LIP_NOT_FINITE;
    j->which = REST;
  }
  if (j->project) lip_net_undo_take(net, j->opt);
  run_by_units(j->fused ? run_fused : run_grads, j->B, j);
  if (!j->fused) {
    double norm = isfinite(j->opt->clip_norm) ? gradient_norm(net) : 0;
    if (norm > j->opt->clip_norm) j->scale = (float)(j->opt->clip_norm / norm);
    run_by_units(run_update, 0, j);
  }
  lip_status status = j->project ? lip_net_project_own(net) : LIP_OK;
  if (status) {
    lip_net_undo(net, j->opt);
    return status;
  }
  if (j->project && needs_project(j)) run_by_units(run_project, 0, j);
  if (computed) lip_net_renew(net);
  return LIP_OK;
}

lip_status lip_net_measure(lip_net *net, const lip_loss *loss, size_t B, lip_err *err) {
  if (!loss->kind->bounded) return LIP_OK;
  lip_status status = lip_net_want_pairs(net, loss->kind->pairs(loss->conf), err);
  if (!status) status = lip_pairs_reserve(net->pairs, B, err);
  if (!status) lip_pairs_update(net->pairs, net->step, net->engine.pool);
  return status;
}

lip_status lip_net_step(lip_net *net, const float *x, const lip_targets *t, size_t B, const lip_loss *loss,
                        lip_optim *opt, double *value, lip_err *err) {
  if (B == 0) return lip_fail(err, LIP_SHAPE, "net: a step needs at least one row");
  lip_status status = lip_optim_reserve(opt, net->n_params, err);
  if (!status) status = lip_net_reserve(net, B, err);
  if (!status) status = lip_net_measure(net, loss, B, err);
  if (!status) status = lip_net_undo_reserve(net, opt, err);
  if (status) return status;
  size_t every = net->conf.project_every;
  atomic_bool overflow = false, cancelled = false;
  job j = {.net = net,
           .B = B,
           .overflow = &overflow,
           .cancelled = &cancelled,
           .fused = can_fuse(net, opt),
           .training = true,
           .backward = true,
           .prepared = true,
           .loss = loss,
           .targets = t,
           .opt = opt,
           .scale = 1,
           .project = every > 0 && (opt->t + 1) % every == 0};
  lip_net_bind(net, x, false);
  net->rows = 0;
  status = look(&j);
  if (!status) status = learn(&j);
  *value = j.value;
  if (lip_net_fault(net, err)) return status;
  if (status == LIP_CANCELLED)
    return lip_fail(err, LIP_CANCELLED, "cancelled; the weights are as before this step");
  if (status)
    return lip_fail(
        err, LIP_NOT_FINITE,
        "%s at update %llu (loss %g); the weights are as before this step: lower the learning rate, or "
        "check the data for NaN",
        isfinite(j.value) ? "the gradient is not finite" : "the loss is not finite",
        (unsigned long long)opt->t + 1, j.value);
  opt->loss = j.value;
  opt->t++;
  net->step++;
  for (size_t i = 0; i < net->n_leaf; i++)
    if (!net->leaf[i]->still) net->leaf[i]->prepared = j.fused && prepares(&j, net->leaf[i]);
  net->backward_ready = false;
  return LIP_OK;
}

/* ---- pieces ---- */

static void run_prepare(void *arg, const lip_worker *me) {
  const job *j = arg;
  for (size_t i = 0; i < j->net->n_leaf; i++) {
    lip_layer *l = j->net->leaf[i];
    size_t u0, u1;
    lip_share(me, l->units, UNIT_GRAIN, &u0, &u1);
    if (l->kind->prepare && !l->prepared && u0 < u1) l->kind->prepare(l, u0, u1);
  }
}

/* All weights in the form that blocks of rows share, once for all of them and, until they change, for the next pass. A
 * layer whose input gradient nobody wanted may have left out half of it. */
static void prepare(job *j) {
  bool ready = true;
  if (j->backward && !j->net->backward_ready) lip_net_touch(j->net);
  for (size_t i = 0; i < j->net->n_leaf; i++)
    ready = ready && (j->net->leaf[i]->prepared || !j->net->leaf[i]->kind->prepare);
  if (!ready) {
    run_by_units(run_prepare, 0, j);
    j->net->backward_ready = j->backward;
  }
  for (size_t i = 0; i < j->net->n_leaf; i++) j->net->leaf[i]->prepared = j->net->leaf[i]->kind->prepare;
}

static void forward(lip_net *net, const float *x, size_t B, bool training, const lip_stream *stream) {
  atomic_size_t next = 0;
  job j = {.net = net, .B = B, .training = training, .stream = stream, .prepared = !training};
  if (!wants_whole_batch(&j)) j.next = training ? NULL : &next;
  lip_net_bind(net, x, training);
  net->rows = B;
  net->trained_forward = training;
  if (j.prepared) prepare(&j);
  run_by_rows(run_rows, training, &j);
  if (net->lent) lip_net_touch(net);
}

void lip_net_forward(lip_net *net, const float *x, size_t B, bool training) {
  forward(net, x, B, training, NULL);
}

void lip_net_stream(lip_net *net, const float *x, size_t B, const lip_stream *stream) {
  forward(net, x, B, false, stream);
}

void lip_net_probe(lip_net *net, const float *x, size_t B, const lip_probe *probe) {
  atomic_size_t next = 0;
  job j = {.net = net,
           .B = B,
           .backward = true,
           .stream = &probe->stream,
           .probe = probe,
           .prepared = true,
           .next = net->root->on_caller ? NULL : &next};
  lip_net_bind(net, x, true);
  net->rows = B;
  net->trained_forward = false;
  prepare(&j);
  run_by_rows(run_rows, false, &j);
}

static void run_backward(void *arg, const lip_worker *me) {
  const job *j = arg;
  lip_pass pass = make_pass(j, me);
  row_share(j, me, wants_whole_batch(j), &pass.r0, &pass.r1);
  if (pass.r0 < pass.r1) lip_chain_backward(j->net->root, &pass);
}

lip_status lip_net_backward(lip_net *net, const float *dlogits, bool accumulate, bool need_dx, lip_err *err) {
  if (net->rows == 0 || !net->trained_forward)
    return lip_fail(err, LIP_STATE, "net: backward needs a forward in training mode before it");
  job j = {.net = net, .B = net->rows, .training = true, .accumulate = accumulate ? 1 : 0};
  lip_net_bind(net, net->root->x, need_dx);
  if (dlogits != net->dlogits) memcpy(net->dlogits, dlogits, net->rows * net->root->n_out * sizeof(float));
  run_by_rows(run_backward, true, &j);
  lip_status status = lip_net_fault(net, err);
  if (status) return status;
  run_by_units(run_grads, j.B, &j);
  (void)lip_net_pull(net, j.accumulate); /* lip_net_update looks at all of them */
  return LIP_OK;
}

lip_status lip_net_update(lip_net *net, lip_optim *opt, lip_err *err) {
  lip_status status = lip_optim_reserve(opt, net->n_params, err);
  if (status) return status;
  job j = {.net = net, .opt = opt, .scale = 1};
  double norm = gradient_norm(net);
  if (!isfinite(norm))
    return lip_fail(err, LIP_NOT_FINITE,
                    "the gradient is not finite at update %llu; the weights are as before it",
                    (unsigned long long)opt->t + 1);
  if (norm > opt->clip_norm) j.scale = (float)(opt->clip_norm / norm);
  lip_net_touch(net);
  run_by_units(run_update, 0, &j);
  lip_net_renew(net);
  opt->t++;
  net->step++;
  return LIP_OK;
}

void lip_net_project_rest(lip_net *net) {
  job j = {.net = net};
  lip_net_touch(net);
  run_by_units(run_project, 0, &j);
}

double lip_net_loss(lip_net *net, const lip_loss *loss, const lip_targets *t, size_t B, bool need_gradient) {
  loss_rows(net, loss, t, B, 0, B, need_gradient ? net->dlogits : NULL);
  return mean_rows(net->row_value, B);
}
