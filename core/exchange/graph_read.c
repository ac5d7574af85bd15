#include "core/exchange/graph.h"

#include <onnx.pb-c.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/plain.h"
#include "core/data/gz.h"
#include "core/exchange/graph_parts.h"

/* ---- memory ---- */

/* What protobuf-c makes of a file may be this many times as large, and a bit: nets take 1 to 20 times, but a message of
 * two bytes that says nothing would take 250. */
enum { TIMES = 64, ANYWAY = 1 << 18, MAX_ATTRIBUTES = 64, OLDEST = 7, NEWEST = 22, NEWEST_IR = 14 };

typedef struct owner {
  lip_graph g; /* what callers see */
  lip_graph_block *blocks;
  LipOnnx__ModelProto *model; /* owns names, and numbers of attributes */
  ProtobufCAllocator memory;
  size_t left; /* bytes that the model may still take */
  bool over, failed;
} owner;

static void *model_take(void *data, size_t size) {
  owner *o = data;
  size_t all;
  if (!lip_add_fits(size, 2 * sizeof(max_align_t), &all) || all > o->left) {
    o->over = true;
    return NULL;
  }
  o->left -= all;
  void *p = lip_alloc_small(size);
  if (!p) o->failed = true;
  return p;
}

static void model_give(void *data, void *p) {
  (void)data;
  lip_free_small(p);
}

void lip_graph_free(lip_graph *g) {
  if (!g) return;
  owner *o = g->owner;
  if (o->model) lip_onnx__model_proto__free_unpacked(o->model, &o->memory);
  lip_graph_give_back(&o->blocks);
  lip_free(o);
}

/* ---- messages ---- */

typedef struct reader {
  const char *path;
  const lip_graph_conf *conf;
  lip_err *err;
  owner *o;
  lip_graph *g;
  const LipOnnx__GraphProto *from;
  lip_graph_tensor *tensor; /* of initializers */
  lip_graph_job *job;
  size_t n_job;
  size_t *number;                   /* names as numbers of values, in the order of `gather` */
  size_t *producer;                 /* of every value: a node or LIP_GRAPH_NONE */
  bool *is_input;                   /* of every value */
  size_t at_in, at_node, at_output; /* where in `number` inputs, nodes and outputs begin */
} reader;

static lip_status no_memory(const reader *r) {
  return lip_fail(r->err, LIP_MEMORY, "%.150s: out of memory", r->path);
}

static lip_status node_fault(const reader *r, const lip_graph_node *n, lip_status code, const char *what,
                             const char *which) {
  char text[LIP_GRAPH_NODE_TEXT];
  return lip_fail(r->err, code, "%.150s: %s %s%s%.60s%s", r->path, lip_graph_node_text(r->g, n, text), what,
                  which ? " '" : "", which ? which : "", which ? "'" : "");
}

static lip_status value_fault(const reader *r, size_t value, const char *what) {
  return lip_fail(r->err, LIP_FORMAT, "%.150s: value '%.80s' %s", r->path, r->g->value[value].name, what);
}

/* ---- the model ---- */

static lip_status unpack(reader *r) {
  owner *o = r->o;
  char *bytes;
  size_t n;
  lip_status s = lip_read_file(r->path, LIP_GRAPH_LIMIT, &bytes, &n, NULL, r->err);
  if (s) return s;
  o->memory = (ProtobufCAllocator){model_take, model_give, o};
  o->left = TIMES * n + ANYWAY;
  o->model = lip_onnx__model_proto__unpack(&o->memory, n, (const uint8_t *)bytes);
  lip_free(bytes);
  if (o->model) return LIP_OK;
  if (o->failed) return no_memory(r);
  return lip_fail(r->err, LIP_FORMAT,
                  o->over ? "%.150s: not an ONNX file: it is made of more parts than a net has"
                          : "%.150s: not an ONNX file, or cut or damaged",
                  r->path);
}

static bool standard(const char *domain) {
  return !domain || domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
}

