/* The orders of the run's state, carried out. */
#include "coordinator/run/trainer_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>

#define SC_LOG_SUBSYSTEM "trainer"

enum {
    LOSS_SHOWS_MS = 500, /* beyond wire.reconnect_ms: until a worker that is gone is counted as lost */
    /* A run that nobody serves says so when recovery.wait_ms has passed, and again after twice as long each time. */
    REMINDER_MIN_MS = 1000,
    REMINDER_MAX_MS = 3600000,
};

static uint64_t now_ms(const sc_trainer *t)
{
    return sc_clock_ms(&t->clock);
}

/* --- waiting ------------------------------------------------------------------------------------------------------- */

/* Those that asked to go, and hold no rank (any more). */
static void release_leavers(sc_trainer *t, bool ranked_too)
{
    const sc_roster *roster = sc_cluster_roster(t->cluster);
    for (int i = sc_roster_count(roster) - 1; i >= 0; i--) {
        const sc_member *m = sc_roster_at(roster, i);
        if (!m->draining || (m->rank >= 0 && !ranked_too))
            continue;
        const char *why = sc_run_state_n_ranks(t->state) == 0 ? "it holds no stage" : "its state is handed over";
        sc_progress_note(t->progress, "%s is released: %s", m->name, why);
        sc_cluster_release_member(t->cluster, m->id, why);
    }
}

void sc_trainer_begin_waiting(sc_trainer *t)
{
    t->waiting_since_ms = now_ms(t);
    t->remind_ms = (uint64_t)t->config->recovery.wait_ms;
    if (t->remind_ms < REMINDER_MIN_MS)
        t->remind_ms = REMINDER_MIN_MS;
}

/* Of a run that has begun, which goes on whenever somebody comes. */
static void remind(sc_trainer *t, int n)
{
    uint64_t waited_ms = now_ms(t) - t->waiting_since_ms;
    if (n > 0 || waited_ms < t->remind_ms)
        return;
    t->remind_ms *= 2;
    if (t->remind_ms > waited_ms + REMINDER_MAX_MS)
        t->remind_ms = waited_ms + REMINDER_MAX_MS;
    char waited[32];
    sc_progress_duration((double)waited_ms * 1e-3, waited, sizeof waited);
    sc_progress_note(
        t->progress,
        "no worker is there for %s; the run goes on as soon as one comes: stagecoach-worker --coordinator %s%s", waited,
        sc_cluster_endpoint(t->cluster), t->options->keys ? " --key FILE" : "");
}

/* Workers that have not come are an error where nothing has begun, so that a wrong address is told, and where this program
 * starts them; a run in progress waits, for machines may be long in coming back. */
static sc_status wait_for_workers(sc_trainer *t)
{
    bool first = sc_run_state_n_ranks(t->state) == 0;
    if (first)
        release_leavers(t, false);
    int n = sc_roster_count(sc_cluster_roster(t->cluster));
    uint64_t limit = (uint64_t)t->config->wire.join_ms;
    if (sc_cluster_stop_requested(t->cluster) && (first || (n == 0 && !t->local))) {
        t->finished = t->stopped_waiting = true;
        return SC_OK;
    }
    if (!t->local && sc_run_state_has_begun(t->state))
        remind(t, n);
    else if (limit > 0 && (first || n == 0) && now_ms(t) - t->waiting_since_ms > limit)
        return SC_FAIL(SC_DEADLINE_EXCEEDED,
                       "%d of %d workers came within %" PRIu64 " ms (wire.join_ms); start the others with "
                       "stagecoach-worker --coordinator %s",
                       n, t->S, limit, sc_cluster_endpoint(t->cluster));
    return sc_cluster_poll(t->cluster);
}

/* --- assignment ---------------------------------------------------------------------------------------------------- */

static sc_status assign(sc_trainer *t, const sc_run_order *order)
{
    int S = sc_run_state_n_ranks(t->state);
    sc_trainer_phase_ended(t, &t->change.replace_seconds);
    if (S != t->S)
        SC_TRY(sc_trainer_make_plans(t, S));
    t->S = S;
    sc_progress_set_stages(t->progress, S);
    sc_trainer_announce(t);
    for (int rank = 0; rank < S; rank++)
        t->buddies[rank] = sc_run_state_buddy(t->state, rank);
    bool logs = t->config->recovery.peer_every > 0 && t->config->recovery.log_messages;
    t->assignment = (sc_assignment){
        .model = t->model,
        .plans = (const sc_plan *const *)t->plans,
        .n_plans = t->n_plans,
        .slices = sc_run_state_slices(t->state),
        .n_slices = S,
        .seed = t->identity.seed,
        .micro_batch_size = t->B,
        .sequence_length = t->T,
        .fresh = order->fresh,
        .train = true,
        .class_weights = sc_feed_class_weights(t->feed),
        .keep = order->keep,
        .lineage = t->lineage,
        .buddies = t->buddies,
        .log_bytes = logs ? (uint64_t)t->config->recovery.log_mb << 20 : 0,
    };
    SC_TRY(sc_cluster_assign(t->cluster, &t->assignment));
    SC_TRY(sc_saver_check_shared(t->saver));
    for (int rank = 0; rank < S; rank++) {
        const sc_kept_state *k = sc_cluster_kept(t->cluster, rank);
        SC_DEBUG("worker %d %s: applied %" PRIu64 ", voted %" PRIu64 ", log from sequence %" PRIu64 "; decided %" PRIu64
                 ", newest point %" PRIu64,
                 rank, k->kept ? "kept its state" : "is empty", k->applied_step, k->voted_step, k->logged_from,
                 sc_run_state_decided(t->state), sc_run_state_newest_point(t->state));
        SC_TRY(sc_run_state_assigned(t->state, rank, k));
    }
    return SC_OK;
}

