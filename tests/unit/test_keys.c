/* Files of keys: what is written is read back, and every mistake is told with file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/wire/endpoint.h"
#include "proto/wire/keys.h"
#include "scratch.h"

static sc_certificate made(const char *name)
{
    sc_certificate certificate;
    assert_int_equal(sc_certificate_generate(name, &certificate), SC_OK);
    return certificate;
}

static void a_certificate_is_read_as_it_was_written(void **state)
{
    (void)state;
    sc_certificate worker = made("worker-2"), coordinator = made("coordinator"), read;
    worker.coordinator = coordinator.public_key;
    char *path = scratch_file("worker-2.key");
    assert_int_equal(sc_certificate_save(&worker, path, true, false), SC_OK);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(sc_certificate_load(path, &read), SC_OK);
    assert_memory_equal(&read, &worker, sizeof read);
    /* The public file says nothing that is secret, nor whom the worker talks to. */
    path = scratch_file("worker-2.pub");
    assert_int_equal(sc_certificate_save(&worker, path, false, false), SC_OK);
    assert_int_equal(sc_certificate_load(path, &read), SC_OK);
    assert_string_equal(read.public_key.z85, worker.public_key.z85);
    assert_string_equal(read.secret_key, "");
    char *text = scratch_read("worker-2.pub");
    assert_null(strstr(text, worker.secret_key));
    free(text);
}

static void nothing_is_replaced_unasked(void **state)
{
    (void)state;
    sc_certificate one = made("one"), two = made("two"), read;
    char *path = scratch_file("x.key");
    assert_int_equal(sc_certificate_save(&one, path, true, false), SC_OK);
    assert_int_equal(sc_certificate_save(&two, path, true, false), SC_ALREADY_EXISTS);
    assert_non_null(strstr(sc_status_message(), "--force"));
    assert_int_equal(sc_certificate_load(path, &read), SC_OK);
    assert_string_equal(read.name, "one");
    assert_int_equal(sc_certificate_save(&two, path, true, true), SC_OK);
    assert_int_equal(sc_certificate_load(path, &read), SC_OK);
    assert_string_equal(read.name, "two");
    assert_int_equal(sc_certificate_save(&one, scratch_file("no/such/dir.key"), true, false), SC_UNAVAILABLE);
}

static void a_secret_that_others_can_read_is_refused(void **state)
{
    (void)state;
    sc_certificate one = made("one"), read;
    char *path = scratch_file("x.key");
    assert_int_equal(sc_certificate_save(&one, path, true, false), SC_OK);
    static const mode_t wide[] = {0640, 0604, 0620, 0601};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        assert_int_equal(chmod(path, wide[i]), 0);
        assert_int_equal(sc_certificate_load(path, &read), SC_PERMISSION_DENIED);
        assert_non_null(strstr(sc_status_message(), "chmod 600"));
        assert_string_equal(read.secret_key, "");
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(sc_certificate_load(path, &read), SC_OK);
}

