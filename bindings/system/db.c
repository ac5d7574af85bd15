/* lip.db: SQLite databases with bound parameters. The only file that knows sqlite3.h.
 *
 * Misuse raises: bad SQL, a wrong number of values, a closed database. What the world may refuse (busy, locked, full,
 * read-only, damaged, a violated constraint) returns nil, message, code.
 *
 * Any allocation of Lua may run a script's finalisers, and those may close this database or use it: a statement in use
 * is marked, outlives its database (sqlite3_close_v2) and is given back by its __close, whatever error comes. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <sqlite3.h>

#include "bindings/bind.h"

#define STATEMENT_T "lip.db.statement"
#define GUARD_T "lip.db.guard"

enum { CACHE = 1, PATH = 2 }; /* user values of a database */
enum { MAX_CACHED = 64, MAX_URI = 3 * 4096 + 64 };

typedef struct database {
  sqlite3 *db;         /* NULL: closed */
  int timeout, waited; /* milliseconds, of the operation now running */
  int cached;
} database;

typedef struct statement {
  sqlite3_stmt *s;
  bool busy, cached;
} statement;

/* ---- errors ---- */

/* The code of what the outside world refused; NULL: misuse. */
static const char *code_of(int rc) {
  switch (rc & 0xff) {
  case SQLITE_BUSY: return "busy";
  case SQLITE_LOCKED: return "locked";
  case SQLITE_FULL: return "full";
  case SQLITE_READONLY: return "readonly";
  case SQLITE_CONSTRAINT: return "constraint";
  case SQLITE_CORRUPT: return "corrupt";
  case SQLITE_NOTADB: return "format";
  case SQLITE_NOMEM: return "memory";
  case SQLITE_INTERRUPT: return "cancelled";
  case SQLITE_IOERR:
  case SQLITE_CANTOPEN:
  case SQLITE_PERM:
  case SQLITE_NOLFS:
  case SQLITE_PROTOCOL:
  case SQLITE_AUTH: return "io";
  default: return NULL;
  }
}

/* Returns nil, message, code, or raises, by the kind of the failure; db may be one that a statement still holds. Without
 * SQL of the caller's there is no misuse: the file itself is not as it should be. */
static int refuse(lua_State *L, int rc, sqlite3 *db, const char *sql) {
  char message[400]; /* a copy: anything below may use the database */
  if ((rc & 0xff) == SQLITE_BUSY && lip_cancel_raised(lipL_cancel()))
    rc = SQLITE_INTERRUPT; /* waited no longer */
  const char *code = code_of(rc), *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  if (!code && !sql) code = "format";
  snprintf(message, sizeof message, "%.200s%s%.160s", text, code ? "" : " in: ", code ? "" : sql);
  if (!code) return luaL_error(L, "db: %s", message);
  luaL_pushfail(L);
  if (lua_getiuservalue(L, 1, PATH) != LUA_TSTRING) lua_pushliteral(L, "database");
  lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), message);
  lua_remove(L, -2);
  lua_pushstring(L, code);
  return 3;
}

/* ---- waiting for others ---- */

/* Sleeps a little longer every time; false once the time is over, or at an interrupt. */
static bool wait_a_little(database *h, int count) {
  int delay = count < 4 ? 1 << count : 20;
  if (h->waited >= h->timeout || lip_cancel_raised(lipL_cancel())) return false;
  nanosleep(&(struct timespec){.tv_nsec = delay * 1000000L}, NULL);
  h->waited += delay;
  return true;
}

static int on_busy(void *h, int count) {
  return wait_a_little(h, count);
}

/* Asked by SQLite every STEPS steps of a statement, which is some milliseconds: short statements, such as those that
 * tidy up, come to their end. */
enum { STEPS = 100000 };

static int on_progress(void *unused) {
  (void)unused;
  return lip_cancel_raised(lipL_cancel());
}

/* SQLite does not ask the busy handler where waiting could be a deadlock (change of the journal mode, recovery of a
 * log); outside a transaction nothing is held, so trying again is safe. */