static lip_status check_opset(reader *r) {
  const LipOnnx__ModelProto *m = r->o->model;
  int64_t opset = 1; /* what files without a word about it are */
  for (size_t k = 0, seen = 0; k < m->n_opset_import; k++) {
    const LipOnnx__OperatorSetIdProto *id = m->opset_import[k];
    if (!standard(id->domain)) continue;
    if (seen++ && id->version != opset)
      return lip_fail(r->err, LIP_FORMAT, "%.150s: asks for two versions of the standard operators", r->path);
    opset = id->version;
  }
  r->g->opset = opset;
  if (opset >= OLDEST && opset <= NEWEST) return LIP_OK;
  return lip_fail(
      r->err, LIP_UNSUPPORTED,
      "%.150s: opset %lld; opsets %d to %d are read: export it with one of them (17, say), or convert it "
      "with onnx.version_converter",
      r->path, (long long)opset, OLDEST, NEWEST);
}

static lip_status check_model(reader *r) {
  const LipOnnx__ModelProto *m = r->o->model;
  if (!m->has_ir_version || m->ir_version < 1 || !m->graph)
    return lip_fail(r->err, LIP_FORMAT, "%.150s: not an ONNX file: it has no %s", r->path,
                    m->graph ? "version" : "graph");
  if (m->ir_version > NEWEST_IR)
    return lip_fail(r->err, LIP_UNSUPPORTED, "%.150s: version %lld of ONNX's file format; up to %d are read",
                    r->path, (long long)m->ir_version, NEWEST_IR);
  lip_status s = check_opset(r);
  if (s) return s;
  for (size_t k = 0; k < m->n_functions; k++)
    if (standard(m->functions[k]->domain))
      return lip_fail(
          r->err, LIP_UNSUPPORTED,
          "%.150s: defines the standard operator '%.60s' by itself; export it with functions inlined",
          r->path, m->functions[k]->name ? m->functions[k]->name : "");
  if (m->graph->n_sparse_initializer > 0) {
    const LipOnnx__TensorProto *t = m->graph->sparse_initializer[0]->values;
    return lip_fail(r->err, LIP_UNSUPPORTED, "%.150s: constant '%.80s' is sparse; store it in full", r->path,
                    t && t->name ? t->name : "");
  }
  r->from = m->graph;
  r->g->producer = m->producer_name ? m->producer_name : "";
  return LIP_OK;
}

/* ---- names ---- */

static const char *text_of(const char *name) {
  return name ? name : "";
}

/* Every name in the file: initializers', inputs', of each node the outputs and the inputs, outputs'. */
static size_t gather(const LipOnnx__GraphProto *from, const char **name, reader *r) {
  size_t n = 0;
  for (size_t k = 0; k < from->n_initializer; k++, n++)
    if (name) name[n] = text_of(from->initializer[k]->name);
  r->at_in = n;
  for (size_t k = 0; k < from->n_input; k++, n++)
    if (name) name[n] = text_of(from->input[k]->name);
  r->at_node = n;
  for (size_t k = 0; k < from->n_node; k++) {
    const LipOnnx__NodeProto *p = from->node[k];
    for (size_t i = 0; i < p->n_output; i++, n++)
      if (name) name[n] = p->output[i];
    for (size_t i = 0; i < p->n_input; i++, n++)
      if (name) name[n] = p->input[i];
  }
  r->at_output = n;
  for (size_t k = 0; k < from->n_output; k++, n++)
    if (name) name[n] = text_of(from->output[k]->name);
  return n;
}

static lip_status number_names(reader *r) {
  lip_graph *g = r->g;
  size_t n = gather(r->from, NULL, r);
  const char **name = lip_alloc(n, sizeof *name);
  size_t *first = lip_alloc(n, sizeof *first);
  r->number = lip_graph_take(&r->o->blocks, n, sizeof *r->number);
  lip_status s = name && first && r->number ? LIP_OK : LIP_MEMORY;
  if (!s) {
    gather(r->from, name, r);
    s = lip_graph_number(name, n, r->number, first, &g->n_value);
  }
  if (!s) {
    g->value = lip_graph_take(&r->o->blocks, g->n_value, sizeof *g->value);
    r->producer = lip_graph_take(&r->o->blocks, g->n_value, sizeof *r->producer);
    r->is_input = lip_graph_take(&r->o->blocks, g->n_value, sizeof *r->is_input);
    if (!g->value || !r->producer || !r->is_input) s = LIP_MEMORY;
  }
  for (size_t v = 0; v < g->n_value && !s; v++) {
    g->value[v].name = name[first[v]];
    r->producer[v] = LIP_GRAPH_NONE;
  }
  lip_free(name);
  lip_free(first);
  return s ? no_memory(r) : LIP_OK;
}

