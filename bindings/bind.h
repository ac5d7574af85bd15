/* What every binding file shares: errors, options, userdata, memory accounting. Only this folder knows Lua.
 *
 * Two kinds of failure (Lua's own convention): misuse raises an error that names the argument, what was expected and
 * what came; the outside world (files, data, disk, signals) returns nil, message, code. */
#ifndef LIP_BIND_H
#define LIP_BIND_H

#include <stdbool.h>
#include <stddef.h>

#include <lauxlib.h>
#include <lua.h>

#include "core/lip.h"

/* ---- types: one metatable name each ---- */
#define LIP_TENSOR_T "lip.tensor"
#define LIP_SPEC_T "lip.spec"
#define LIP_NET_T "lip.net"
#define LIP_LOSS_T "lip.loss"
#define LIP_OPTIM_T "lip.optim"
#define LIP_SCHEDULE_T "lip.schedule"
#define LIP_DATASET_T "lip.dataset"
#define LIP_LOADER_T "lip.loader"
#define LIP_RNG_T "lip.rng"
#define LIP_CERTIFIER_T "lip.certifier"
#define LIP_DB_T "lip.db"
#define LIP_PROCESS_T "lip.process"

/* Each file has one opener that adds its functions to the module table on top of the stack (and leaves it there). */
void lipL_open_tensor(lua_State *L);
void lipL_open_make(lua_State *L);
void lipL_open_math(lua_State *L);
void lipL_open_along(lua_State *L);
void lipL_open_npy(lua_State *L);
void lipL_open_tensors(lua_State *L);
void lipL_open_load_weights(lua_State *L);
void lipL_open_rng(lua_State *L);
void lipL_open_norm(lua_State *L);
void lipL_open_spec(lua_State *L);
void lipL_open_layer(lua_State *L);
void lipL_open_projection(lua_State *L);
void lipL_open_net(lua_State *L);
void lipL_open_net_info(lua_State *L);
void lipL_open_train(lua_State *L);
void lipL_open_loss(lua_State *L);
void lipL_open_update(lua_State *L);
void lipL_open_cert(lua_State *L);
void lipL_open_bound(lua_State *L);
void lipL_open_certify(lua_State *L);
void lipL_open_certificate(lua_State *L);
void lipL_open_check(lua_State *L);
void lipL_open_attack(lua_State *L);
void lipL_open_property(lua_State *L);
void lipL_open_vnnlib(lua_State *L);
void lipL_open_onnx(lua_State *L);
void lipL_open_enclose(lua_State *L);
void lipL_open_decide(lua_State *L);
void lipL_open_data(lua_State *L);
void lipL_open_sys(lua_State *L);
void lipL_open_io(lua_State *L);
void lipL_open_export(lua_State *L);
void lipL_open_json(lua_State *L);
void lipL_open_unpack(lua_State *L);
void lipL_open_db(lua_State *L);
void lipL_open_file(lua_State *L);
void lipL_open_process(lua_State *L);
void lipL_open_script(lua_State *L);
/* The module: a new table with everything above; luaopen_lip_core returns it. */
LUAMOD_API int luaopen_lip_core(lua_State *L);

/* ---- errors ---- */

/* Misuse: raises err->msg with the position of the caller. Never returns. Release everything first: it longjmps. */
int lipL_raise(lua_State *L, const lip_err *err);
/* The outside world: pushes nil, message, code name; returns 3. */
int lipL_fail(lua_State *L, const lip_err *err);
/* By code: IO, NOT_FOUND, FORMAT, CANCELLED, MEMORY, NOT_FINITE give nil, message, code; the others raise. */
int lipL_fault(lua_State *L, const lip_err *err);
/* luaL_argerror for an argument of the call; for a value that is none (idx < 0) an error without a number. */
int lipL_argerror(lua_State *L, int idx, const char *message);
/* The name of a file: a text without a zero byte, which C would take for its end. */
const char *lipL_checkpath(lua_State *L, int idx);
/* nil, "path: cannot <what>: <why>", code for an errno; returns 3. */
int lipL_refuse(lua_State *L, const char *path, const char *what, int error);

/* ---- userdata ---- */

/* Registers a metatable `name`: `methods` become __index, `meta` the metamethods (__gc, __tostring, __len, ...);
 * __metatable hides it. Either list may be NULL. */
void lipL_newtype(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);
/* Adds to the methods of a type that another file has registered. */
void lipL_addmethods(lua_State *L, const char *name, const luaL_Reg *methods);
/* plain_numbers() -> guard: from here until it is closed, Lua's own conversions between numbers and texts use a point
 * whatever os.setlocale was told (core/base/number.h). For `local _ <close> = ...` in modules that write for machines. */