static int step(database *h, sqlite3_stmt *s) {
  int rc = sqlite3_step(s);
  for (int count = 0; (rc & 0xff) == SQLITE_BUSY && h->db && sqlite3_get_autocommit(h->db); count++) {
    sqlite3_reset(s);
    if (!wait_a_little(h, count)) break;
    rc = sqlite3_step(s);
  }
  return rc;
}

/* ---- handles ---- */

static database *check_open(lua_State *L) {
  database *h = luaL_checkudata(L, 1, LIP_DB_T);
  luaL_argcheck(L, h->db, 1, "the database is closed");
  h->waited = 0;
  return h;
}

static void finish(statement *st) {
  sqlite3_finalize(st->s);
  *st = (statement){0};
}

static void give_back(statement *st) {
  if (!st->s) return;
  sqlite3_reset(st->s);
  sqlite3_clear_bindings(st->s);
  st->busy = false;
  if (!st->cached) finish(st);
}

static int statement_close(lua_State *L) {
  give_back(luaL_checkudata(L, 1, STATEMENT_T));
  return 0;
}

static int statement_gc(lua_State *L) {
  finish(luaL_checkudata(L, 1, STATEMENT_T));
  return 0;
}

/* Forgets the kept statements of the database at idx; one in use ends with its use. */
static void drop_cache(lua_State *L, int idx, database *h) {
  idx = lua_absindex(L, idx);
  h->cached = 0;
  if (lua_getiuservalue(L, idx, CACHE) == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      statement *st = luaL_testudata(L, -1, STATEMENT_T);
      if (st) st->cached = false;
      if (st && !st->busy) finish(st);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  lua_pushnil(L);
  lua_setiuservalue(L, idx, CACHE);
}

static int db_close(lua_State *L) {
  database *h = luaL_checkudata(L, 1, LIP_DB_T);
  sqlite3 *db = h->db;
  h->db = NULL;
  if (db) {
    drop_cache(L, 1, h);
    sqlite3_close_v2(db);
  }
  return 0;
}

/* ---- statements ---- */

static bool is_blank(const char *sql) {
  return sql[strspn(sql, " \t\r\n;")] == '\0';
}

/* The kept statement of the SQL at 2, if it is free. Pushes one value. */
static statement *kept(lua_State *L) {
  statement *st = NULL;
  if (lua_getiuservalue(L, 1, CACHE) == LUA_TTABLE) {
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    st = luaL_testudata(L, -1, STATEMENT_T);
  }
  return st && st->s && !st->busy ? st : NULL;
}

/* Keeps the statement on top of the stack for the next call with the same SQL. */
static void keep(lua_State *L, database *h, statement *st) {
  if (h->cached >= MAX_CACHED) drop_cache(L, 1, h);
  if (lua_getiuservalue(L, 1, CACHE) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, CACHE);
  }
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  if (!h->db) return; /* closed by a finaliser meanwhile */
  st->cached = true;
  h->cached++;
}

/* Pushes a statement, marked as in use and given back when the calling function ends. SQLite's code on failure. */
static int take(lua_State *L, database *h, const char *sql, const char **tail, statement **out) {
  statement *st = *tail ? NULL : kept(L);
  if (!st) {
    st = lipL_newobject(L, STATEMENT_T, sizeof *st, 0);
    luaL_argcheck(L, h->db, 1, "the database is closed");
    int rc = sqlite3_prepare_v3(h->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st->s, tail);
    if (rc) return rc;
    st->busy = true;
    lua_toclose(L, -1);
    if (st->s && is_blank(*tail)) keep(L, h, st);
  } else {
    *tail = "";
    st->busy = true;
    lua_toclose(L, -1);
  }
  *out = st;
  return SQLITE_OK;
}

/* ---- values in ---- */

