/* Options, specs and the settings of a net as JSON, through the options tables of base/opt.h: a new kind of layer
 * or optimiser is stored and read back without a line here.
 *
 *   conf  {"out": 128, "bias": true, ...}: every option, by name
 *   spec  {"kind": "dense", "options": conf} and for containers also "children": [spec, ...]; of a kind that is not in the
 *         registry also "origin": where its definition stands
 *   net   {"input": [1,28,28], "norm": "1->inf", "budget": 4, "layer_budgets": [], "projection": "euclidean",
 *          "project_every": 1, "init": "orthogonal", "seed": "1"}
 *
 * 64-bit counters are texts of decimal digits: JSON numbers do not carry them everywhere. */
#ifndef LIP_IO_SPEC_JSON_H
#define LIP_IO_SPEC_JSON_H

#include "core/base/error.h"
#include "core/base/opt.h"
#include "core/io/json.h"
#include "core/layer/layer.h"
#include "core/net/net.h"

/* Containers may be nested this deep (their JSON stays within LIP_JSON_MAX_DEPTH). */
#define LIP_SPEC_MAX_NESTING 16

/* Writers: *out is owned (lip_json_free) and NULL on failure. LIP_MEMORY; LIP_UNSUPPORTED for a kind that is not in
 * the registry and states no origin, or containers nested too deep. */
lip_status lip_conf_to_json(const lip_desc *desc, const void *conf, lip_json **out, lip_err *err);
lip_status lip_spec_to_json(const lip_spec *spec, lip_json **out, lip_err *err);
lip_status lip_specs_to_json(lip_spec *const *specs, size_t n, lip_json **out, lip_err *err);
lip_status lip_net_conf_to_json(const lip_net_conf *conf, lip_json **out, lip_err *err);

/* Readers: unknown kinds and options, wrong types and values out of range are LIP_FORMAT with the reason; options that
 * are missing take their default. LIP_MEMORY. On failure nothing is left behind. Kinds that are not in the registry are
 * asked of `engine` (NULL: nobody). */
lip_status lip_conf_from_json(const lip_desc *desc, const lip_json *v, void **conf, lip_err *err);
lip_status lip_spec_from_json(const lip_json *v, const lip_engine *engine, lip_spec **out, lip_err *err);
/* An array of specs, each to be freed and then the list itself: lip_specs_free. */
lip_status lip_specs_from_json(const lip_json *v, const lip_engine *engine, lip_spec ***out, size_t *n,
                               lip_err *err);
void lip_specs_free(lip_spec **specs, size_t n);
/* conf->layer_budgets.v is owned by the caller: lip_free. */
lip_status lip_net_conf_from_json(const lip_json *v, lip_net_conf *conf, lip_err *err);

/* Counters as decimal digits. */
lip_json *lip_json_new_counter(uint64_t v);
bool lip_json_counter(const lip_json *v, uint64_t *out);

#endif