int lipL_plain_numbers(lua_State *L);
/* The same until the C function under way returns or raises; leaves one value on the stack, which must stay there. */
void lipL_numbers(lua_State *L);
/* Zeroed userdata of that type, pushed, with `user_values` user values: make the handle harmless, then fill it. */
void *lipL_newobject(lua_State *L, const char *type, size_t size, int user_values);
/* "dense spec", "nil", "number 3", "lip.tensor": what stands at idx, for messages. buf is returned. */
const char *lipL_typetext(lua_State *L, int idx, char *buf, size_t size);

/* Tells the collector about `bytes` of C memory just taken (Lua sees only the small handle). */
void lipL_account(lua_State *L, size_t bytes);

/* ---- options: tables by name ---- */

/* A new conf from the named options of the table at idx (absent or nil: defaults; integer keys are left alone).
 * Raises on unknown names, wrong types, values out of range and missing required options. The conf belongs to a
 * userdata pushed on the stack (collected with it); the same conf is returned. `ignore` (NULL-terminated, may be
 * NULL) lists names the caller reads itself. */
void *lipL_checkconf(lua_State *L, int idx, const lip_desc *desc, const char *const *ignore);
/* Sets one option from the value at idx; raises. */
void lipL_setoption(lua_State *L, int idx, const lip_desc *desc, void *conf, const char *name);
/* Pushes a table describing the options of a row: { {name=, type=, default=, required=, help=, choices=}, ... }. */
void lipL_pushoptions(lua_State *L, const lip_desc *desc);
/* Pushes the value of one option of a conf (number, boolean, string, list). */
void lipL_pushoption(lua_State *L, const lip_opt *opt, const void *conf);

/* Field helpers for tables of named arguments; idx is the table (or nil: absent). They raise naming `what.name`. */
bool lipL_optfield_bool(lua_State *L, int idx, const char *what, const char *name, bool def);
double lipL_optfield_number(lua_State *L, int idx, const char *what, const char *name, double def);
/* Pushes the field: nil (false), or an object of that type; raises naming what was `expected`. */
bool lipL_optfield_object(lua_State *L, int idx, const char *what, const char *name, const char *type,
                          const char *expected);
size_t lipL_optfield_size(lua_State *L, int idx, const char *what, const char *name, size_t def);
/* Replaces the table at idx by one that only this call knows: its list, raw, its other pairs, and the fields in the
 * NULL-terminated list as metamethods give them, each asked once. What is read later (and what is borrowed: texts,
 * elements) then depends on no code of the script's, which may run in __index and in any finaliser. */
void lipL_owntable(lua_State *L, int idx, const char *const *fields);
/* Raises unless every string key of the table at idx is in the list; then lipL_owntable. */
void lipL_checkfields(lua_State *L, int idx, const char *what, const char *const *known);

/* ---- tensors ---- */

/* The tensor at idx; raises naming the argument. Lent. */
lip_tensor *lipL_checktensor(lua_State *L, int idx);
lip_tensor *lipL_testtensor(lua_State *L, int idx); /* NULL when it is something else */
/* A tensor whose memory (its own, or that of the object it shows) has not been finalised. */
bool lipL_tensor_alive(lua_State *L, int idx);
/* Pushes a new zero-filled owner; raises on overflow or no memory. */
lip_tensor *lipL_newtensor(lua_State *L, int ndim, const size_t *shape);
/* Pushes a view; the object at `parent` (its owner) is kept alive by it. */
lip_tensor *lipL_pushview(lua_State *L, const lip_tensor *view, int parent);
/* What the numbers of a tensor count. Classes count from 0, as labels do; positions (argmax, argmin, sort) from
 * 1, as everything in Lua does. One beside the other in an operation is a mistake that no number would show.
 * Of numbers that were written one by one, or through another view of the same memory, nothing is known. */
typedef enum lipL_meaning { LIPL_NUMBERS, LIPL_CLASSES, LIPL_POSITIONS } lipL_meaning;
lipL_meaning lipL_meaning_of(lua_State *L, int idx); /* LIPL_NUMBERS for what is no tensor */
void lipL_mean(lua_State *L, int idx, lipL_meaning meaning);
/* A contiguous version of the tensor at idx: itself, or a copy pushed in its place (replaces the stack slot). */
const lip_tensor *lipL_contiguous(lua_State *L, int idx);

/* ---- objects of other files ---- */
lip_spec *lipL_checkspec(lua_State *L,
                         int idx);              /* lent; of a definition (lip.layer) that with its defaults */
lip_spec *lipL_testspec(lua_State *L, int idx); /* NULL when it is something else */
/* Pushes a spec with the options, and layers inside, of the table at idx (or nil); returns 1, raises. */
int lipL_newspec(lua_State *L, int idx, const lip_layer_kind *kind);
extern const luaL_Reg lipL_spec_methods[];
/* The spec on top of the stack, element i of what `what` was given; raises. */
lip_spec *lipL_checkelement(lua_State *L, const char *what, size_t i);
lip_net *lipL_checknet(lua_State *L,
                       int idx); /* lent; raises on a net that failed to load, and on one that runs */