/* ---- inputs and outputs ---- */

static lip_status take_type(const reader *r, const LipOnnx__ValueInfoProto *p, lip_graph_value *v) {
  if (!p->type) return LIP_OK;
  const LipOnnx__TypeProto__Tensor *t = p->type->tensor_type;
  if (!t)
    return lip_fail(r->err, LIP_UNSUPPORTED, "%.150s: '%.80s' is no tensor, but a sequence or the like",
                    r->path, v->name);
  v->type = t->has_elem_type ? t->elem_type : 0;
  if (!t->shape) return LIP_OK;
  if (t->shape->n_dim > LIP_GRAPH_DIMS)
    return lip_fail(r->err, LIP_UNSUPPORTED, "%.150s: '%.80s' has %zu dimensions; up to %d are read", r->path,
                    v->name, t->shape->n_dim, LIP_GRAPH_DIMS);
  v->shaped = true;
  v->ndim = (int)t->shape->n_dim;
  for (int d = 0; d < v->ndim; d++) {
    const LipOnnx__TensorShapeProto__Dimension *dim = t->shape->dim[d];
    v->dim[d] = dim->has_dim_value && dim->dim_value > 0 ? dim->dim_value : -1; /* 0 and -1 mean the same */
  }
  return LIP_OK;
}

static lip_status take_inputs(reader *r) {
  lip_graph *g = r->g;
  g->input = lip_graph_take(&r->o->blocks, r->from->n_input, sizeof *g->input);
  if (!g->input) return no_memory(r);
  for (size_t k = 0; k < r->from->n_input; k++) {
    size_t v = r->number[r->at_in + k];
    if (v == LIP_GRAPH_NONE)
      return lip_fail(r->err, LIP_FORMAT, "%.150s: input %zu has no name", r->path, k + 1);
    if (r->is_input[v]) return value_fault(r, v, "is an input twice");
    r->is_input[v] = true;
    if (g->value[v].constant) continue; /* files of old versions list initializers among the inputs */
    g->input[g->n_input++] = v;
    lip_status s = take_type(r, r->from->input[k], &g->value[v]);
    if (s) return s;
  }
  return LIP_OK;
}

static bool is_given(const reader *r, size_t v) {
  return r->is_input[v] || r->g->value[v].constant || r->producer[v] != LIP_GRAPH_NONE;
}

static lip_status take_outputs(reader *r) {
  lip_graph *g = r->g;
  if (r->from->n_output == 0) return lip_fail(r->err, LIP_FORMAT, "%.150s: the net has no output", r->path);
  g->output = lip_graph_take(&r->o->blocks, r->from->n_output, sizeof *g->output);
  if (!g->output) return no_memory(r);
  for (size_t k = 0; k < r->from->n_output; k++) {
    size_t v = r->number[r->at_output + k];
    if (v == LIP_GRAPH_NONE)
      return lip_fail(r->err, LIP_FORMAT, "%.150s: output %zu has no name", r->path, k + 1);
    if (!is_given(r, v)) return value_fault(r, v, "is an output, but no node computes it");
    g->output[g->n_output++] = v;
    if (r->is_input[v]) continue; /* its type is known */
    lip_status s = take_type(r, r->from->output[k], &g->value[v]);
    if (s) return s;
  }
  return LIP_OK;
}

/* ---- nodes ---- */

