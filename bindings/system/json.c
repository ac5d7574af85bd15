/* lip.to_json(value): a Lua value as JSON on one line, for result rows. Keys in alphabetical order, so that equal rows
 * give equal lines. lip.from_json(text): the way back. lip.utf8(text): a text that to_json accepts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "core/io/json.h"

/* The root hangs on a userdata and every container is put into its parent before it is filled, so that an error raised
 * by Lua on the way (a __tostring, no memory) leaks nothing. */
typedef struct json_box {
  lip_json *root;
} json_box;

#define JSON_T "lip.json"

static int box_gc(lua_State *L) {
  json_box *box = luaL_checkudata(L, 1, JSON_T);
  lip_json_free(box->root);
  box->root = NULL;
  return 0;
}

/* JSON has no NaN; a text says it better than a missing value. */
static lip_json *number_node(lua_State *L, int idx) {
  if (lua_isinteger(L, idx)) return lip_json_new_signed(lua_tointeger(L, idx));
  double v = lua_tonumber(L, idx);
  return isnan(v) ? lip_json_new_text("nan") : lip_json_new_number(v);
}

static lip_json *leaf(lua_State *L, int idx) {
  switch (lua_type(L, idx)) {
  case LUA_TNUMBER: return number_node(L, idx);
  case LUA_TBOOLEAN: return lip_json_new_bool(lua_toboolean(L, idx));
  default: break;
  }
  size_t n;
  const char *text = luaL_tolstring(L, idx, &n); /* tensors and the like: as they print */
  return strlen(text) == n ? lip_json_new_text(text) : NULL;
}

static bool is_list(lua_State *L, int idx) {
  return lua_rawlen(L, idx) > 0;
}

/* An empty container for a table, else the finished leaf. */
static lip_json *new_node(lua_State *L, int idx) {
  if (lua_istable(L, idx)) return is_list(L, idx) ? lip_json_new_array() : lip_json_new_object();
  int top = lua_gettop(L);
  lip_json *v = leaf(L, idx);
  lua_settop(L, top);
  return v;
}

static bool fill(lua_State *L, int idx, lip_json *container, int depth);

/* Puts the value on top of the stack into `parent` (under `key`, or at the end of a list) and pops it. False at an
 * interrupt, too. */
static bool put(lua_State *L, lip_json *parent, const char *key, int depth) {
  if (lip_cancel_raised(lipL_cancel())) return false;
  lip_json *v = new_node(L, lua_gettop(L));
  bool ok = key ? lip_json_set(parent, key, v) : lip_json_append(parent, v);
  ok = ok && fill(L, lua_gettop(L), v, depth + 1);
  lua_pop(L, 1);
  return ok;
}

static bool add_elements(lua_State *L, int idx, lip_json *array, int depth) {
  bool ok = true;
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
  for (lua_Integer i = 1; ok && i <= n; i++) {
    lua_rawgeti(L, idx, i);
    ok = put(L, array, NULL, depth);
  }
  return ok;
}

/* A key as it is written, and which one it is: texts of numbers and objects need not be the key itself. */
typedef struct member {
  const char *text;
  lua_Integer at;
} member;

static int by_text(const void *a, const void *b) {
  const member *u = a, *v = b;
  int order = strcmp(u->text, v->text); /* bytes: equal rows give equal lines in every locale */
  return order ? order : u->at < v->at ? -1 : u->at > v->at;
}

/* Pushes a list {text, key, text, key, ...} of the table at idx: numbers are written as texts ("0.03"). */
static lua_Integer push_keys(lua_State *L, int idx) {
  lua_newtable(L);
  int keys = lua_gettop(L);
  lua_Integer n = 0;
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    lua_pop(L, 1);
    luaL_tolstring(L, -1, NULL);
    lua_rawseti(L, keys, 2 * n + 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, keys, 2 * n + 2);
    n++;
  }
  return n;
}

/* Pushes the n members of the list at `keys`, sorted; their texts are lent by it. NULL: a text with a zero byte. */
static const member *push_members(lua_State *L, int keys, lua_Integer n) {
  member *list = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *list, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_rawgeti(L, keys, 2 * i + 1);
    list[i] = (member){lua_tostring(L, -1), 2 * i + 1};
    bool whole = strlen(list[i].text) == lua_rawlen(L, -1);
    lua_pop(L, 1);
    if (!whole) return NULL;
  }
  qsort(list, (size_t)n, sizeof *list, by_text);
  return list;
}

static bool add_members(lua_State *L, int idx, lip_json *object, int depth) {
  lua_Integer n = push_keys(L, idx);
  int keys = lua_gettop(L);
  const member *list = push_members(L, keys, n);
  bool ok = list != NULL;
  for (lua_Integer i = 0; ok && i < n; i++) {
    lua_rawgeti(L, keys, list[i].at + 1);
    lua_rawget(L, idx);
    ok = put(L, object, list[i].text, depth);
  }
  lua_pop(L, 2);
  return ok;
}

