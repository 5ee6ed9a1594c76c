#include "coordinator/run/progress_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_NS 100000000ull  /* ten times a second: faster than one reads, slow enough for any terminal */
#define LINE_NS   1000000000ull /* of plain lines: a run of a day stays readable */

enum { TEXT_BYTES = 4096, DEFAULT_WIDTH = 80 };

struct sc_progress {
    sc_progress_options options;
    bool terminal;
    bool drawn;    /* the terminal has our line */
    int suspended; /* how often */
    bool any;      /* a plain line, or the terminal's line, has been written */
    uint64_t written_ns;
    sc_progress_view view;  /* the last step; step == 0: none yet */
    double average_seconds; /* of a step: exponential, over about the last twenty */
    char doing[SC_MAX_STAGES];
    double busy[SC_MAX_STAGES];
};

static bool is_terminal(const sc_progress_options *options)
{
    if (options->mode != SC_PROGRESS_AUTO)
        return options->mode == SC_PROGRESS_TERMINAL;
    const char *term = getenv("TERM");
    return isatty(options->fd) && term && *term && strcmp(term, "dumb") != 0;
}

sc_status sc_progress_new(const sc_progress_options *options, sc_progress **out)
{
    sc_progress *self = *out = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the progress line");
    self->options = *options;
    self->terminal = is_terminal(options);
    self->view = (sc_progress_view){
        .steps = options->steps, .eta_seconds = -1, .n_stages = options->n_stages, .doing = self->doing};
    memset(self->doing, '-', sizeof self->doing);
    return SC_OK;
}

/* In one write, so that other processes' lines do not land inside. */
static void write_text(const sc_progress *self, const char *text)
{
    ssize_t written = write(self->options.fd, text, strlen(text));
    (void)written; /* nobody is watching */
}

static int width_of(const sc_progress *self)
{
    if (self->options.width > 0)
        return self->options.width;
    struct winsize size;
    return ioctl(self->options.fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : DEFAULT_WIDTH;
}

static void erase(sc_progress *self)
{
    if (self->drawn)
        write_text(self, "\r\x1B[K");
    self->drawn = false;
}

/* Draws the terminal's line, unless it has just been drawn and `must` does not ask for it. */
static void draw(sc_progress *self, bool must)
{
    const uint64_t now = sc_clock_ns(&self->options.clock);
    if (!self->terminal || self->suspended || (!must && self->any && now - self->written_ns < REDRAW_NS))
        return;
    char line[TEXT_BYTES], text[TEXT_BYTES + 16];
    /* The last column stays free: some terminals wrap as soon as it is written. */
    sc_progress_text_line(&self->view, width_of(self) - 1, line, sizeof line);
    snprintf(text, sizeof text, "\r%s\x1B[K\r", line);
    write_text(self, text);
    self->drawn = self->any = true;
    self->written_ns = now;
}

static void write_plain(sc_progress *self)
{
    const uint64_t now = sc_clock_ns(&self->options.clock);
    if (self->any && self->view.step < self->view.steps && now - self->written_ns < LINE_NS)
        return;
    char line[TEXT_BYTES], text[TEXT_BYTES + 2];
    sc_progress_text_plain(&self->view, line, sizeof line);
    snprintf(text, sizeof text, "%s\n", line);
    write_text(self, text);
    self->any = true;
    self->written_ns = now;
}

void sc_progress_set_stages(sc_progress *self, int n_stages)
{
    self->view.n_stages = n_stages;
    self->view.busy = NULL; /* of other stages */
}

void sc_progress_step_done(sc_progress *self, const sc_progress_step *step)
{
    sc_progress_view *view = &self->view;
    const double weight = view->step == 0 ? 1 : 0.1;
    self->average_seconds += weight * (step->step_seconds - self->average_seconds);
    view->step = step->step;
    view->loss = step->loss;
    view->grad_norm = step->grad_norm;
    view->lr = step->lr;
    view->step_seconds = step->step_seconds;
    view->tokens_per_second = step->step_seconds > 0 ? (double)step->tokens / step->step_seconds : 0;
    view->eta_seconds = self->average_seconds * (double)(view->steps - view->step);
    view->busy = NULL;
    if (step->busy) {
        memcpy(self->busy, step->busy, (size_t)view->n_stages * sizeof *self->busy);
        view->busy = self->busy;
    }
    if (self->terminal)
        draw(self, view->step >= view->steps);
    else
        write_plain(self);
}

void sc_progress_doing(sc_progress *self, int stage, const char *action)
{
    if (stage < 0 || stage >= self->view.n_stages)
        return;
    const char letter = sc_progress_text_letter(action);
    if (self->doing[stage] == letter)
        return;
    self->doing[stage] = letter;
    draw(self, false);
}

void sc_progress_note(sc_progress *self, const char *format, ...)
{
    char line[TEXT_BYTES], text[TEXT_BYTES + 8];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    snprintf(text, sizeof text, "%s%s\n", self->drawn ? "\r\x1B[K" : "", line);
    write_text(self, text);
    if (self->drawn) {
        self->drawn = false;
        draw(self, true);
    }
}

void sc_progress_eval(sc_progress *self, int64_t step, const char *what, const sc_score_list *scores)
{
    char text[512] = "";
    for (int i = 0, used = 0; i < scores->n && used < (int)sizeof text; i++) {
        const struct sc_named_score *score = &scores->items[i];
        const bool any_size = strcmp(score->name, "perplexity") == 0;
        used += snprintf(text + used, sizeof text - (size_t)used, any_size ? " %s %.4g" : " %s %.4f", score->name,
                         score->value);
    }
    sc_progress_note(self, "step %" PRId64 " %s%s", step, what, text);
}

void sc_progress_suspend(sc_progress *self)
{
    if (self->suspended++ == 0)
        erase(self);
}

void sc_progress_resume(sc_progress *self)
{
    if (self->suspended > 0 && --self->suspended == 0 && self->any)
        draw(self, true);
}

void sc_progress_destroy(sc_progress **self_p)
{
    sc_progress *self = *self_p;
    if (self && self->drawn) {
        draw(self, true); /* with the last step */
        write_text(self, "\n");
    }
    free(self);
    *self_p = NULL;
}
