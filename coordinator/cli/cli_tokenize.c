/* stagecoach tokenize: texts to a token file, or a BPE vocabulary from texts. */
#include "coordinator/cli/cli.h"

#include "coordinator/data/bpe_trainer.h"
#include "coordinator/data/text_file.h"
#include "coordinator/data/token_file.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "proto/base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: stagecoach tokenize --tokenizer T FILE... --out F [--no-boundary]\n"
    "       stagecoach tokenize --train SIZE FILE... --out DIR\n"
    "\n"
    "Writes the tokens of text files to the token file F, which data.train and data.validation take like a text;\n"
    "or makes a byte-level BPE vocabulary of SIZE tokens from the files, as vocab.json, merges.txt and "
    "tokenizer.json.\n"
    "\n"
    "  --tokenizer T   byte, or the path of a tokenizer: a run, a directory with tokenizer.json, with vocab.json and\n"
    "                  merges.txt (encoder.json and vocab.bpe) or with BERT's vocab.txt, or one of these files\n"
    "  --out F         the file, or with --train the directory, to write\n"
    "  --no-boundary   no <|endoftext|> between files, where the tokenizer has it\n"
    "  --train SIZE    how many tokens, with the 256 bytes and <|endoftext|>\n"
    "  --help          show this text\n";

typedef struct options {
    const char *tokenizer, *out;
    int64_t size; /* 0: no --train */
    bool no_boundary, help;
    char **files;
    int n_files;
} options;

static bool check_usage(const char *command, const options *o)
{
    const char *mistake = NULL;
    if (o->n_files == 0)
        mistake = "a FILE is missing";
    else if (!o->out)
        mistake = "option '--out' is missing";
    else if (!o->tokenizer && o->size == 0)
        mistake = "one of '--tokenizer' and '--train' is needed";
    else if (o->size != 0 && (o->tokenizer || o->no_boundary))
        mistake = "'--train' makes a tokenizer and goes with neither '--tokenizer' nor '--no-boundary'";
    else if (o->tokenizer && strcmp(o->tokenizer, "char") == 0)
        mistake = "the char tokenizer has no vocabulary before training; name that of a run, or use byte";
    if (mistake)
        sc_cli_usage(command, "%s", mistake);
    return !mistake;
}

/* False, with a message, for wrong usage. */
static bool parse(int argc, char **argv, options *o)
{
    static const struct option longs[] = {{"tokenizer", required_argument, NULL, 't'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"train", required_argument, NULL, 's'},
                                          {"no-boundary", no_argument, NULL, 'b'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    optind = 0; /* glibc: start afresh, whatever scanned before */
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 't')
            o->tokenizer = optarg;
        else if (c == 'o')
            o->out = optarg;
        else if (c == 'b')
            o->no_boundary = true;
        else if (c == 'h')
            o->help = true;
        else if (c != 's')
            return sc_cli_try_help(argv[0]) == SC_EXIT_OK;
        else if (!sc_cli_integer(argv[0], "--train", optarg, SC_BPE_TRAINER_FEWEST, SC_BPE_TRAINER_MOST, &o->size))
            return false;
        if (o->help)
            return true;
    }
    o->files = argv + optind;
    o->n_files = argc - optind;
    return check_usage(argv[0], o);
}

/* Files that go through `use`, and what is told of them meanwhile. */
typedef struct job {
    const options *options;
    sc_clock clock;
    uint64_t start_ns, shown_ms;
    uint64_t n_total, n_done; /* bytes: of all files; of those before the current one */
    bool terminal;
    sc_text_use use;
    void *context;
} job;

static volatile sig_atomic_t stop_signal; /* 0: none came */

static void on_stop(int number)
{
    stop_signal = number;
}

/* The first SIGINT or SIGTERM is looked for between pieces, so that no temporary file stays; a second one ends at once. */
static void catch_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
}

static double megabytes_per_second(const job *self, uint64_t n_bytes)
{
    const double seconds = sc_clock_seconds_since(&self->clock, self->start_ns);
    return seconds > 0 ? (double)n_bytes * 1e-6 / seconds : 0;
}

/* A line on a terminal, redrawn at most ten times a second. */
static void show(job *self, uint64_t n_bytes)
{
    const uint64_t now = sc_clock_ms(&self->clock);
    if (!self->terminal || now < self->shown_ms + 100)
        return;
    self->shown_ms = now;
    fprintf(stderr, "\r%.1f of %.1f MB, %.1f MB/s  \b\b", (double)n_bytes * 1e-6, (double)self->n_total * 1e-6,
            megabytes_per_second(self, n_bytes));
}

static void clear_line(const job *self)
{
    if (self->terminal && self->shown_ms)
        fputs("\r\033[K", stderr);
}

static sc_status use_piece(void *context, const sc_text *text, bool more, size_t *used)
{
    job *self = context;
    SC_TRY(self->use(self->context, text, more, used));
    show(self, self->n_done + text->bytes_before + *used);
    if (stop_signal)
        return SC_FAIL(SC_CANCELLED, "%s: stopped by a signal (%s) before the end; nothing was written",
                       self->options->out, strsignal(stop_signal));
    return SC_OK;
}

