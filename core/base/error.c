#include "core/base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/base/number.h"

double lip_plain(double v) {
  return isnan(v) ? fabs(v) : v;
}

lip_status lip_fail(lip_err *err, lip_status code, const char *fmt, ...) {
  if (err) {
    va_list args;
    lip_number_enter();
    va_start(args, fmt);
    err->code = code;
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    lip_number_leave();
  }
  return code;
}

static const char *const names[] = {
#define X(id, name, text) name,
    LIP_STATUS_MAP(X)
#undef X
};

static const char *const texts[] = {
#define X(id, name, text) text,
    LIP_STATUS_MAP(X)
#undef X
};

const char *lip_status_name(lip_status code) {
  return (unsigned)code < LIP_STATUS_COUNT ? names[code] : "unknown";
}

const char *lip_status_text(lip_status code) {
  return (unsigned)code < LIP_STATUS_COUNT ? texts[code] : "unknown status code";
}
