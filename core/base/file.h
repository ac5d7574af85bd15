/* Files that are read: one way to open them, whoever reads. */
#ifndef LIP_BASE_FILE_H
#define LIP_BASE_FILE_H

#include <stddef.h>

#include "core/base/error.h"

/* Opens `path`, which must be a regular file (or lead to one through links), for reading. A pipe, a device, a socket or
 * a folder is refused at once: it is not opened, so nothing waits for its other end and nobody else is woken. *size:
 * bytes in it now; may be NULL. LIP_NOT_FOUND, LIP_IO, and *fd is -1. Owned by the caller: close. */
lip_status lip_file_open(const char *path, int *fd, size_t *size, lip_err *err);

/* LIP_NOT_FOUND or LIP_IO, with the sentence "PATH: cannot WHAT: REASON" of an errno. */
lip_status lip_file_refuse(const char *path, const char *what, int error, lip_err *err);

#endif