/* --- loading ------------------------------------------------------------------------------------------------------- */

/* Something that the choice was made for is not there: another one is made. */
static void choose_again(sc_trainer *t, uint64_t damaged_step)
{
    sc_run_state_spoiled(t->state, damaged_step, now_ms(t));
    sc_trainer_begin_waiting(t);
}

static sc_status load_checkpoint(sc_trainer *t, uint64_t step)
{
    SC_TRY(sc_trainer_find_checkpoint(t));
    if (!t->checkpoint || (uint64_t)t->manifest.step != step) {
        choose_again(t, 0);
        return SC_OK;
    }
    return sc_resume_load(t->cluster, t->checkpoint, &t->manifest);
}

/* *missing: a rank could not get its state. If a worker that held a part is gone, that shows soon, and the part with it. */
static sc_status restore(sc_trainer *t, const sc_recovery_choice *choice, bool *missing)
{
    uint64_t n_losses = t->n_losses;
    for (int rank = 0; rank < t->S; rank++) {
        if (choice->orders[rank] != SC_RANK_RESTORES && choice->orders[rank] != SC_RANK_REPLAYS)
            continue;
        int first = 0, n = 0;
        while (first < choice->n_holders && choice->holder_ranks[first] != rank)
            first++;
        while (first + n < choice->n_holders && choice->holder_ranks[first + n] == rank)
            n++;
        SC_TRY(sc_cluster_restore(t->cluster, rank, choice->point, choice->holders + first, n));
    }
    SC_TRY(sc_cluster_settle(t->cluster, missing));
    if (!*missing)
        return SC_OK;
    uint64_t end = now_ms(t) + (uint64_t)t->config->wire.reconnect_ms + LOSS_SHOWS_MS, point = choice->point;
    while (t->n_losses == n_losses && now_ms(t) < end)
        SC_TRY(sc_cluster_poll(t->cluster));
    choose_again(t, t->n_losses == n_losses ? point : 0);
    return SC_OK;
}

/* The verdict on the last decided step, for those that have voted and not heard it. */
static sc_status apply_again(sc_trainer *t, const sc_rank_order *orders)
{
    int n;
    bool missing;
    const sc_decided_step *record = sc_run_state_record(t->state, &n);
    for (int rank = 0; rank < t->S; rank++)
        if (orders[rank] == SC_RANK_APPLIES)
            SC_TRY(sc_cluster_apply_at(t->cluster, rank, sc_run_state_kept(t->state, rank)->voted_sequence,
                                       record[n - 1].grad_scale, record[n - 1].learning_rate));
    return sc_cluster_settle(t->cluster, &missing);
}

/* The decided steps behind the point, once more, by those that were restored to it; the others answer from their logs. */
static sc_status replay(sc_trainer *t, const sc_rank_order *orders, uint64_t point)
{
    int n;
    bool missing, wanted[SC_MAX_STAGES];
    const sc_decided_step *record = sc_run_state_record(t->state, &n);
    for (int rank = 0; rank < t->S; rank++)
        wanted[rank] = orders[rank] == SC_RANK_REPLAYS;
    for (int i = 0; i < n; i++) {
        if (record[i].step <= point)
            continue;
        const sc_feed_item item = {.split = SC_SPLIT_TRAIN, .index = record[i].step - 1};
        SC_TRY(sc_trainer_send(t, record[i].sequence, item, wanted));
        for (int rank = 0; rank < t->S; rank++)
            if (orders[rank] == SC_RANK_REPLAYS)
                SC_TRY(sc_cluster_replay(t->cluster, rank, SC_PLAN_OF_STEPS, &record[i]));
        SC_TRY(sc_cluster_settle(t->cluster, &missing));
        for (int rank = 0; rank < t->S; rank++)
            if (orders[rank] == SC_RANK_REPLAYS)
                SC_TRY(sc_cluster_apply_at(t->cluster, rank, record[i].sequence, record[i].grad_scale,
                                           record[i].learning_rate));
        SC_TRY(sc_cluster_settle(t->cluster, &missing));
    }
    return SC_OK;
}