/* Members and elements of the table at idx; nothing for a leaf. False: no memory, bad text, nested too deeply. */
static bool fill(lua_State *L, int idx, lip_json *container, int depth) {
  if (!lua_istable(L, idx)) return true;
  if (depth >= LIP_JSON_MAX_DEPTH || !lua_checkstack(L, 16)) return false;
  return is_list(L, idx) ? add_elements(L, idx, container, depth) : add_members(L, idx, container, depth);
}

static int to_json(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lipL_numbers(L); /* keys may be numbers */
  json_box *box = lipL_newobject(L, JSON_T, sizeof *box, 0);
  box->root = new_node(L, 1);
  lip_str text = {0};
  if (!box->root || !fill(L, 1, box->root, 0) || !lip_json_print(box->root, &text)) {
    const lip_err cancelled = {LIP_CANCELLED, "to_json: cancelled by the user"};
    lip_str_free(&text);
    if (lip_cancel_raised(lipL_cancel())) return lipL_fail(L, &cancelled);
    return luaL_error(L, "to_json: the value is nested too deeply, holds a text that is not UTF-8 or has a "
                         "zero byte, or memory is out");
  }
  char *copy = lua_newuserdatauv(L, text.len, 0);
  memcpy(copy, text.text, text.len);
  lip_str_free(&text);
  lua_pushlstring(L, copy, lua_rawlen(L, -1));
  return 1;
}

/* ---- reading ---- */

static void push_value(lua_State *L, const lip_json *v);

static void push_object(lua_State *L, const lip_json *v) {
  void *iter = NULL;
  const char *key;
  const lip_json *value;
  lua_createtable(L, 0, (int)lip_json_size(v));
  while (lip_json_next(v, &iter, &key, &value)) {
    push_value(L, value);
    lua_setfield(L, -2, key);
  }
}

static void push_elements(lua_State *L, const lip_json *v) {
  size_t n = lip_json_size(v);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_value(L, lip_json_at(v, i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

/* Numbers written without a point are integers; "inf" stays a text, null is nil. */
static void push_value(lua_State *L, const lip_json *v) {
  const char *text;
  int64_t whole;
  double number;
  bool flag;
  luaL_checkstack(L, 4, "JSON");
  switch (lip_json_typeof(v)) {
  case LIP_JSON_OBJECT: push_object(L, v); return;
  case LIP_JSON_ARRAY: push_elements(L, v); return;
  case LIP_JSON_TEXT: lua_pushstring(L, lip_json_text(v, &text) ? text : ""); return;
  case LIP_JSON_BOOL: lua_pushboolean(L, lip_json_bool(v, &flag) && flag); return;
  case LIP_JSON_NUMBER:
    if (lip_json_signed(v, &whole))
      lua_pushinteger(L, (lua_Integer)whole);
    else
      lua_pushnumber(L, lip_json_number(v, &number) ? number : 0);
    return;
  case LIP_JSON_NULL: break;
  }
  lua_pushnil(L);
}

/* The parser takes objects and arrays; any other value is put into an array for it. */
static int from_json(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  lua_settop(L, 1);
  size_t blanks = strspn(text, " \t\r\n");
  bool bare = blanks < n && text[blanks] != '{' && text[blanks] != '[';
  if (bare) {
    lua_pushfstring(L, "[%s]", text);
    lua_replace(L, 1);
    text = lua_tolstring(L, 1, &n);
  }
  json_box *box = lipL_newobject(L, JSON_T, sizeof *box, 0);
  lip_err err;
  if (lip_json_parse(text, n, "from_json", &box->root, &err)) return lipL_fault(L, &err);
  if (bare && lip_json_size(box->root) != 1) {
    lip_fail(&err, LIP_FORMAT, "from_json: more than one value");
    return lipL_fault(L, &err);
  }
  push_value(L, bare ? lip_json_at(box->root, 0) : box->root);
  lip_json_free(box->root);
  box->root = NULL;
  return 1;
}

/* Bytes of the character at p (n are left), 0 when it is none: RFC 3629, section 4. */
static size_t character(const unsigned char *p, size_t n) {
  if (p[0] < 0x80) return p[0] != 0; /* a zero byte would end the text */
  size_t k = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
  if (k == 0 || k > n) return 0;
  unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
  unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < k; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return k;
}

/* utf8(text) -> the same text; bytes that are no UTF-8 are written as \xNN */
static int to_utf8(lua_State *L) {
  size_t n;
  const unsigned char *text = (const unsigned char *)luaL_checklstring(L, 1, &n);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < n;) {
    size_t k = character(text + i, n - i);
    if (k > 0) {
      luaL_addlstring(&b, (const char *)text + i, k);
    } else {
      static const char digits[] = "0123456789abcdef";
      const char code[4] = {'\\', 'x', digits[text[i] >> 4], digits[text[i] & 15]};
      luaL_addlstring(&b, code, sizeof code);
      k = 1;
    }
    i += k;
  }
  luaL_pushresult(&b);
  return 1;
}

void lipL_open_json(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", box_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"to_json", to_json}, {"from_json", from_json}, {"utf8", to_utf8}, {NULL, NULL}};
  lipL_newtype(L, JSON_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
