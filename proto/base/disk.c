#include "proto/base/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode); /* variadic in the C library */
}

static const sc_disk system_disk = {
    .open = system_open,
    .read = read,
    .write = write,
    .pwrite = pwrite,
    .fsync = fsync,
    .close = close,
    .rename = rename,
    .unlinkat = unlinkat,
    .mkdir = mkdir,
};

static const sc_disk *in_force = &system_disk;

const sc_disk *sc_disk_get(void)
{
    return in_force;
}

void sc_disk_set(const sc_disk *disk)
{
    in_force = disk ? disk : &system_disk;
}
