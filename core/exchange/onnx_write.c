#include "core/exchange/onnx_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/decimal.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/bound/bound.h"
#include "core/data/sha256.h"
#include "core/exchange/onnx_write_parts.h"

/* ---- names ---- */

/* "2.residual.1.dense" of a layer below `at`, behind what is in `to` already; false: it is not there. */
static bool find(const lip_layer *at, const lip_layer *l, lip_str *to) {
  const size_t before = to->len;
  for (size_t i = 0; i < at->n_child; i++) {
    lip_str_printf(to, "%s%zu.%s", before > 0 ? "." : "", i + 1, at->child[i]->kind->desc.name);
    if (at->child[i] == l || find(at->child[i], l, to)) return true;
    if (to->failed) return false;
    to->len = before;
    if (to->text) to->text[before] = '\0';
  }
  return false;
}

/* How many steps before i are of the same layer. */
static size_t earlier(const lip_emit *e, size_t i) {
  size_t n = 0;
  for (size_t k = 0; k < i; k++) n += e->step[k].layer == e->step[i].layer;
  return n;
}

static void write_steps(lip_onnx_steps *s, const lip_net *net) {
  lip_str path = {0};
  for (size_t i = 1; s->value && i < s->e->n; i++) {
    const size_t more = earlier(s->e, i);
    path.len = 0;
    (void)find(net->root, s->e->step[i].layer, &path);
    s->path = lip_onnx_file_text(s->file, "%s", path.text ? path.text : "");
    s->name = more > 0 ? lip_onnx_file_text(s->file, "%s#%zu", s->path, more + 1) : s->path;
    s->value[i] = i == s->e->out ? "output" : s->name;
    if (path.failed) lip_onnx_file_no_memory(s->file);
    lip_onnx_put_step(s, i, s->value[i]);
  }
  lip_str_free(&path);
}

/* ---- metadata ---- */

static const char *number(char *text, size_t size, double v) {
  if (isfinite(v))
    snprintf(text, size, "%.15g", lip_digits_up(v, 15));
  else
    snprintf(text, size, "inf");
  return text;
}

static lip_status write_meta(lip_onnx_file *f, const lip_net *net, const lip_onnx_write_conf *conf,
                             lip_err *err) {
  char text[64], hex[65];
  lip_str kinds = {0};
  lip_bound bound;
  lip_status status = lip_bound_product(net, &bound, err);
  if (status) return status;
  for (size_t i = 0; i < bound.n; i++) lip_str_printf(&kinds, "%s%s", i > 0 ? " " : "", bound.row[i].kind);
  lip_onnx_file_meta(f, "lipwb.budget", number(text, sizeof text, net->conf.budget));
  lip_onnx_file_meta(f, "lipwb.norm", lip_pq_name(bound.pq));
  lip_onnx_file_meta(f, "lipwb.bound", number(text, sizeof text, bound.upper));
  lip_onnx_file_meta(f, "lipwb.bound_method", bound.method);
  lip_onnx_file_meta(f, "lipwb.kinds", kinds.text ? kinds.text : "");
  if (kinds.failed) lip_onnx_file_no_memory(f);
  lip_str_free(&kinds);
  lip_bound_free(&bound);
  if (!conf->certificate) return LIP_OK;
  status = lip_sha256_file(conf->certificate, hex, err);
  if (!status) lip_onnx_file_meta(f, "lipwb.certificate_sha256", hex);
  return status;
}

/* ---- the whole file ---- */

static lip_status write_net(lip_onnx_file *f, const lip_emit *e, const lip_net *net, const char *path,
                            const lip_onnx_write_conf *conf, lip_err *err) {
  lip_onnx_steps s = {.file = f, .e = e};
  s.value = lip_onnx_file_take(f, e->n, sizeof *s.value);
  if (s.value) s.value[0] = "input";
  lip_onnx_file_port(f, false, "input", &net->root->in);
  lip_onnx_file_port(f, true, "output", &net->root->out);
  if (e->out == 0)
    lip_onnx_file_node(f, "Identity", "identity", 1, (const char *const[]){"input"}, 1,
                       (const char *const[]){"output"});
  write_steps(&s, net);
  lip_status status = write_meta(f, net, conf, err);
  return status ? status : lip_onnx_file_save(f, path, err);
}

lip_status lip_onnx_write(const lip_net *net, const char *path, const lip_onnx_write_conf *conf,
                          lip_err *err) {
  lip_emit e;
  lip_status status = lip_emit_init(&e, net->root, err);
  lip_onnx_file *f = status ? NULL : lip_onnx_file_new(conf->version ? conf->version : "");
  if (!status) status = f ? write_net(f, &e, net, path, conf, err) : LIP_MEMORY;
  if (!f && status == LIP_MEMORY) status = lip_fail(err, LIP_MEMORY, "out of memory for an ONNX file");
  lip_onnx_file_free(f);
  lip_emit_free(&e);
  return status;
}
