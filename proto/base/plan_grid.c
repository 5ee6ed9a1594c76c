/* The grid of a plan, as the papers draw it. */
#include "proto/base/plan.h"

#include "proto/base/plan_walk.h"

#include <stdlib.h>
#include <string.h>

/* A cell holds a mark and the text; "4095B4095" is the longest. */
enum { CELL_BYTES = 32 };

typedef struct grid {
    const sc_plan *plan;
    int **columns;  /* [S][n of the list] where the action begins; -1: takes no slot or was not reached */
    int *positions; /* [S] how many actions the walk finished */
    int n_columns, cell_width;
    bool halves; /* the plan has I or W: a column is half a slot */
} grid;

static int width_of(const grid *self, sc_action_kind kind)
{
    switch (kind) {
    case SC_ACT_FORWARD:
    case SC_ACT_BACKWARD:
        return self->halves ? 2 : 1;
    case SC_ACT_BACKWARD_INPUT:
    case SC_ACT_BACKWARD_WEIGHT:
        return 1;
    default:
        return 0;
    }
}

static double duration(void *context, sc_action action)
{
    const grid *self = context;
    return (double)width_of(self, action.kind);
}

static void note_column(void *context, int worker, int position, sc_action action, double start, double end)
{
    grid *self = context;
    if (width_of(self, action.kind) == 0)
        return;
    self->columns[worker][position] = (int)start;
    if ((int)end > self->n_columns)
        self->n_columns = (int)end;
}

/* With one chunk the row names the stage, and "F0" is enough. */
static const char *cell_text(const grid *self, sc_action action, char text[CELL_BYTES])
{
    sc_action_text(action, text, CELL_BYTES);
    if (self->plan->n_chunks > 1)
        return text;
    return text + strspn(text, "0123456789-");
}

static void print_row(const grid *self, int worker, FILE *out, int mark)
{
    const sc_action_list *list = &self->plan->workers[worker];
    char text[CELL_BYTES];
    bool marked = false;
    int column = 0;
    fprintf(out, "worker %-3d ", worker);
    for (int i = 0; i < list->n; i++) {
        int start = self->columns[worker][i];
        if (start < 0)
            continue;
        for (; column < start; column++)
            fprintf(out, " %*s", self->cell_width, ".");
        bool mark_here = mark >= 0 && i >= mark && !marked;
        marked |= mark_here;
        fprintf(out, "%s%*s", mark_here ? ">" : " ", self->cell_width, cell_text(self, list->actions[i], text));
        for (column++; column < start + width_of(self, list->actions[i].kind); column++)
            fprintf(out, " %*s", self->cell_width, "=");
    }
    for (; column < self->n_columns; column++)
        fprintf(out, " %*s", self->cell_width, ".");
    if (mark >= 0 && mark < list->n)
        fprintf(out, "  >%s at position %d", sc_action_text(list->actions[mark], text, sizeof text), mark);
    if (self->positions[worker] < list->n)
        fprintf(out, "  stuck before %s", sc_action_text(list->actions[self->positions[worker]], text, sizeof text));
    fputc('\n', out);
}

static void print_head(const grid *self, FILE *out)
{
    fputs("slot       ", out);
    for (int column = 0; column < self->n_columns; column++)
        if (!self->halves)
            fprintf(out, " %*d", self->cell_width, column);
        else if (column % 2 == 0)
            fprintf(out, " %*d", self->cell_width, column / 2);
        else
            fprintf(out, " %*s", self->cell_width, "");
    fputc('\n', out);
}

void sc_plan_print_grid(const sc_plan *self, FILE *out, int mark_worker, int mark_position)
{
    size_t S = (size_t)self->n_workers;
    grid g = {.plan = self,
              .columns = calloc(S, sizeof *g.columns),
              .positions = calloc(S, sizeof *g.positions),
              .cell_width = 2};
    if (!g.columns || !g.positions)
        goto cleanup;
    for (int w = 0; w < self->n_workers; w++) {
        const sc_action_list *list = &self->workers[w];
        g.columns[w] = malloc((size_t)(list->n + 1) * sizeof *g.columns[w]);
        if (!g.columns[w])
            goto cleanup;
        for (int i = 0; i < list->n; i++) {
            char text[CELL_BYTES];
            sc_action action = list->actions[i];
            g.columns[w][i] = -1;
            g.halves |= action.kind == SC_ACT_BACKWARD_INPUT || action.kind == SC_ACT_BACKWARD_WEIGHT;
            int width = (int)strlen(cell_text(&g, action, text));
            if (width_of(&g, action.kind) > 0 && width > g.cell_width)
                g.cell_width = width;
        }
    }
    sc_plan_walk_hooks hooks = {.duration = duration, .done = note_column, .context = &g};
    sc_status status = sc_plan_walk(self, &hooks, g.positions);
    if (status == SC_RESOURCE_EXHAUSTED)
        goto cleanup;
    int digits = snprintf(NULL, 0, "%d", g.n_columns > 0 ? g.n_columns - 1 : 0);
    if (digits > g.cell_width)
        g.cell_width = digits;
    print_head(&g, out);
    for (int w = 0; w < self->n_workers; w++)
        print_row(&g, w, out, w == mark_worker ? mark_position : -1);
cleanup:
    for (size_t w = 0; g.columns && w < S; w++)
        free(g.columns[w]);
    free(g.columns);
    free(g.positions);
}
