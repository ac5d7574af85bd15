/* Arrays of foreign safetensors files: every one that the header announces can be had as float32, and a net takes them in order,
 * all or none. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/torch.h"
#include "fuzz.h"

static lip_spec *dense(size_t out) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find("dense"));
  FUZZ_MUST(s && lip_conf_set_number(&s->kind->desc, s->conf, "out", (double)out, NULL) == LIP_OK);
  return s;
}

/* 3 -> 4 -> 2 */
static lip_net *net_of(void) {
  lip_net *net;
  lip_err err;
  lip_net_conf conf = {.input = {1, {3}}, .budget = 1, .seed = 1};
  FUZZ_MUST(lip_path_parse("2", &conf.path, &err) == LIP_OK);
  lip_spec *specs[] = {dense(4), dense(2)};
  FUZZ_MUST(lip_net_new(&conf, specs, 2, NULL, &net, &err) == LIP_OK);
  for (size_t i = 0; i < 2; i++) lip_spec_free(specs[i]);
  return net;
}

static void read_all(const lip_tensors *f, size_t size) {
  lip_err err;
  size_t elements = 0;
  for (size_t i = 0; i < lip_tensors_count(f); i++) {
    const lip_foreign *a = lip_tensors_at(f, i);
    bool rounded;
    FUZZ_MUST(a->ndim >= 0 && a->ndim <= LIP_MAX_DIMS);
    float *data = lip_alloc(a->n, sizeof *data);
    FUZZ_MUST(data && lip_tensors_read(f, i, data, &rounded, &err) == LIP_OK);
    elements += a->n;
    lip_free(data);
    FUZZ_MUST(lip_tensors_order(f)[i] < lip_tensors_count(f));
  }
  FUZZ_MUST(elements <= size);
  for (size_t i = 1; i < lip_tensors_count(f); i++) {
    const char *a = lip_tensors_at(f, lip_tensors_order(f)[i - 1])->name;
    FUZZ_MUST(lip_name_order(a, lip_tensors_at(f, lip_tensors_order(f)[i])->name, NULL) < 0);
  }
}

static void load(const lip_tensors *f, const char *path, lip_net *net) {
  lip_torch t;
  lip_str why = {0};
  lip_err err;
  float before[64];
  FUZZ_MUST(net->n_params <= 64);
  memcpy(before, net->weights, net->n_params * sizeof *before);
  FUZZ_MUST(lip_torch_init(&t, f, path, net, &err) == LIP_OK);
  lip_status status = lip_torch_pair_in_order(&t, &err);
  FUZZ_MUST(status == LIP_OK || status == LIP_UNSUPPORTED);
  if (!status) {
    FUZZ_MUST(lip_torch_whole(&t, &why) == (why.len == 0));
    status = lip_torch_fill(&t, &err);
    FUZZ_MUST(status == LIP_OK || status == LIP_NOT_FINITE);
  }
  if (status) FUZZ_MUST(memcmp(before, net->weights, net->n_params * sizeof *before) == 0);
  lip_torch_free(&t);
  lip_str_free(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_tensors *f;
  lip_err err;
  const char *path = fuzz_file(0, data, size);
  if (size >= 2 && data[0] == 'P' && data[1] == 'K') return 0; /* fuzz_npz */
  fuzz_begin();
  const bool good = fuzz_answer(lip_tensors_open(path, &f, &err), &err);
  if (good) read_all(f, size);
  lip_tensors_close(f);
  fuzz_end(size, 0);
  if (!good) return 0;
  lip_net *net = net_of(); /* not counted */
  fuzz_begin();
  FUZZ_MUST(lip_tensors_open(path, &f, &err) == LIP_OK);
  load(f, path, net);
  lip_tensors_close(f);
  fuzz_end(size, 0);
  lip_net_free(net);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, max, seed);
}