/* As Kubernetes gives a secret to a user who is not root. */
static void a_key_of_roots_may_be_read_by_its_group(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    enum { USER = 65534, GROUP = 65533 };
    sc_certificate one = made("one");
    char *path = scratch_file("of-root.key");
    assert_int_equal(chmod(scratch_path, 0755), 0);
    assert_int_equal(sc_certificate_save(&one, path, true, false), SC_OK);
    static const struct {
        uid_t owner;
        mode_t mode;
        sc_status expected;
    } cases[] = {{0, 0440, SC_OK},
                 {0, 0444, SC_PERMISSION_DENIED},
                 {0, 0460, SC_PERMISSION_DENIED},
                 {USER, 0440, SC_PERMISSION_DENIED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(chown(path, cases[i].owner, GROUP), 0);
        assert_int_equal(chmod(path, cases[i].mode), 0);
        pid_t child = fork();
        if (child == 0) {
            sc_certificate read;
            _exit(setgid(GROUP) != 0 || setuid(USER) != 0 ? 125 : (int)sc_certificate_load(path, &read));
        }
        int ended;
        assert_int_equal(waitpid(child, &ended, 0), child);
        assert_true(WIFEXITED(ended));
        assert_int_equal(WEXITSTATUS(ended), cases[i].expected);
    }
}

#define PUBLIC "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID" /* RFC 26's examples */
#define SECRET "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

static void expect(const char *text, sc_status status, const char *message)
{
    sc_certificate read;
    char *path = scratch_write("t.key", text, strlen(text));
    assert_int_equal(chmod(path, 0600), 0);
    if (sc_certificate_load(path, &read) != status)
        fail_msg("%s gave: %s", text, sc_status_message());
    if (message && !strstr(sc_status_message(), message))
        fail_msg("'%s' is not in: %s", message, sc_status_message());
}

static void mistakes_are_told_with_their_place(void **state)
{
    (void)state;
    expect("# czmq's own words\nmetadata\n    email = \"x\"\ncurve\n\tpublic-key = '" PUBLIC "'\r\n", SC_OK, NULL);
    expect("curve\n    public-key = " PUBLIC "\n    secret-key = \"" SECRET "\"\n", SC_OK, NULL);
    expect("", SC_INVALID, "no public-key");
    expect("curve\n    public-key = \"abc\"\n", SC_INVALID, "t.key:2: the public-key");
    expect("curve\n    public-key = \"" PUBLIC "0\"\n", SC_INVALID, "t.key:2");
    expect("curve\n    public-key = \"\"\n", SC_INVALID, "t.key:2");
    expect("curve\n    public-key\n", SC_INVALID, "t.key:2: expected");
    expect("curve\n    private-key = \"" PUBLIC "\"\n", SC_INVALID, "'private-key'");
    expect("curves\n", SC_INVALID, "t.key:1: 'curves'");
    expect("    public-key = \"" PUBLIC "\"\n", SC_INVALID, "t.key:1");
    expect("curve\n    public-key = \"" PUBLIC "\"\n    public-key = \"" PUBLIC "\"\n", SC_INVALID,
           "t.key:3: a second");
    expect("curve\n    public-key = \"" SECRET "\"\n    secret-key = \"" SECRET "\"\n", SC_INVALID, "does not belong");
    expect("metadata\n    name = \"../x\"\ncurve\n    public-key = \"" PUBLIC "\"\n", SC_INVALID, "t.key:2: a name");
    char large[SC_KEY_FILE_BYTES + 1];
    memset(large, '\n', sizeof large);
    large[sizeof large - 1] = '\0';
    expect(large, SC_INVALID, "not a file of keys");
    sc_certificate read;
    assert_int_equal(sc_certificate_load(scratch_file("none"), &read), SC_NOT_FOUND);
    assert_int_equal(sc_certificate_load(scratch_path, &read), SC_INVALID);
    scratch_write("nul.key", "curve\n\0x", 8);
    assert_int_equal(sc_certificate_load(scratch_file("nul.key"), &read), SC_INVALID);
}

static void names_are_names_of_files(void **state)
{
    (void)state;
    static const char *const good[] = {"worker-1", "gpu-box.lan", "a", "A_b"};
    static const char *const bad[] = {"", ".", "..", ".hidden", "-x", "a/b", "a b", "a\nb", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(sc_keys_is_name(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sc_keys_is_name(bad[i]));
    char name[SC_KEY_NAME_BYTES + 1];
    memset(name, 'n', sizeof name);
    name[SC_KEY_NAME_BYTES] = '\0';
    assert_false(sc_keys_is_name(name));
    name[SC_KEY_NAME_BYTES - 1] = '\0';
    assert_true(sc_keys_is_name(name));
}

static void a_list_is_its_directory(void **state)
{
    (void)state;
    sc_allow_list list;
    assert_int_equal(sc_allow_list_load(scratch_file("none"), &list), SC_NOT_FOUND);
    assert_int_equal(sc_allow_list_stamp(scratch_file("none")), 0);
    assert_int_equal(sc_allow_list_load(scratch_path, &list), SC_OK);
    assert_int_equal(list.n, 0);
    assert_false(sc_allow_list_has(&list, ""));
    sc_certificate keys[20];
    uint64_t stamp = sc_allow_list_stamp(scratch_path);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%d.pub", i);
        keys[i] = made("w");
        assert_int_equal(sc_certificate_save(&keys[i], scratch_file(name), false, false), SC_OK);
        uint64_t next = sc_allow_list_stamp(scratch_path);
        assert_int_not_equal(next, stamp);
        stamp = next;
    }
    scratch_write("readme.txt", "hello", 5); /* no key, and none of the list's business */
    assert_int_equal(sc_allow_list_stamp(scratch_path), stamp);
    assert_int_equal(sc_allow_list_load(scratch_path, &list), SC_OK);
    assert_int_equal(list.n, 20);
    for (int i = 0; i < 20; i++)
        assert_true(sc_allow_list_has(&list, keys[i].public_key.z85));
    assert_false(sc_allow_list_has(&list, made("w").public_key.z85));
    assert_false(sc_allow_list_has(&list, "short"));
    sc_allow_list_clear(&list);
    /* A secret key does not belong there. */
    assert_int_equal(sc_certificate_save(&keys[0], scratch_file("oops.pub"), true, false), SC_OK);
    assert_int_equal(sc_allow_list_load(scratch_path, &list), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "oops.pub"));
    assert_int_equal(list.n, 0);
}

static void local_is_what_no_other_machine_reaches(void **state)
{
    (void)state;
    static const char *const local[] = {"ipc:///run/x",      "tcp://127.0.0.1:1", "tcp://127.9.9.9:*",
                                        "tcp://localhost:1", "tcp://[::1]:5",     "tcp://[::ffff:127.0.0.1]:5"};
    static const char *const remote[] = {"tcp://0.0.0.0:1",         "tcp://*:1",    "tcp://10.0.0.1:1",
                                         "tcp://127.example.com:1", "tcp://[::]:1", "tcp://localhost.example.com:1",
                                         "tcp://1270.0.0.1:1",      "nonsense"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (!sc_endpoint_is_local(local[i]))
            fail_msg("%s", local[i]);
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        if (sc_endpoint_is_local(remote[i]))
            fail_msg("%s", remote[i]);
}

#define FILED(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILED(a_certificate_is_read_as_it_was_written),
        FILED(nothing_is_replaced_unasked),
        FILED(a_secret_that_others_can_read_is_refused),
        FILED(a_key_of_roots_may_be_read_by_its_group),
        FILED(mistakes_are_told_with_their_place),
        cmocka_unit_test(names_are_names_of_files),
        FILED(a_list_is_its_directory),
        cmocka_unit_test(local_is_what_no_other_machine_reaches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
