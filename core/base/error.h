/* Status codes and messages. The core never prints, exits or raises: a function that can fail
 * returns a lip_status and, where the fault is known, writes one sentence into a lip_err. */
#ifndef LIP_BASE_ERROR_H
#define LIP_BASE_ERROR_H

/* One list: the enum, the short names seen from Lua (third return value) and the texts. */
#define LIP_STATUS_MAP(X)                                                                                    \
  X(OK, "ok", "success")                                                                                     \
  X(ARGUMENT, "argument", "an argument is not acceptable")                                                   \
  X(SHAPE, "shape", "shapes do not match")                                                                   \
  X(OPTION, "option", "an option is unknown or out of range")                                                \
  X(UNSUPPORTED, "unsupported", "this combination is not supported")                                         \
  X(MEMORY, "memory", "out of memory")                                                                       \
  X(IO, "io", "the operating system refused a file operation")                                               \
  X(NOT_FOUND, "not_found", "a file or data set was not found")                                              \
  X(FORMAT, "format", "a file is damaged or not of the expected format")                                     \
  X(CANCELLED, "cancelled", "cancelled by the user")                                                         \
  X(NOT_FINITE, "not_finite", "a value is NaN or infinite")                                                  \
  X(STATE, "state", "the object is closed or not ready for this call")

typedef enum lip_status {
#define X(id, name, text) LIP_##id,
  LIP_STATUS_MAP(X)
#undef X
      LIP_STATUS_COUNT
} lip_status;

/* The message says what was expected, what came and what to do next; always terminated. */
typedef struct lip_err {
  lip_status code;
  char msg[400];
} lip_err;

#if defined(__GNUC__)
#define LIP_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define LIP_PRINTF(fmt, first)
#endif

/* A number for a message: NaN without its sign, which means nothing ("nan", never "-nan"). */
double lip_plain(double v);

/* Writes `code` and the formatted message into `err` (may be NULL) and returns `code`. */
lip_status lip_fail(lip_err *err, lip_status code, const char *fmt, ...) LIP_PRINTF(3, 4);

/* "shape", "io", ...; "unknown" outside the range. Static storage. */
const char *lip_status_name(lip_status code);
/* One general sentence per code. Static storage. */
const char *lip_status_text(lip_status code);

#endif