static lip_status take_attribute(reader *r, const lip_graph_node *n, const LipOnnx__AttributeProto *p,
                                 lip_graph_attribute *a) {
  char *text;
  a->name = text_of(p->name);
  a->type = LIP_GRAPH_OTHER;
  if (a->name[0] == '\0') return node_fault(r, n, LIP_FORMAT, "has an attribute without a name", NULL);
  if (!p->has_type) return node_fault(r, n, LIP_FORMAT, "has an attribute without a type:", a->name);
  if (p->ref_attr_name && p->ref_attr_name[0])
    return node_fault(r, n, LIP_FORMAT, "has an attribute that only a function could have:", a->name);
  switch (p->type) {
  case 1:
    a->type = LIP_GRAPH_FLOAT;
    a->f = p->f;
    break;
  case 2:
    a->type = LIP_GRAPH_INT;
    a->i = p->i;
    break;
  case 3:
    a->type = LIP_GRAPH_TEXT;
    if (p->s.len > 0 && memchr(p->s.data, '\0', p->s.len))
      return node_fault(r, n, LIP_FORMAT, "has a zero byte in its attribute", a->name);
    a->text = text = lip_graph_take(&r->o->blocks, p->s.len + 1, 1);
    if (!text) return no_memory(r);
    if (p->s.len > 0) memcpy(text, p->s.data, p->s.len);
    break;
  case 4:
    a->type = LIP_GRAPH_TENSOR;
    if (!p->t) return node_fault(r, n, LIP_FORMAT, "lacks the numbers of its attribute", a->name);
    r->job[r->n_job++] = (lip_graph_job){.from = p->t, .to = &a->tensor, .node = n};
    break;
  case 6:
    a->type = LIP_GRAPH_FLOATS;
    a->n = p->n_floats;
    a->floats = p->floats;
    break;
  case 7:
    a->type = LIP_GRAPH_INTS;
    a->n = p->n_ints;
    a->ints = p->ints;
    break;
  default: break;
  }
  return LIP_OK;
}

static lip_status take_attributes(reader *r, lip_graph_node *n, const LipOnnx__NodeProto *p,
                                  lip_graph_attribute *a) {
  n->attribute = a;
  n->n_attribute = p->n_attribute;
  if (p->n_attribute > MAX_ATTRIBUTES)
    return node_fault(r, n, LIP_FORMAT, "has more attributes than any operator", NULL);
  for (size_t k = 0; k < p->n_attribute; k++) {
    lip_status s = take_attribute(r, n, p->attribute[k], &a[k]);
    if (s) return s;
    for (size_t i = 0; i < k; i++)
      if (strcmp(a[i].name, a[k].name) == 0)
        return node_fault(r, n, LIP_FORMAT, "has the same attribute twice:", a[k].name);
  }
  return LIP_OK;
}

/* Room for nodes, and for all constants of the file. */
static lip_status prepare(reader *r, lip_graph_attribute **attribute) {
  const LipOnnx__GraphProto *from = r->from;
  size_t attributes = 0, tensors = from->n_initializer;
  for (size_t k = 0; k < from->n_node; k++) {
    const LipOnnx__NodeProto *p = from->node[k];
    attributes += p->n_attribute;
    for (size_t i = 0; i < p->n_attribute; i++) tensors += p->attribute[i]->t != NULL;
  }
  r->g->node = lip_graph_take(&r->o->blocks, from->n_node, sizeof *r->g->node);
  *attribute = lip_graph_take(&r->o->blocks, attributes, sizeof **attribute);
  r->tensor = lip_graph_take(&r->o->blocks, from->n_initializer, sizeof *r->tensor);
  r->job = lip_alloc(tensors, sizeof *r->job);
  return r->g->node && *attribute && r->tensor && r->job ? LIP_OK : no_memory(r);
}

static lip_status take_initializers(reader *r) {
  for (size_t k = 0; k < r->from->n_initializer; k++) {
    size_t v = r->number[k];
    if (v == LIP_GRAPH_NONE) return lip_fail(r->err, LIP_FORMAT, "%.150s: a constant has no name", r->path);
    if (r->g->value[v].constant) return value_fault(r, v, "is a constant twice");
    r->g->value[v].constant = &r->tensor[k];
    r->job[r->n_job++] = (lip_graph_job){.from = r->from->initializer[k], .to = &r->tensor[k]};
  }
  return LIP_OK;
}

