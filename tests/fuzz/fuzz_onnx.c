/* ONNX: a graph that opens may become a net, with the shape of the file or with one of ours; a net that comes out computes
 * as many numbers as it says. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/onnx.h"
#include "fuzz.h"

/* Numbers of a net: larger ones would only take time here. */
enum { NUMBERS = 1 << 16 };

static void check_net(lip_net *net) {
  lip_err err;
  const size_t n = net->root->n_in, m = net->root->n_out;
  FUZZ_MUST(n > 0 && m > 0);
  if (n > NUMBERS || m > NUMBERS || net->n_params > NUMBERS) return;
  float *x = lip_alloc(2 * n, sizeof *x);
  FUZZ_MUST(x && !lip_net_reserve(net, 2, &err));
  lip_net_forward(net, x, 2, false);
  FUZZ_MUST(memcmp(net->logits, net->logits + m, m * sizeof *x) == 0); /* of equal rows */
  lip_free(x);
}

static void load(const char *path, const lip_onnx_conf *conf) {
  lip_onnx_notes notes;
  lip_net *net;
  lip_err err;
  const lip_status status = lip_onnx_load(path, conf, NULL, &net, &notes, &err);
  if (status == LIP_OK) {
    check_net(net);
    lip_net_free(net);
  } else {
    FUZZ_MUST(!net && status == err.code && err.msg[0] != '\0');
    FUZZ_MUST(status == LIP_FORMAT || status == LIP_UNSUPPORTED || status == LIP_SHAPE ||
              status == LIP_OPTION || status == LIP_NOT_FINITE || status == LIP_NOT_FOUND ||
              status == LIP_IO);
  }
  for (size_t i = 0; i < notes.n; i++) FUZZ_MUST(notes.text[i][0] != '\0');
  lip_onnx_notes_free(&notes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const lip_onnx_conf as_it_is = {.drop_softmax = true};
  static const lip_onnx_conf flat = {.input = {1, {4, 0, 0}}, .round = true};
  const char *path = fuzz_file(0, data, size);
  const size_t readable = fuzz_readable(path);
  fuzz_begin();
  load(path, &as_it_is);
  load(path, &flat);
  /* a net has room for one pass, whatever its weights are */
  fuzz_end(2 * size + readable, (size_t)64 << 20);
  return 0;
}
