/* What a person and events.jsonl are told of workers that come and go. */
#include "coordinator/run/trainer_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "trainer"

void sc_trainer_check_event(sc_status status)
{
    if (status != SC_OK)
        SC_WARN("%s", sc_status_message());
}

void sc_trainer_on_joined(void *context, const sc_member *member)
{
    sc_trainer *t = context;
    bool wanted = sc_run_state_phase(t->state) == SC_RUN_GATHER;
    sc_progress_note(t->progress, "%s joined%s: %s, %d thread%s", member->name, wanted ? "" : " as a spare",
                     member->device, member->threads, member->threads == 1 ? "" : "s");
    sc_trainer_check_event(sc_event_log_worker_spare(t->events, member->name, member->device, member->threads));
}

static void add_messages(sc_event_messages *sum, const sc_message_counts *counts)
{
    sum->stale += counts->stale;
    sum->duplicate += counts->duplicate;
    sum->resent += counts->resent;
    sum->replayed += counts->replayed;
}

/* Counters follow their workers to other ranks; those of who serves no more are added up. */
static void move_counts(sc_trainer *t)
{
    sc_trainer_counts before[SC_MAX_STAGES];
    memcpy(before, t->counts, sizeof before);
    memset(t->counts, 0, sizeof t->counts);
    for (int i = 0; i < SC_MAX_STAGES; i++) {
        const sc_member *m = before[i].id ? sc_roster_find(sc_cluster_roster(t->cluster), before[i].id) : NULL;
        if (m && m->rank >= 0) {
            t->counts[m->rank] = before[i];
        } else {
            add_messages(&t->messages, &before[i].messages);
        }
    }
}

void sc_trainer_announce(sc_trainer *t)
{
    move_counts(t);
    for (int rank = 0; rank < t->S; rank++) {
        const sc_member *m = sc_roster_ranked(sc_cluster_roster(t->cluster), rank);
        if (!m || m->id == t->announced[rank])
            continue;
        t->announced[rank] = m->id;
        sc_progress_note(t->progress, "worker %d of %d is %s", rank, t->S, m->name);
        sc_trainer_check_event(sc_event_log_worker_joined(t->events, rank, m->name, m->device, m->threads,
                                                          sc_run_state_generation(t->state)));
    }
}

void sc_trainer_change_begun(sc_trainer *t, const char *cause, double detect_seconds)
{
    if (t->change.cause)
        return; /* one more loss on the way: the whole is told when all is made good */
    t->change = (sc_trainer_change){
        .cause = cause, .reached = t->committed, .detect_seconds = detect_seconds, .phase_ns = sc_clock_ns(&t->clock)};
}

void sc_trainer_phase_ended(sc_trainer *t, double *seconds)
{
    uint64_t now = sc_clock_ns(&t->clock);
    *seconds += (double)(now - t->change.phase_ns) * 1e-9;
    t->change.phase_ns = now;
}

void sc_trainer_on_lost(void *context, const sc_loss *loss)
{
    sc_trainer *t = context;
    uint64_t now_ms = sc_clock_ms(&t->clock);
    double detect_seconds = now_ms > loss->since_ms ? (double)(now_ms - loss->since_ms) * 1e-3 : 0;
    t->n_losses++;
    if (loss->member.rank >= 0) {
        sc_progress_note(t->progress, "step %" PRId64 ": %s; noticed after %.2f s", t->committed + 1, loss->reason,
                         detect_seconds);
        sc_trainer_change_begun(t, "loss", detect_seconds);
    } else {
        sc_progress_note(t->progress, "%s", loss->reason);
    }
    sc_trainer_check_event(sc_event_log_worker_lost(t->events, loss->member.rank, loss->member.name, loss->reason,
                                                    detect_seconds, sc_cluster_generation(t->cluster)));
    if (sc_run_state_lost(t->state, loss, now_ms))
        sc_trainer_begin_waiting(t);
}

void sc_trainer_on_drain(void *context, const sc_member *member)
{
    sc_trainer *t = context;
    if (member->rank >= 0)
        sc_progress_note(t->progress, "worker %d (%s) is to go: %s; its state is handed over at the end of a step",
                         member->rank, member->name, member->drain_reason);
    else
        sc_progress_note(t->progress, "%s, a spare, is to go: %s", member->name, member->drain_reason);
    sc_trainer_check_event(sc_event_log_worker_drain(t->events, member->rank, member->name, member->drain_reason));
}

void sc_trainer_change_ended(sc_trainer *t, const sc_recovery_choice *choice)
{
    sc_trainer_change *c = &t->change;
    if (!c->cause)
        return;
    int64_t step = (int64_t)choice->step;
    const sc_event_recovery event = {
        .cause = c->cause,
        .level = sc_recovery_level_name(choice->level),
        .step = step,
        .steps_lost = c->reached > step ? c->reached - step : 0,
        .steps_replayed = (int64_t)(choice->step - choice->point),
        .workers = t->S,
        .generation = sc_cluster_generation(t->cluster),
        .detect_seconds = c->detect_seconds,
        .replace_seconds = c->replace_seconds,
        .load_seconds = c->load_seconds,
        .replay_seconds = c->replay_seconds,
    };
    sc_trainer_check_event(sc_event_log_recovery(t->events, &event));
    char replayed[96] = "";
    if (event.steps_replayed > 0)
        snprintf(replayed, sizeof replayed, " (%" PRId64 " replayed by the lost stage alone)", event.steps_replayed);
    sc_progress_note(t->progress,
                     "going on after step %" PRId64 " over %d worker%s, from %s: %" PRId64 " steps are repeated%s; "
                     "detect %.2f s, replace %.2f s, load %.2f s, replay %.2f s",
                     step, t->S, t->S == 1 ? "" : "s",
                     choice->level == SC_LEVEL_DISK    ? "the newest checkpoint"
                     : choice->level == SC_LEVEL_START ? "the start"
                                                       : "the workers' memories",
                     event.steps_lost, replayed, c->detect_seconds, c->replace_seconds, c->load_seconds,
                     c->replay_seconds);
    *c = (sc_trainer_change){0};
}

void sc_trainer_count(sc_trainer *t, const sc_step_result *result)
{
    for (int rank = 0; rank < t->S; rank++)
        t->counts[rank] = (sc_trainer_counts){t->announced[rank], result->times[rank].messages};
}

sc_event_messages sc_trainer_messages(const sc_trainer *t)
{
    sc_event_messages m = t->messages;
    if (t->cluster) {
        sc_node_counters counters = sc_cluster_count(t->cluster);
        m.stale += counters.fenced;
        m.duplicate += counters.duplicates;
        m.resent += counters.repeated;
        m.rejected += counters.rejected + counters.unknown_keys + counters.without_keys + counters.wrong_server_keys +
                      counters.no_handshakes + counters.revoked;
    }
    for (int rank = 0; rank < SC_MAX_STAGES; rank++)
        add_messages(&m, &t->counts[rank].messages);
    return m;
}
