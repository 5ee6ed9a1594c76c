#include "proto/base/status.h"

#include "proto/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];

static const char *const names[] = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};
enum { N_CODES = sizeof names / sizeof names[0] };

const char *sc_status_name(sc_status status)
{
    return names[sc_status_from_number((unsigned)status)];
}

sc_status sc_status_from_number(unsigned number)
{
    return number < N_CODES ? (sc_status)number : SC_UNKNOWN;
}

const char *sc_status_message(void)
{
    return message;
}

sc_status sc_status_fail(sc_status status, const char *file, int line, const char *format, ...)
{
    /* An argument may point into `message`, so the new text is built beside it. */
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (wanted < 0)
        text[0] = '\0';
    size_t length = strlen(text);
    if (wanted >= MESSAGE_BYTES)
        while (length > 0 && ((unsigned char)text[length - 1] & 0xC0) == 0x80)
            length--; /* the continuation bytes of a character that was cut */
    if (wanted >= MESSAGE_BYTES && length > 0 && (unsigned char)text[length - 1] >= 0xC0)
        length--;
    memcpy(message, text, length);
    message[length] = '\0';
    sc_log_at(SC_LOG_DEBUG, "status", "%s at %s:%d: %s", sc_status_name(status), file, line, message);
    return status;
}

sc_status sc_status_forward(sc_status status, const char *file, int line)
{
    sc_log_at(SC_LOG_DEBUG, "status", "  %s through %s:%d", sc_status_name(status), file, line);
    return status;
}
