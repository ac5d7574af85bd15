/* Layers and settings of a net as JSON, {"net": ..., "layers": [...]}: what was accepted is written and read as the
 * same again, and is planned and laid out within little memory, or refused. */
#include <string.h>

#include "core/base/mem.h"
#include "core/io/spec_json.h"
#include "fuzz.h"

enum { ROOM = 1 << 17 }; /* bytes for a net: large ones take long */

typedef struct described {
  lip_net_conf conf;
  lip_spec **specs;
  size_t n;
} described;

static void forget(described *d) {
  lip_free(d->conf.layer_budgets.v);
  lip_specs_free(d->specs, d->n);
}

static bool read(const lip_json *v, described *d) {
  lip_err err;
  *d = (described){0};
  if (!fuzz_answer(lip_specs_from_json(lip_json_get(v, "layers"), NULL, &d->specs, &d->n, &err), &err))
    return false;
  if (fuzz_answer(lip_net_conf_from_json(lip_json_get(v, "net"), &d->conf, &err), &err)) return true;
  forget(d);
  return false;
}

static void print(const described *d, lip_str *out) {
  lip_json *net, *layers;
  lip_err err;
  FUZZ_MUST(lip_net_conf_to_json(&d->conf, &net, &err) == LIP_OK);
  lip_status status = lip_specs_to_json(d->specs, d->n, &layers, &err);
  FUZZ_MUST(status == LIP_OK || status == LIP_UNSUPPORTED); /* nested too deep */
  lip_str_puts(out, "{\"net\":");
  FUZZ_MUST(lip_json_print(net, out));
  lip_str_puts(out, ",\"layers\":");
  if (!status) FUZZ_MUST(lip_json_print(layers, out));
  lip_str_puts(out, status ? "[]}" : "}");
  lip_json_free(net);
  lip_json_free(layers);
}

static void lay_out(const described *d) {
  lip_net *net;
  lip_err err;
  size_t before = lip_mem_limit(ROOM);
  lip_status status = lip_net_new(&d->conf, d->specs, d->n, NULL, &net, &err);
  if (status) FUZZ_MUST(status == err.code && err.msg[0]);
  lip_net_free(net);
  lip_mem_limit(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_json *v = NULL, *again;
  lip_err err;
  lip_str one = {0}, two = {0};
  described d, e;
  fuzz_begin();
  if (fuzz_answer(lip_json_parse((const char *)data, size, "fuzz", &v, &err), &err) && read(v, &d)) {
    print(&d, &one);
    lay_out(&d);
    forget(&d);
    FUZZ_MUST(lip_json_parse(one.text, one.len, "printed", &again, &err) == LIP_OK);
    FUZZ_MUST(read(again, &e));
    print(&e, &two);
    FUZZ_MUST(one.len == two.len && memcmp(one.text, two.text, one.len) == 0);
    forget(&e);
    lip_json_free(again);
  }
  lip_json_free(v);
  lip_str_free(&one);
  lip_str_free(&two);
  fuzz_end(size, ROOM);
  return 0;
}
