/* The calls by which a process changes what lies on a disk, as one table. Whatever is written with care for power cuts and
 * full disks (files.h, safetensors.h, checkpoints) goes through it, so that a test can let each call in turn fail, or end
 * the process there. The functions are those of the C library: result and errno as there.
 * Thread: any; the table is set before others run. */
#ifndef SC_DISK_H
#define SC_DISK_H

#include <sys/types.h>

typedef struct sc_disk {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *bytes, size_t n);
    ssize_t (*write)(int fd, const void *bytes, size_t n);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t n, off_t offset);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlinkat)(int dir_fd, const char *path, int flags);
    int (*mkdir)(const char *path, mode_t mode);
} sc_disk;

/* The table in force. */
const sc_disk *sc_disk_get(void);
/* Borrows; NULL: the operating system's. */
void sc_disk_set(const sc_disk *disk);

#endif
