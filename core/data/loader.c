/* The walk over a data set in batches. */
#include "core/base/mem.h"
#include "core/data/dataset.h"

/* The order of the epoch under way: from (seed, epoch) alone, so that it can be made again. */
static void make_order(lip_loader *l) {
  if (l->shuffle) {
    lip_rng rng = lip_rng_new(l->seed, LIP_RNG_SHUFFLE, l->epoch);
    lip_rng_permute(&rng, l->index, l->data->n);
  } else {
    for (size_t i = 0; i < l->data->n; i++) l->index[i] = (uint32_t)i;
  }
}

lip_status lip_loader_new(const lip_dataset *d, size_t batch, bool shuffle, bool drop_last, uint64_t seed,
                          lip_loader **out, lip_err *err) {
  *out = NULL;
  if (batch == 0) return lip_fail(err, LIP_ARGUMENT, "the batch size must be at least 1");
  if (drop_last && batch > d->n)
    return lip_fail(err, LIP_ARGUMENT, "no full batch of %zu in %zu samples (drop_last is set)", batch, d->n);
  lip_loader *l = lip_alloc(1, sizeof *l);
  if (l) l->index = lip_alloc(d->n, sizeof *l->index);
  if (!l || !l->index) {
    lip_loader_free(l);
    return lip_fail(err, LIP_MEMORY, "no memory for the order of %zu samples", d->n);
  }
  l->data = d;
  l->batch = batch;
  l->shuffle = shuffle;
  l->drop_last = drop_last;
  l->seed = seed;
  make_order(l);
  *out = l;
  return LIP_OK;
}

void lip_loader_free(lip_loader *l) {
  if (!l) return;
  lip_free(l->index);
  lip_free(l);
}

size_t lip_loader_next(lip_loader *l, const uint32_t **index) {
  size_t left = l->data->n - l->next, size = left < l->batch ? left : l->batch;
  *index = NULL;
  if (size == 0 || (l->drop_last && size < l->batch)) {
    l->epoch++;
    l->next = 0;
    if (l->shuffle) make_order(l);
    return 0;
  }
  *index = l->index + l->next;
  l->next += size;
  return size;
}

lip_status lip_loader_seek(lip_loader *l, uint64_t epoch, size_t next, lip_err *err) {
  if (next > l->data->n)
    return lip_fail(err, LIP_ARGUMENT, "position %zu is behind the last of %zu samples", next, l->data->n);
  if (l->shuffle && epoch != l->epoch) {
    l->epoch = epoch;
    make_order(l);
  }
  l->epoch = epoch;
  l->next = next;
  return LIP_OK;
}
