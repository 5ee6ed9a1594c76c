/* Status codes and the error message that travels with them.
 *
 * What can fail returns an sc_status. The detail, a sentence for a person, is kept per thread: SC_FAIL writes it, SC_TRY
 * forwards the code and logs where it passed at debug level, so an error leaves a trail, and whoever handles the error
 * reads it with sc_status_message(). The codes are gRPC's, with gRPC's numbers, so they cross the wire as they are.
 *
 * A message names what was wrong, where (file and line, rank, step, stage, micro-batch), and what to do about it. */
#ifndef SC_STATUS_H
#define SC_STATUS_H

typedef enum sc_status {
    SC_OK = 0,
    SC_CANCELLED = 1,
    SC_UNKNOWN = 2,
    SC_INVALID = 3, /* gRPC's INVALID_ARGUMENT */
    SC_DEADLINE_EXCEEDED = 4,
    SC_NOT_FOUND = 5,
    SC_ALREADY_EXISTS = 6,
    SC_PERMISSION_DENIED = 7,
    SC_RESOURCE_EXHAUSTED = 8,
    SC_FAILED_PRECONDITION = 9,
    SC_ABORTED = 10,
    SC_OUT_OF_RANGE = 11,
    SC_UNIMPLEMENTED = 12,
    SC_INTERNAL = 13,
    SC_UNAVAILABLE = 14,
    SC_DATA_LOSS = 15,
    SC_UNAUTHENTICATED = 16,
} sc_status;

/* gRPC's name of the code, as in "FAILED_PRECONDITION"; "UNKNOWN" for a number that is none. Static storage. */
const char *sc_status_name(sc_status status);

/* The code whose number came over the wire; SC_UNKNOWN for a number that is none. */
sc_status sc_status_from_number(unsigned number);

/* The message of this thread's last SC_FAIL, "" if there was none. Valid until this thread's next SC_FAIL. */
const char *sc_status_message(void);

/* Sets this thread's message (cut at 1023 bytes, on a UTF-8 boundary) and returns `status`. An argument may be the old
 * message itself: SC_FAIL(st, "%s: %s", path, sc_status_message()) adds context. */
sc_status sc_status_fail(sc_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Logs, at debug level, that an error passed here. For SC_TRY. */
sc_status sc_status_forward(sc_status status, const char *file, int line);

#define SC_FAIL(status, ...) sc_status_fail((status), __FILE__, __LINE__, __VA_ARGS__)

#define SC_TRY(call)                                                                                                   \
    do {                                                                                                               \
        sc_status sc_try_status_ = (call);                                                                             \
        if (sc_try_status_ != SC_OK)                                                                                   \
            return sc_status_forward(sc_try_status_, __FILE__, __LINE__);                                              \
    } while (0)

/* The same for a function with one cleanup label: sets `status` and jumps. */
#define SC_TRY_GOTO(status, call, label)                                                                               \
    do {                                                                                                               \
        (status) = (call);                                                                                             \
        if ((status) != SC_OK) {                                                                                       \
            sc_status_forward((status), __FILE__, __LINE__);                                                           \
            goto label;                                                                                                \
        }                                                                                                              \
    } while (0)

#endif