/* All stages come to the step of the choice. */
static sc_status load(sc_trainer *t)
{
    bool missing = false;
    sc_recovery_choice choice = *sc_run_state_choice(t->state); /* its lists are the state's, and go with a loss */
    if (choice.level == SC_LEVEL_DISK)
        SC_TRY(load_checkpoint(t, choice.step));
    else if (choice.level == SC_LEVEL_START && t->init)
        SC_TRY(sc_weights_send(t->cluster, &t->model, t->init));
    else if (choice.level != SC_LEVEL_START)
        SC_TRY(restore(t, &choice, &missing));
    if (sc_run_state_phase(t->state) != SC_RUN_LOAD)
        return SC_OK; /* a new choice is to be made */
    sc_trainer_phase_ended(t, &t->change.load_seconds);
    if (choice.level == SC_LEVEL_REPLAY) {
        SC_TRY(apply_again(t, choice.orders));
        SC_TRY(replay(t, choice.orders, choice.point));
    }
    sc_trainer_phase_ended(t, &t->change.replay_seconds);
    sc_run_state_loaded(t->state);
    sc_trainer_loaded(t);
    if (!t->change.cause && choice.level == SC_LEVEL_MEMORY)
        sc_progress_note(t->progress, "going on after step %" PRId64 ", from the workers' memories", t->committed);
    sc_trainer_change_ended(t, &choice);
    return SC_OK;
}

/* --- planned changes ----------------------------------------------------------------------------------------------- */

bool sc_trainer_rearrange(sc_trainer *t, bool may_grow)
{
    const sc_roster *roster = sc_cluster_roster(t->cluster);
    bool drains = false;
    for (int rank = 0; rank < t->S; rank++) {
        const sc_member *m = sc_roster_ranked(roster, rank);
        drains = drains || (m && m->draining);
    }
    if (!sc_run_state_rearrange(t->state, may_grow, now_ms(t)))
        return false;
    sc_trainer_change_begun(t, drains ? "drain" : "growth", 0);
    return true;
}

static sc_status snapshot_all(sc_trainer *t)
{
    sc_saver_abort(t->saver); /* its snapshots' generation ends */
    t->n_made = 0;
    SC_TRY(sc_trainer_snapshot(t, false));
    sc_roster_expect(sc_cluster_roster(t->cluster), true, now_ms(t)); /* they have no deadline */
    while (t->n_made < t->S)
        SC_TRY(sc_cluster_poll(t->cluster));
    sc_roster_expect(sc_cluster_roster(t->cluster), false, now_ms(t));
    return SC_OK;
}

static sc_status hand_over(sc_trainer *t)
{
    SC_TRY(sc_trainer_save_last(t, true));
    release_leavers(t, true);
    sc_run_state_handed_over(t->state, now_ms(t));
    sc_trainer_begin_waiting(t);
    sc_progress_note(t->progress, "no worker is left; the newest checkpoint is of step %" PRId64, t->saved);
    return SC_OK;
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

static sc_status train(sc_trainer *t)
{
    bool done = false;
    release_leavers(t, false);
    SC_TRY(sc_trainer_train(t, &done));
    if (!done)
        return SC_OK;
    SC_TRY(sc_trainer_finish(t));
    t->finished = true;
    return SC_OK;
}

static sc_status carry_out(sc_trainer *t, const sc_run_order *order)
{
    switch (order->kind) {
    case SC_ORDER_WAIT:
        return wait_for_workers(t);
    case SC_ORDER_ASSIGN:
        return assign(t, order);
    case SC_ORDER_LOAD:
        return load(t);
    case SC_ORDER_RUN:
        return train(t);
    case SC_ORDER_SNAPSHOT:
        return snapshot_all(t);
    case SC_ORDER_HAND_OVER:
        return hand_over(t);
    }
    return SC_OK;
}

/* A recovery has to be begun. Losses while others are waited for anyway are part of the one that is under way. */
static sc_status count_attempt(sc_trainer *t, bool waited)
{
    if (t->committed > t->best) {
        t->attempts = 0;
        t->best = t->committed;
    }
    if (waited || ++t->attempts <= t->config->recovery.max_attempts)
        return SC_OK;
    return SC_FAIL(SC_UNAVAILABLE,
                   "%" PRId64 " losses of workers in a row without a step in between (recovery.max_attempts); the "
                   "last: %s",
                   t->attempts, sc_status_message());
}

sc_status sc_trainer_drive(sc_trainer *t)
{
    t->best = t->committed;
    while (!t->finished) {
        sc_run_order order;
        SC_TRY(sc_run_state_next(t->state, now_ms(t), &order));
        sc_status status = carry_out(t, &order);
        if (status == SC_OK)
            continue;
        bool waited = order.kind == SC_ORDER_WAIT;
        if (!sc_cluster_can_recover(t->cluster))
            return waited ? status : SC_FAIL(status, "in step %" PRId64 ": %s", t->committed + 1, sc_status_message());
        status = count_attempt(t, waited);
        if (status != SC_OK)
            return SC_FAIL(status, "in step %" PRId64 ": %s", t->committed + 1, sc_status_message());
        sc_saver_abort(t->saver);
        sc_cluster_recover(t->cluster);
    }
    return SC_OK;
}
