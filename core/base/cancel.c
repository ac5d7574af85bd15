#include "core/base/cancel.h"

#include <stddef.h>

static _Thread_local lip_cancel *watched;

lip_cancel *lip_cancel_watch(lip_cancel *c) {
  lip_cancel *before = watched;
  watched = c;
  return before;
}

lip_cancel *lip_cancel_watched(void) {
  return watched;
}

bool lip_cancelled(void) {
  return lip_cancel_raised(watched);
}

lip_status lip_cancel_check(const char *what, lip_err *err) {
  return lip_cancelled() ? lip_fail(err, LIP_CANCELLED, "%s: cancelled", what) : LIP_OK;
}