/* Looks at all files before the first is read: a long run should not end at the last one's name. */
static sc_status check_files(job *self)
{
    struct stat out, file;
    const bool exists = stat(self->options->out, &out) == 0;
    for (int i = 0; i < self->options->n_files; i++) {
        const char *path = self->options->files[i];
        bool tokenised;
        SC_TRY(sc_token_file_probe(path, &tokenised));
        if (tokenised)
            return SC_FAIL(SC_INVALID, "%s: is a token file already; name texts", path);
        if (stat(path, &file) != 0)
            return SC_FAIL(sc_files_status(errno), "%s: %s", path, strerror(errno));
        if (file.st_size == 0)
            return SC_FAIL(SC_INVALID, "%s: is empty; name files with text in them", path);
        if (exists && file.st_dev == out.st_dev && file.st_ino == out.st_ino)
            return SC_FAIL(SC_INVALID, "%s: would be overwritten by its own tokens; give another --out", path);
        self->n_total += (uint64_t)file.st_size;
    }
    return SC_OK;
}

static sc_status read_file(job *self, int i)
{
    struct stat info;
    const char *path = self->options->files[i];
    SC_TRY(sc_text_file_each(path, SC_TEXT_FILE_PIECE, use_piece, self));
    self->n_done += stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    return SC_OK;
}

static sc_status open_tokenizer(const char *name, sc_tokenizer **out)
{
    return strcmp(name, "byte") == 0 ? sc_tokenizer_new_byte(out) : sc_tokenizer_open(name, out);
}

/* What encodes pieces of text into the token file. */
typedef struct ids_sink {
    sc_tokenizer *tokenizer;
    sc_token_writer writer;
} ids_sink;

static sc_status encode_piece(void *context, const sc_text *text, bool more, size_t *used)
{
    ids_sink *self = context;
    return sc_tokenizer_encode_some(self->tokenizer, text, more, sc_token_writer_put, &self->writer, used);
}

static sc_status tokenize(job *self)
{
    const options *o = self->options;
    ids_sink sink = {0};
    sc_status status;
    SC_TRY_GOTO(status, open_tokenizer(o->tokenizer, &sink.tokenizer), out);
    catch_signals(); /* before there is a file to take away */
    SC_TRY_GOTO(status, sc_token_writer_open(o->out, sink.tokenizer, &sink.writer), out);
    const int32_t boundary = o->no_boundary ? -1 : sc_tokenizer_special(sink.tokenizer, "<|endoftext|>");
    self->use = encode_piece;
    self->context = &sink;
    self->start_ns = sc_clock_ns(&self->clock);
    for (int i = 0; i < o->n_files; i++) {
        if (i > 0 && boundary >= 0)
            SC_TRY_GOTO(status, sc_token_writer_put(&sink.writer, &boundary, 1), out);
        SC_TRY_GOTO(status, read_file(self, i), out);
    }
    const uint64_t n = sink.writer.n;
    SC_TRY_GOTO(status, sc_token_writer_commit(&sink.writer), out);
    clear_line(self);
    printf("%s: %" PRIu64 " tokens of a vocabulary of %d, from %.1f MB of text at %.1f MB/s\n", o->out, n,
           sc_tokenizer_vocab(sink.tokenizer), (double)self->n_done * 1e-6, megabytes_per_second(self, self->n_done));
out:
    if (status != SC_OK)
        clear_line(self);
    sc_token_writer_close(&sink.writer);
    sc_tokenizer_destroy(&sink.tokenizer);
    return status;
}

static sc_status train(job *self)
{
    const options *o = self->options;
    sc_bpe_trainer *trainer = NULL;
    sc_tokenizer *tokenizer = NULL;
    sc_status status;
    if (mkdir(o->out, 0777) != 0 && errno != EEXIST)
        return SC_FAIL(sc_files_status(errno), "%s: cannot be made: %s", o->out, strerror(errno));
    SC_TRY_GOTO(status, sc_bpe_trainer_new(&trainer), out);
    self->use = sc_bpe_trainer_add;
    self->context = trainer;
    self->start_ns = sc_clock_ns(&self->clock);
    for (int i = 0; i < o->n_files; i++)
        SC_TRY_GOTO(status, read_file(self, i), out);
    SC_TRY_GOTO(status, sc_bpe_trainer_train(trainer, (int)o->size, &tokenizer), out);
    SC_TRY_GOTO(status, sc_tokenizer_bpe_export(tokenizer, o->out), out);
    clear_line(self);
    const int n = sc_tokenizer_vocab(tokenizer);
    printf("%s: a vocabulary of %d tokens, from %.1f MB of text in %.1f s%s\n", o->out, n, (double)self->n_done * 1e-6,
           sc_clock_seconds_since(&self->clock, self->start_ns), n < o->size ? "; the text has no more pairs" : "");
out:
    if (status != SC_OK)
        clear_line(self);
    sc_bpe_trainer_destroy(&trainer);
    sc_tokenizer_destroy(&tokenizer);
    return status;
}

static sc_status run(const options *o)
{
    job self = {.options = o, .clock = sc_clock_system(), .terminal = isatty(STDERR_FILENO)};
    SC_TRY(check_files(&self));
    return o->size ? train(&self) : tokenize(&self);
}

int sc_cli_tokenize(int argc, char **argv)
{
    options o = {0};
    int code = SC_EXIT_OK;
    if (!parse(argc, argv, &o))
        code = SC_EXIT_USAGE;
    else if (o.help)
        fputs(help, stdout);
    else if (run(&o) != SC_OK)
        code = sc_cli_failed(argv[0]);
    return sc_cli_finish(argv[0], code);
}
