#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/safetensors.h"

static char directory[64];
static char file[128];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "safetensors.XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(file, sizeof file, "%s/f.safetensors", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(directory); /* fails if a temporary file was left behind */
}

static int n_files(void)
{
    DIR *entries = opendir(directory);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(entries));)
        n += entry->d_name[0] != '.';
    closedir(entries);
    return n;
}

/* Writes a file by hand: the header as given, then n bytes 0, 1, 2, ... */
static void write_raw(const char *header, size_t n)
{
    FILE *out = fopen(file, "wb");
    uint64_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        putc((int)(length >> (8 * i) & 0xFF), out);
    fputs(header, out);
    for (size_t i = 0; i < n; i++)
        putc((int)(i & 0xFF), out);
    fclose(out);
}

static sc_safetensors *opened(void)
{
    sc_safetensors *in;
    if (sc_safetensors_open(file, &in) != SC_OK)
        fail_msg("refused: %s", sc_status_message());
    return in;
}

static void assert_refused(const char *piece)
{
    sc_safetensors *in;
    assert_int_equal(sc_safetensors_open(file, &in), SC_DATA_LOSS);
    assert_null(in);
    if (!strstr(sc_status_message(), piece) || strncmp(sc_status_message(), file, strlen(file)) != 0)
        fail_msg("'%s' and the file's name are not in '%s'", piece, sc_status_message());
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    const float weights[6] = {1, -2, 3.5f, 4, 5, 6};
    const uint8_t flags[3] = {7, 8, 9};
    const int64_t step = -5;
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(file, &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_metadata(out, "format", "pt"), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "w\xC3\xA4\"", SC_F32, &SC_SHAPE(2, 3)), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "flags", SC_U8, &SC_SHAPE(3)), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "none", SC_BF16, &SC_SHAPE(4, 0)), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "step", SC_I64, &(sc_shape){0}), SC_OK);
    /* in pieces, backwards, one of them twice */
    assert_int_equal(sc_safetensors_writer_write(out, "step", 0, &step, sizeof step), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "w\xC3\xA4\"", 16, weights + 4, 8), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "w\xC3\xA4\"", 0, weights, 8), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "w\xC3\xA4\"", 4, weights + 1, 12), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "flags", 0, flags, 3), SC_OK);
    assert_int_equal(access(file, F_OK), -1); /* not there before the commit */
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_FAILED_PRECONDITION);
    sc_safetensors_writer_destroy(&out);
    sc_safetensors_writer_destroy(&out);
    assert_int_equal(n_files(), 1);

    sc_safetensors *in = opened();
    assert_int_equal(sc_safetensors_n(in), 4);
    assert_string_equal(sc_safetensors_metadata(in, "format"), "pt");
    assert_null(sc_safetensors_metadata(in, "other"));
    assert_null(sc_safetensors_find(in, "w"));
    const sc_safetensors_entry *w = sc_safetensors_find(in, "w\xC3\xA4\"");
    assert_ptr_equal(w, sc_safetensors_at(in, 0));
    assert_int_equal(w->dtype, SC_F32);
    assert_int_equal(w->shape.n_dims, 2);
    assert_int_equal(w->shape.dims[0], 2);
    assert_int_equal(w->shape.dims[1], 3);
    assert_int_equal(w->offset % 8, 0); /* the header is padded */
    float back[6];
    assert_int_equal(sc_safetensors_read(in, w, 0, back, sizeof back), SC_OK);
    assert_memory_equal(back, weights, sizeof back);
    assert_int_equal(sc_safetensors_read(in, w, 8, back, 4), SC_OK);
    assert_true(back[0] == 3.5f);
    assert_int_equal(sc_safetensors_read(in, w, 8, back, 17), SC_OUT_OF_RANGE);
    assert_int_equal(sc_safetensors_read(in, w, UINT64_MAX, back, 2), SC_OUT_OF_RANGE);
    const sc_safetensors_entry *s = sc_safetensors_find(in, "step");
    int64_t step_back = 0;
    assert_int_equal(s->shape.n_dims, 0);
    assert_int_equal(sc_safetensors_read(in, s, 0, &step_back, 8), SC_OK);
    assert_int_equal(step_back, -5);
    assert_int_equal(sc_safetensors_find(in, "none")->bytes, 0);
    sc_safetensors_close(&in);
    sc_safetensors_close(&in);
}

static void the_bytes_are_those_of_the_format(void **state)
{
    (void)state;
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(file, &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "a", SC_U16, &SC_SHAPE(2)), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "a", 0, "wxyz", 4), SC_OK);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    sc_safetensors_writer_destroy(&out);
    static const char wanted[] = "\x38\0\0\0\0\0\0\0"
                                 "{\"a\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[0,4]}}  "
                                 "wxyz";
    char bytes[128];
    FILE *in = fopen(file, "rb");
    assert_int_equal(fread(bytes, 1, sizeof bytes, in), sizeof wanted - 1);
    fclose(in);
    assert_memory_equal(bytes, wanted, sizeof wanted - 1);
}