/* The same for what runs or changes the net: raises also inside of a loss written in Lua that is being computed. */
lip_net *lipL_checkidle(lua_State *L, int idx);
/* After a pass or a bound: what a layer written in Lua could not do raises, or pushes nil, message, code: how many values;
 * 0: nothing went wrong. */
int lipL_netfault(lua_State *L, const lip_net *net);
/* Room for batches of B rows; the collector is told. */
void lipL_reserve(lua_State *L, lip_net *net, size_t B);
void lipL_pushnet(lua_State *L, lip_net *net); /* takes ownership (frees it should Lua fail) */
lip_loss *lipL_checkloss(lua_State *L, int idx);
lip_optim *lipL_checkoptim(lua_State *L, int idx);
void lipL_pushoptim(lua_State *L, lip_optim *opt); /* takes ownership */
lip_dataset *lipL_checkdataset(lua_State *L, int idx);
lip_dataset *lipL_testdataset(lua_State *L, int idx);

/* Class labels from the argument at idx: a table or 1-D tensor of whole numbers in 0..classes-1, B of them; for two
 * classes, or as many as there may be, also of -1 and 1 alone, which become 0 and 1 (true: they did). Writes them to `out`; raises
 * naming the argument, the position and what came. */
bool lipL_checklabels(lua_State *L, int idx, size_t B, size_t classes, int32_t *out);

/* ---- layers written in Lua (bind_kind.c, bind_layer_run.c) ---- */

/* Before any use of a net that has such layers: raises where one of them is running, else forgets what failed before. */
void lipL_enternet(lua_State *L, int idx, lip_net *net);
/* Inputs and targets of a step where no function of a script can end or change them. What holds them is pushed. */
const float *lipL_keeprows(lua_State *L, lip_net *net, const float *x, size_t B, lip_targets *t);

const lip_projection *lipL_testprojection(lua_State *L, int idx); /* lent; NULL: something else */
/* Where the projections of a net's weights stand that a script has made, "net: a.lua:3, layer 3 (dense): b.lua:1", pushed; NULL
 * and nil when there are none. */
const char *lipL_projectedtext(lua_State *L, const lip_net *net);
lip_spec *lipL_testdefinition(lua_State *L,
                              int idx); /* its spec with the default options, lent; NULL: something else */
/* The spec or net at idx, made with user values (1, 2), keeps the definitions that it uses. */
void lipL_keeplayers(lua_State *L, int idx, const lip_spec *spec);
void lipL_keepnet(lua_State *L, int idx, const lip_net *net);
/* L is about to use a net with such layers: their functions run there. */
void lipL_calledfrom(lua_State *L);
/* While functions of a script run inside of a net, what its call works with may not be ended (a script can ask for that:
 * debug.getmetatable(x).__gc(x)): finalisers leave pinned objects alone. lipL_pin returns what lipL_unpin takes back to. */
size_t lipL_pin(const void *object);
void lipL_unpin(size_t before);
bool lipL_pinned(const void *object);
/* For lip_engine.find_kind; arg is the host. */
const lip_layer_kind *lipL_findlayer(void *arg, const char *name);
struct lipL_host *lipL_layerhost(lua_State *L);
/* The weights of a net whose layers may run a script's functions, pushed as a copy (else nil and NULL), and raising unless
 * they are still the same: what was proved is about them. */
const float *lipL_weightsnow(lua_State *L, const lip_net *net);
void lipL_checkweights(lua_State *L, const char *what, const lip_net *net, const float *before);
/* The tensor at idx becomes a copy that only this call knows, if a script's functions may run meanwhile. */
void lipL_keepown(lua_State *L, int idx, const lip_net *net);
/* Sets field `assumed` of the table on top of the stack to a list of the layers whose constants rest on the word of the
 * script; no field when there are none. */
void lipL_setassumed(lua_State *L, const lip_net *net);
/* The same as one text, pushed; NULL and nil when there are none. */
const char *lipL_assumedtext(lua_State *L, const lip_net *net);

/* The option `arithmetic` of the table at idx; raises. `real` allows "real". */
lip_arithmetic lipL_optarithmetic(lua_State *L, int idx, const char *what, bool real);
/* net:forward and net:predict in double; results as those have them, or nil, message, code. */
int lipL_wide_forward(lua_State *L, lip_net *net, const float *x, size_t B);
int lipL_wide_predict(lua_State *L, lip_net *net, const float *x, size_t B);

/* ---- the process ---- */

/* Threads and cancel flag shared by every net of this Lua state; made at the first use. */
lip_engine *lipL_engine(lua_State *L);
/* The cancel flag a SIGINT handler raises (one per process). */
lip_cancel *lipL_cancel(void);
/* Loads the text of a script as Lua loads a file (first line with #, byte-order mark); results as luaL_loadbuffer. */
int lipL_loadscript(lua_State *L, const char *text, size_t n, const char *name);

#endif
