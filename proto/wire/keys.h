/* Keys: what CURVE knows a node by, the files that they lie in, and the lists of who may come.
 *
 * Mental model. A node is known by a Curve25519 key pair. Keys are written in Z85 (RFC 32), 40 characters. A file holds
 * one node's, in ZPL (RFC 4), as czmq's certificates do:
 *
 *     # a comment
 *     metadata
 *         name = "worker-2"                  for people; 1 to 64 letters, digits, '.', '_' and '-'
 *     curve
 *         public-key = "..."
 *         secret-key = "..."                 in .key files, which nobody but their owner may read
 *     coordinator
 *         public-key = "..."                 in a worker's .key: whom it talks to
 *
 * `stagecoach keygen` makes a directory of them:
 *
 *     coordinator.key    what `serve` is given, by its directory
 *     worker-2.key       what worker-2 is given: all that it needs
 *     allowed/           who may come: one .pub a worker, without secrets
 *
 * Thread: any. */
#ifndef SC_KEYS_H
#define SC_KEYS_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SC_KEY_TEXT = 40 + 1, /* Z85 of 32 bytes, and the end */
    SC_KEY_NAME_BYTES = 64 + 1,
    SC_KEY_FILE_BYTES = 4096, /* a larger file is refused */
};

typedef struct sc_public_key {
    char z85[SC_KEY_TEXT]; /* "": none */
} sc_public_key;

/* One file. */
typedef struct sc_certificate {
    char name[SC_KEY_NAME_BYTES]; /* "" if the file has none */
    sc_public_key public_key;
    char secret_key[SC_KEY_TEXT]; /* "": a public file */
    sc_public_key coordinator;    /* "": not a worker's */
} sc_certificate;

/* Whether it may be a node's name, and so a file's. */
bool sc_keys_is_name(const char *name);
/* Whether it is 40 characters of Z85. */
bool sc_keys_is_key(const char *text);

/* A new pair. Errors: SC_UNIMPLEMENTED (a libzmq without CURVE). */
sc_status sc_certificate_generate(const char *name, sc_certificate *out);
/* Reads a file, strictly. Errors, naming file and line: SC_NOT_FOUND, SC_INVALID (not of the form above, a secret key that
 * does not belong to the public one), SC_PERMISSION_DENIED (not readable; a secret key that others can read,
 * which the group of a file of root's may). */
sc_status sc_certificate_load(const char *path, sc_certificate *out);
/* The same from memory, as if the file were called `path`, whoever may read it; safe on any text, which is changed. */
sc_status sc_certificate_parse(const char *path, char *text, sc_certificate *out);
/* Writes the whole certificate with mode 0600, or, `secret` false, name and public key alone with mode 0644. The file
 * is there whole or not at all. Errors: SC_ALREADY_EXISTS unless `replace`, SC_PERMISSION_DENIED, SC_UNAVAILABLE. */
sc_status sc_certificate_save(const sc_certificate *self, const char *path, bool secret, bool replace);
/* Overwrites the secret in memory. */
void sc_certificate_wipe(sc_certificate *self);

/* Public keys, sorted. Zero-initialise. */
typedef struct sc_allow_list {
    sc_public_key *keys;
    size_t n;
} sc_allow_list;

/* All .pub files of a directory. Errors: those of sc_certificate_load, SC_NOT_FOUND (no directory), SC_INVALID (a secret key
 * among them); *out is empty then. */
sc_status sc_allow_list_load(const char *dir, sc_allow_list *out);
/* Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_allow_list_set(sc_allow_list *self, const sc_public_key *keys, size_t n);
bool sc_allow_list_has(const sc_allow_list *self, const char *key);
void sc_allow_list_clear(sc_allow_list *self);
/* A number that changes when a file of the directory comes, goes or is written; 0 if it cannot be read. */
uint64_t sc_allow_list_stamp(const char *dir);

#endif