static void a_file_of_another_writer_is_read(void **state)
{
    (void)state;
    /* blanks, any order of keys and tensors, an empty tensor between two */
    write_raw("{ \"b\": {\"data_offsets\": [4, 8], \"shape\": [1], \"dtype\": \"I32\"},"
              "  \"e\": {\"dtype\": \"F64\", \"shape\": [0], \"data_offsets\": [4, 4]},"
              "  \"a\": {\"dtype\": \"F16\", \"shape\": [2, 1], \"data_offsets\": [0, 4]}}   ",
              8);
    sc_safetensors *in = opened();
    assert_string_equal(sc_safetensors_at(in, 0)->name, "a");
    assert_string_equal(sc_safetensors_at(in, 1)->name, "e");
    assert_string_equal(sc_safetensors_at(in, 2)->name, "b");
    uint8_t bytes[4];
    assert_int_equal(sc_safetensors_read(in, sc_safetensors_at(in, 2), 0, bytes, 4), SC_OK);
    assert_memory_equal(bytes, "\4\5\6\7", 4);
    assert_null(sc_safetensors_metadata(in, "x"));

    /* a file that shrinks while it is open */
    assert_int_equal(truncate(file, 100), 0);
    assert_int_equal(sc_safetensors_read(in, sc_safetensors_at(in, 2), 0, bytes, 4), SC_DATA_LOSS);
    sc_safetensors_close(&in);
    write_raw("{}", 0);
    in = opened();
    assert_int_equal(sc_safetensors_n(in), 0);
    sc_safetensors_close(&in);
}

#define A(dtype, shape, offsets) "\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void broken_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n;
        const char *message;
    } cases[] = {
        {"", 4, "it does not begin with {"},
        {" {}", 0, "it does not begin with {"},
        {"[]", 0, "it does not begin with {"},
        {"{\"a\":", 0, "the header is not valid"},
        {"{} x", 0, "the header is not valid"},
        {"{\"\xFF\":1}", 0, "the header is not valid"},
        {"{\"a\\u0000\":1}", 0, "the header is not valid"},
        {"{" A("U8", "[4]", "[0,4]") "," A("U8", "[4]", "[0,4]") "}", 4, "duplicate"},
        {"{\"a\":3}", 0, "tensor 'a': its header is not"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "tensor 'a': its header is not"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0, "tensor 'a': its header is not"},
        {"{" A("F8_E4M3", "[4]", "[0,4]") "}", 4, "tensor 'a': dtype 'F8_E4M3' is not known"},
        {"{" A("f32", "[1]", "[0,4]") "}", 4, "tensor 'a': dtype 'f32' is not known"},
        {"{" A("F32", "1", "[0,4]") "}", 4, "tensor 'a': shape is not a list"},
        {"{" A("U8", "[1,1,1,1,4]", "[0,4]") "}", 4, "tensor 'a': shape is not a list of at most 4 axes"},
        {"{" A("U8", "[-4]", "[0,4]") "}", 4, "tensor 'a': axis 0 is not an integer"},
        {"{" A("U8", "[2,2.0]", "[0,4]") "}", 4, "tensor 'a': axis 1 is not an integer"},
        {"{" A("U8", "[4]", "[0]") "}", 4, "tensor 'a': data_offsets is not [begin, end]"},
        {"{" A("U8", "[4]", "[4,0]") "}", 4, "tensor 'a': data_offsets is not [begin, end]"},
        {"{" A("U8", "[4]", "[-4,0]") "}", 4, "tensor 'a': data_offsets is not [begin, end]"},
        {"{" A("U8", "[5]", "[0,5]") "}", 4, "tensor 'a' ends at byte 5 of the data, which has 4"},
        {"{" A("F32", "[2]", "[0,4]") "}", 4, "tensor 'a': its shape and dtype make 8 bytes, its data_offsets span 4"},
        {"{" A("F32", "[4294967296,4294967296,4]", "[0,4]") "}", 4,
         "tensor 'a': a tensor's element count does not fit"},
        {"{" A("F32", "[4611686018427387904,1]", "[0,4]") "}", 4, "tensor 'a': a tensor's size in bytes does not fit"},
        {"{" A("U8", "[3]", "[1,4]") "}", 4, "tensor 'a' leaves a hole before it"},
        {"{" A("U8", "[3]", "[0,3]") "}", 4, "1 bytes at the end belong to no tensor"},
        {"{" A("U8", "[3]", "[0,3]") ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4,
         "tensor 'b' overlaps the one before it"},
        {"{" A("U8", "[3]", "[0,3]") ",\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 3,
         "tensor 'b' overlaps the one before it"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"step\":3}}", 0, "__metadata__ 'step' is not a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_raw(cases[i].header, cases[i].n);
        assert_refused(cases[i].message);
    }
}