/* Binds the value at idx. NaN is refused: SQLite would store NULL. */
static int bind_value(lua_State *L, sqlite3_stmt *s, int i, int idx) {
  size_t n;
  const char *text;
  switch (lua_type(L, idx)) {
  case LUA_TNIL: return sqlite3_bind_null(s, i);
  case LUA_TBOOLEAN: return sqlite3_bind_int(s, i, lua_toboolean(L, idx));
  case LUA_TNUMBER:
    if (lua_isinteger(L, idx)) return sqlite3_bind_int64(s, i, lua_tointeger(L, idx));
    if (lua_tonumber(L, idx) != lua_tonumber(L, idx))
      return luaL_error(L, "db: value %d is NaN, which SQLite cannot store", i);
    return sqlite3_bind_double(s, i, lua_tonumber(L, idx));
  case LUA_TSTRING:
    text = lua_tolstring(L, idx, &n);
    return sqlite3_bind_text64(s, i, text, n, SQLITE_TRANSIENT, SQLITE_UTF8);
  default: {
    char got[80];
    return luaL_error(L, "db: value %d: a number, string, boolean or nil expected, got %s", i,
                      lipL_typetext(L, idx, got, sizeof got));
  }
  }
}

/* From the table at idx: every name of the statement that it has, and no name that the statement has not. */
static int bind_named(lua_State *L, sqlite3_stmt *s, int idx) {
  int n = sqlite3_bind_parameter_count(s), rc = SQLITE_OK;
  for (int i = 1; !rc && i <= n; i++) {
    const char *name = sqlite3_bind_parameter_name(s, i);
    if (!name || name[0] != ':')
      return luaL_error(L, "db: a table gives values to parameters written :name only");
    lua_pushstring(L, name + 1);
    lua_rawget(L, idx);
    rc = bind_value(L, s, i, lua_gettop(L));
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  while (!rc && lua_next(L, idx)) {
    lua_pop(L, 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "a key that is no text";
    lua_pushfstring(L, ":%s", name);
    if (!sqlite3_bind_parameter_index(s, lua_tostring(L, -1)))
      return luaL_error(L, "db: the statement has no parameter :%s", name);
    lua_pop(L, 1);
  }
  return rc;
}

/* The arguments 3 .. last: one table by name, or a value for every ?. */
static int bind_all(lua_State *L, sqlite3_stmt *s, int last) {
  int n = sqlite3_bind_parameter_count(s), rc = SQLITE_OK;
  if (last == 3 && lua_istable(L, 3)) return bind_named(L, s, 3);
  if (last - 2 != n) return luaL_error(L, "db: the statement takes %d values, got %d", n, last - 2);
  for (int i = 1; !rc && i <= n; i++) rc = bind_value(L, s, i, i + 2);
  return rc;
}

/* ---- values out ---- */

static void push_column(lua_State *L, sqlite3_stmt *s, int i) {
  switch (sqlite3_column_type(s, i)) {
  case SQLITE_INTEGER: lua_pushinteger(L, sqlite3_column_int64(s, i)); break;
  case SQLITE_FLOAT: lua_pushnumber(L, sqlite3_column_double(s, i)); break;
  case SQLITE_NULL: lua_pushnil(L); break;
  default: {
    const void *bytes = sqlite3_column_blob(s, i);
    int n = sqlite3_column_bytes(s, i);
    lua_pushlstring(L, bytes ? bytes : "", (size_t)n);
  }
  }
}

/* Pushes the names of the columns; returns how many. */
static int push_names(lua_State *L, sqlite3_stmt *s) {
  int n = sqlite3_column_count(s);
  luaL_checkstack(L, n + 4, "too many columns");
  for (int i = 0; i < n; i++) {
    const char *name = sqlite3_column_name(s, i);
    lua_pushstring(L, name ? name : "");
  }
  return n;
}

/* Pushes the row as a table; the names stand from `first`. */
static void push_row(lua_State *L, sqlite3_stmt *s, int first, int n) {
  lua_createtable(L, 0, n);
  for (int i = 0; i < n; i++) {
    lua_pushvalue(L, first + i);
    push_column(L, s, i);
    lua_rawset(L, -3);
  }
}

/* ---- methods ---- */

/* The statement of db:rows and db:row, bound; NULL: nil, message, code have been pushed. */
static statement *query(lua_State *L, database *h, int last) {
  const char *sql = luaL_checkstring(L, 2), *tail = NULL;
  statement *st = NULL;
  int rc = take(L, h, sql, &tail, &st);
  if (!rc && !st->s) luaL_error(L, "db: no statement in: %s", sql);
  if (!rc && !is_blank(tail)) luaL_error(L, "db: one statement at a time, got: %s", sql);
  if (!rc) rc = bind_all(L, st->s, last);
  if (!rc) return st;
  refuse(L, rc, st ? sqlite3_db_handle(st->s) : h->db, sql);
  return NULL;
}

/* db:rows(sql, ...) -> { {column = value, ...}, ... } | nil, message, code */
static int db_rows(lua_State *L) {
  database *h = check_open(L);
  statement *st = query(L, h, lua_gettop(L));
  if (!st) return 3;
  int n = push_names(L, st->s), first = lua_gettop(L) - n + 1, rc;
  lua_newtable(L);
  lua_Integer i = 0;
  while ((rc = step(h, st->s)) == SQLITE_ROW) {
    push_row(L, st->s, first, n);
    lua_rawseti(L, -2, ++i);
  }
  return rc == SQLITE_DONE ? 1 : refuse(L, rc, sqlite3_db_handle(st->s), lua_tostring(L, 2));
}

/* db:row(sql, ...) -> the first row, false when there is none | nil, message, code */
static int db_row(lua_State *L) {
  database *h = check_open(L);
  statement *st = query(L, h, lua_gettop(L));
  if (!st) return 3;
  int n = push_names(L, st->s), first = lua_gettop(L) - n + 1, rc = step(h, st->s);
  bool found = rc == SQLITE_ROW;
  if (found) push_row(L, st->s, first, n);
  if (found && sqlite3_stmt_readonly(st->s)) return 1;
  while (rc == SQLITE_ROW) rc = step(h, st->s); /* one that writes is not done before its end */
  if (rc != SQLITE_DONE) return refuse(L, rc, sqlite3_db_handle(st->s), lua_tostring(L, 2));
  if (!found) lua_pushboolean(L, false);
  return 1;
}

/* db:exec(sql, ...) -> number of rows changed | nil, message, code. Without values, sql may be several statements. */
static int db_exec(lua_State *L) {
  const char *sql = luaL_checkstring(L, 2),
             *tail = NULL; /* a number becomes a text: before the look at the handle */
  database *h = check_open(L);
  int last = lua_gettop(L), rc = SQLITE_OK;
  sqlite3_int64 before = sqlite3_total_changes64(h->db), after = before;
  do {
    statement *st = NULL;
    rc = take(L, h, sql, &tail, &st);
    if (rc) return refuse(L, rc, h->db, sql);
    if (last > 2 && (!st->s || !is_blank(tail)))
      return luaL_error(L, "db: values for several statements in: %s", sql);
    sqlite3 *db = st->s ? sqlite3_db_handle(st->s) : NULL;
    if (st->s && !(rc = bind_all(L, st->s, last)))
      while ((rc = step(h, st->s)) == SQLITE_ROW) {
      }
    if (st->s && rc != SQLITE_DONE) return refuse(L, rc, db, sql);
    if (db) after = sqlite3_total_changes64(db);
    give_back(st); /* not by lua_settop: in Lua 5.4.4 it may use a stack that its __close has moved */
    luaL_checkstack(L, 8, "too many statements");
    sql = tail;
  } while (!is_blank(tail) && h->db);
  lua_pushinteger(L, (lua_Integer)(after - before));
  return 1;
}

/* BEGIN, COMMIT, ROLLBACK. */
static int plain(database *h, const char *sql) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(h->db, sql, -1, &s, NULL);
  if (!rc) rc = step(h, s);
  sqlite3_finalize(s);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Takes back a transaction that did not come to its end. */
static int guard_close(lua_State *L) {
  luaL_checkudata(L, 1, GUARD_T);
  lua_getiuservalue(L, 1, 1);
  database *h = luaL_testudata(L, -1, LIP_DB_T);
  if (h && h->db && !sqlite3_get_autocommit(h->db)) plain(h, "ROLLBACK");
  return 0;
}

/* db:transaction(f, ...): BEGIN IMMEDIATE, f(...), COMMIT -> what f returned (true for nothing). An error in f, or nil
 * and a message from it, takes everything back and passes on. IMMEDIATE: a transaction that reads first and then
 * writes would be refused at once when another has written in between, however long it is willing to wait. */
static int db_transaction(lua_State *L) {
  database *h = check_open(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (!sqlite3_get_autocommit(h->db)) return luaL_error(L, "db: already inside a transaction");
  lipL_newobject(L, GUARD_T, 0, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_insert(L, 2);
  luaL_argcheck(L, h->db, 1, "the database is closed");
  int rc = plain(h, "BEGIN IMMEDIATE");
  if (rc) return refuse(L, rc, h->db, "BEGIN IMMEDIATE");
  lua_toclose(L, 2);
  /* Protected, though the guard would do: a coroutine that dies of an error (a yield is one here) does not close its
   * variables before somebody asks for it, and the transaction would stay open. */
  if (lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0)) {
    if (h->db && !sqlite3_get_autocommit(h->db)) plain(h, "ROLLBACK");
    return lua_error(L);
  }
  int results = lua_gettop(L) - 2;
  if (results >= 2 && lua_isnil(L, 3) && lua_isstring(L, 4)) return results;
  if (!h->db) return luaL_error(L, "db: closed inside its own transaction");
  if (sqlite3_get_autocommit(h->db))
    return luaL_error(L, "db: the transaction was ended by its own function");
  rc = plain(h, "COMMIT");
  if (rc) return refuse(L, rc, h->db, "COMMIT");
  if (results == 0) lua_pushboolean(L, true);
  return results ? results : 1;
}

static int db_path(lua_State *L) {
  luaL_checkudata(L, 1, LIP_DB_T);
  lua_getiuservalue(L, 1, PATH);
  return 1;
}

static int db_tostring(lua_State *L) {
  const database *h = luaL_checkudata(L, 1, LIP_DB_T);
  if (lua_getiuservalue(L, 1, PATH) != LUA_TSTRING) lua_pushliteral(L, "nowhere");
  lua_pushfstring(L, "lip.db %s%s", lua_tostring(L, -1), h->db ? "" : " (closed)");
  return 1;
}

/* ---- opening ---- */

/* Reads the header, so that a file of another kind is found now and not at the first use. */
static int probe(sqlite3 *db) {
  return sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
}

/* A file name as SQLite's URI for a file that nobody changes. */
static bool immutable_uri(const char *path, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "file:");
  for (; *path && n + 4 < size; path++) {
    bool safe = strchr("?#%", *path) == NULL && *path > ' ' && *path < 0x7f;
    n += (size_t)snprintf(out + n, size - n, safe ? "%c" : "%%%02X", (unsigned char)*path);
  }
  if (*path || n + 16 > size) return false;
  snprintf(out + n, size - n, "?immutable=1");
  return true;
}

/* A log that has something in it. */
static bool has_log(const char *path) {
  char name[4200];
  struct stat info;
  int n = snprintf(name, sizeof name, "%s-wal", path);
  return n < 0 || (size_t)n >= sizeof name || (stat(name, &info) == 0 && info.st_size > 0);
}

static int connect(database *h, const char *name, int flags) {
  int rc = sqlite3_open_v2(name, &h->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  if (!rc) rc = sqlite3_busy_handler(h->db, on_busy, h);
  if (!rc) sqlite3_progress_handler(h->db, STEPS, on_progress, NULL);
  /* what a file of somebody else's declares must not do anything */
  if (!rc) rc = sqlite3_db_config(h->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  if (!rc) rc = sqlite3_db_config(h->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  return rc ? rc : probe(h->db);
}

/* Where no shared-memory file can be made (a read-only folder), a database that nobody is writing to is read as it is. */
static int open_file(database *h, const char *path, bool readonly) {
  char uri[MAX_URI];
  const char *name = path;
  if (strncmp(path, "file:", 5) == 0) { /* a name, not a URI */
    int n = snprintf(uri, sizeof uri, "./%s", path);
    if (n < 0 || (size_t)n >= sizeof uri) return SQLITE_CANTOPEN;
    name = uri;
  }
  if (!readonly) {
    int rc = connect(h, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    return rc ? rc : sqlite3_db_readonly(h->db, "main") ? SQLITE_READONLY : SQLITE_OK;
  }
  int rc = connect(h, name, SQLITE_OPEN_READONLY);
  int kind = rc & 0xff;
  if ((kind != SQLITE_CANTOPEN && kind != SQLITE_READONLY && kind != SQLITE_IOERR) || has_log(path) ||
      !immutable_uri(path, uri, sizeof uri))
    return rc;
  sqlite3_close_v2(h->db);
  h->db = NULL;
  return connect(h, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
}

/* lip.db.open(path, {readonly=false, timeout=10}) -> db | nil, message, code */
static int db_open(lua_State *L) {
  static const char *const known[] = {"readonly", "timeout", NULL};
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *path = lipL_checkpath(L, 1);
  luaL_argcheck(L, path[0] != '\0', 1, "the name of a file expected, got an empty text");
  lipL_checkfields(L, 2, "db.open", known);
  bool readonly = lipL_optfield_bool(L, 2, "db.open", "readonly", false);
  double timeout = lipL_optfield_number(L, 2, "db.open", "timeout", 10);
  if (!(timeout >= 0 && timeout <= 1e6))
    return luaL_error(L, "db.open: option 'timeout' expects 0 to 1e6 seconds");
  lua_settop(L, 1);
  database *h = lipL_newobject(L, LIP_DB_T, sizeof *h, 2);
  lua_insert(L, 1); /* where refuse looks for it */
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 1, PATH);
  h->timeout = (int)(timeout * 1000);
  struct stat info;
  bool file = strcmp(path, ":memory:") != 0, there = file && stat(path, &info) == 0;
  if (readonly && file && !there) {
    luaL_pushfail(L);
    lua_pushfstring(L, "%s: there is no such database", path);
    lua_pushliteral(L, "not_found");
    return 3;
  }
  if (there && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) { /* the library would wait in a pipe */
    luaL_pushfail(L);
    lua_pushfstring(L, "%s: not a regular file", path);
    lua_pushliteral(L, "io");
    return 3;
  }
  int rc = open_file(h, path, readonly);
  if (rc == SQLITE_OK) {
    lipL_account(L, 1 << 16); /* the connection; its cache grows with use */
    lua_settop(L, 1);
    return 1;
  }
  int n = refuse(L, rc, rc == SQLITE_READONLY ? NULL : h->db, NULL);
  sqlite3_close_v2(h->db);
  h->db = NULL;
  if (readonly && (rc & 0xff) == SQLITE_CANTOPEN && has_log(path)) {
    lua_pushfstring(L,
                    "%s: its log %s-wal must be taken in first, where the folder can be written: copy both",
                    path, path);
    lua_replace(L, -3);
  }
  return n;
}

void lipL_open_db(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"exec", db_exec},   {"rows", db_rows}, {"row", db_row}, {"transaction", db_transaction},
      {"close", db_close}, {"path", db_path}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__gc", db_close}, {"__close", db_close}, {"__tostring", db_tostring}, {NULL, NULL}};
  static const luaL_Reg statement_meta[] = {
      {"__gc", statement_gc}, {"__close", statement_close}, {NULL, NULL}};
  static const luaL_Reg guard_meta[] = {{"__close", guard_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", db_open}, {NULL, NULL}};
  lipL_newtype(L, LIP_DB_T, methods, meta);
  lipL_newtype(L, STATEMENT_T, NULL, statement_meta);
  lipL_newtype(L, GUARD_T, NULL, guard_meta);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "db");
}