static lip_status take_node(reader *r, size_t k, size_t *at, lip_graph_attribute *a) {
  const LipOnnx__NodeProto *p = r->from->node[k];
  lip_graph_node *n = &r->g->node[k];
  *n = (lip_graph_node){
      .op = text_of(p->op_type), .name = text_of(p->name), .n_in = p->n_input, .n_out = p->n_output};
  n->out = r->number + *at;
  n->in = n->out + n->n_out;
  *at += n->n_out + n->n_in;
  if (n->op[0] == '\0') return node_fault(r, n, LIP_FORMAT, "has no operator", NULL);
  if (!standard(p->domain))
    return node_fault(r, n, LIP_UNSUPPORTED, "is no standard operator; export the net without the domain",
                      p->domain);
  for (size_t i = 0; i < n->n_out; i++) {
    size_t v = n->out[i];
    if (v == LIP_GRAPH_NONE) continue;
    if (is_given(r, v))
      return node_fault(r, n, LIP_FORMAT, "computes a value that is there already:", r->g->value[v].name);
    r->producer[v] = k;
  }
  return take_attributes(r, n, p, a);
}

static lip_status take_nodes(reader *r, lip_graph_attribute *attribute) {
  lip_graph *g = r->g;
  size_t at = r->at_node;
  for (size_t k = 0; k < r->from->n_node; k++) {
    g->n_node++;
    lip_status s = take_node(r, k, &at, attribute);
    if (s) return s;
    attribute += g->node[k].n_attribute;
  }
  for (size_t k = 0; k < g->n_node; k++)
    for (size_t i = 0; i < g->node[k].n_in; i++) {
      size_t v = g->node[k].in[i];
      if (v != LIP_GRAPH_NONE && !is_given(r, v))
        return node_fault(r, &g->node[k], LIP_FORMAT,
                          "takes a value that nothing computes:", g->value[v].name);
    }
  return LIP_OK;
}

/* ---- constants ---- */

/* The message's own copy is not needed any more. */
static void drop(owner *o, LipOnnx__TensorProto *p) {
  model_give(o, p->raw_data.data);
  p->raw_data = (ProtobufCBinaryData){0, NULL};
  model_give(o, p->float_data);
  p->float_data = NULL;
  p->n_float_data = 0;
}

static lip_status read_constants(reader *r) {
  lip_graph_source s = {r->path, r->g, r->conf->round, &r->o->blocks, r->err};
  lip_status code = LIP_OK;
  for (size_t k = 0; k < r->n_job && !code; k++) code = lip_graph_measure(&s, &r->job[k]);
  if (!code) code = lip_graph_place(&s, r->job, r->n_job);
  for (size_t k = 0; k < r->n_job && !code; k++) {
    lip_graph_job *job = &r->job[k];
    unsigned char *bytes = NULL;
    if (job->file) code = lip_graph_fetch(&s, job, &bytes);
    if (!code) code = lip_graph_decode(&s, job, bytes);
    lip_free(bytes);
    drop(r->o, job->from);
    if (job->to->rounded) r->g->rounded = true;
  }
  return code;
}

/* ---- all of it ---- */

static lip_status read_graph(reader *r) {
  lip_graph_attribute *attribute = NULL;
  lip_status s = unpack(r);
  if (!s) s = check_model(r);
  if (!s) s = number_names(r);
  if (!s) s = prepare(r, &attribute);
  if (!s) s = take_initializers(r);
  if (!s) s = take_inputs(r);
  if (!s) s = take_nodes(r, attribute);
  if (!s) s = take_outputs(r);
  if (!s) s = read_constants(r);
  if (!s) s = lip_graph_sort(r->g, r->producer, r->path, r->err);
  if (!s) s = lip_graph_settle(r->g, &r->o->blocks, r->path, r->err);
  for (size_t k = 0; k < r->n_job; k++) lip_free(r->job[k].file);
  lip_free(r->job);
  return s;
}

lip_status lip_graph_open(const char *path, const lip_graph_conf *conf, lip_graph **out, lip_err *err) {
  lip_err mine;
  *out = NULL;
  owner *o = lip_alloc(1, sizeof *o);
  if (!o) return lip_fail(err, LIP_MEMORY, "%.150s: out of memory", path);
  o->g.owner = o;
  reader r = {.path = path, .conf = conf, .err = err ? err : &mine, .o = o, .g = &o->g};
  lip_status s = read_graph(&r);
  if (s == LIP_OK) {
    *out = &o->g;
    return LIP_OK;
  }
  lip_graph_free(&o->g);
  /* names come from the file, and messages go to terminals */
  r.err->msg[lip_str_plain(r.err->msg, r.err->msg, strlen(r.err->msg), false)] = '\0';
  return s;
}