static void broken_lengths_are_refused(void **state)
{
    (void)state;
    static const unsigned char huge[16] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, '{', '}'};
    static const unsigned char beyond[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    FILE *out = fopen(file, "wb");
    fclose(out);
    assert_refused("0 bytes are too few");
    out = fopen(file, "wb");
    fwrite(huge, 1, sizeof huge, out);
    fclose(out);
    assert_refused("a header of 18446744073709551615 bytes in a file of 16");
    out = fopen(file, "wb");
    fwrite(beyond, 1, sizeof beyond, out);
    fclose(out);
    assert_refused("a header of 3 bytes in a file of 10");

    /* The cap holds in a file that has so many bytes, too (with holes: it takes no room). */
    write_raw("{}", 0);
    const uint32_t over_the_cap = 100 * 1000 * 1000 + 1;
    out = fopen(file, "r+b");
    for (int i = 0; i < 4; i++)
        putc((int)(over_the_cap >> (8 * i) & 0xFF), out);
    fclose(out);
    assert_int_equal(truncate(file, 8 + (off_t)over_the_cap), 0);
    assert_refused("a header of 100000001 bytes in a file of 100000009 (at most 100000000 are allowed)");

    sc_safetensors *in;
    unlink(file);
    assert_int_equal(sc_safetensors_open(file, &in), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), file));
    assert_int_equal(sc_safetensors_open(directory, &in), SC_DATA_LOSS);
}

static void what_is_not_complete_is_not_committed(void **state)
{
    (void)state;
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(file, &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "a", SC_U8, &SC_SHAPE(8)), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "a", SC_U8, &SC_SHAPE(8)), SC_INVALID);
    assert_int_equal(sc_safetensors_writer_add(out, "__metadata__", SC_U8, &SC_SHAPE(8)), SC_INVALID);
    assert_int_equal(sc_safetensors_writer_add(out, "b\xFF", SC_U8, &SC_SHAPE(8)), SC_INVALID);
    assert_int_equal(sc_safetensors_writer_add(out, "c", SC_U8, &SC_SHAPE(-1)), SC_INVALID);
    assert_int_equal(sc_safetensors_writer_metadata(out, "k", "\xFF"), SC_INVALID);
    assert_int_equal(sc_safetensors_writer_write(out, "other", 0, "x", 1), SC_NOT_FOUND);
    assert_int_equal(sc_safetensors_writer_write(out, "a", 5, "xxxx", 4), SC_OUT_OF_RANGE);
    assert_int_equal(sc_safetensors_writer_write(out, "a", 0, "xxx", 3), SC_OK);
    assert_int_equal(sc_safetensors_writer_write(out, "a", 4, "xxxx", 4), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "d", SC_U8, &SC_SHAPE(1)), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_safetensors_writer_metadata(out, "k", "v"), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_FAILED_PRECONDITION);
    char wanted[256];
    snprintf(wanted, sizeof wanted, "%s: tensor 'a' is not complete: of its 8 bytes, byte 3 was not written", file);
    assert_string_equal(sc_status_message(), wanted);
    assert_int_equal(n_files(), 1); /* the temporary one */
    sc_safetensors_writer_destroy(&out);
    assert_int_equal(n_files(), 0);
}

static void an_old_file_stays_until_the_commit(void **state)
{
    (void)state;
    write_raw("{" A("U8", "[1]", "[0,1]") "}", 1);
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(file, &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "new", SC_U8, &SC_SHAPE(0)), SC_OK);
    sc_safetensors *in = opened();
    assert_non_null(sc_safetensors_find(in, "a"));
    sc_safetensors_close(&in);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    sc_safetensors_writer_destroy(&out);
    in = opened();
    assert_null(sc_safetensors_find(in, "a"));
    assert_non_null(sc_safetensors_find(in, "new"));
    sc_safetensors_close(&in);
}

/* A limit on the file's size stands for a full disk: both are an error of pwrite. */
static void a_full_disk_is_reported(void **state)
{
    (void)state;
    char data[4096] = {0};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 1024, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(file, &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_add(out, "a", SC_U8, &SC_SHAPE(sizeof data)), SC_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sc_status status = sc_safetensors_writer_write(out, "a", 0, data, sizeof data);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, SC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(sc_status_message(), file));
    assert_int_equal(sc_safetensors_writer_commit(out), SC_FAILED_PRECONDITION);
    sc_safetensors_writer_destroy(&out);
    assert_int_equal(sc_safetensors_writer_new("/nowhere/f.safetensors", &out), SC_NOT_FOUND);
    assert_null(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(the_bytes_are_those_of_the_format, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_file_of_another_writer_is_read, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(broken_headers_are_refused, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(broken_lengths_are_refused, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(what_is_not_complete_is_not_committed, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(an_old_file_stays_until_the_commit, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_full_disk_is_reported, make_directory, remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
